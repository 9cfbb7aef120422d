"""`umlctl show`: how a guest is written down, and what of it runs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from umlctl import exitcodes
from umlctl.cli import complete, earlier_start
from umlctl.definitions import files, make, saved
from umlctl.errors import NoGuest, UmlctlError
from umlctl.guest import written as writing
from umlctl.guest.options import BY_NAME
from umlctl.output import say, views
from umlctl.recovery import discover
from umlctl.state import records

if TYPE_CHECKING:
    from umlctl.guest.definition import Definition


class Difference(NamedTuple):
    """One key that a guest does not run with as it is written.

    Fields:
        key: its name
        runs: the value that it was started with; None: the default
        written: the value that is written; None: the default
    """

    key: str
    runs: Any
    written: Any


@click.command(
    epilog="""\b
Examples:
  umlctl show web
  umlctl show web --diff                    changed since it was started?
  umlctl show old >old.toml                 how a guest was started that nobody wrote down
  umlctl show web --json | jq .values.mem
""",
)
@click.argument("guest", metavar="NAME|FILE", shell_complete=complete.known)
@click.option("--diff", is_flag=True, help="What it runs with against what is written.")
@click.option("--json", "in_json", is_flag=True, help="Print JSON.")
def show(guest: str, diff: bool, in_json: bool) -> int:
    """Print the definition of a guest; of one that has none, how it was started last.

    Of one that runs otherwise than it is written that is said.

    With --diff, print what was changed since it was started: in the definition, and by devices that
    were plugged or taken out.
    """
    found = files.find(guest)
    umid = found.umid if found else guest
    record = None if "/" in umid else discover.find(umid)
    if diff:
        return _show_differences(umid, found, record, in_json)
    if found is not None:
        values = {name: given.value for name, given in found.values.items()}
    elif record is not None:
        earlier_start.refuse_process(umid, ended=True)
        values = saved.values_of(record.definition)
    else:
        raise files.undefined(guest)
    changed = found is not None and record is not None and _is_changed(found, record)
    if in_json:
        shown = {
            "umid": umid,
            "file": os.path.abspath(found.path) if found else None,
            "extends": found.extends if found else (),
            "values": values,
        }
        print(views.to_json(shown))
    elif found is not None:
        print(f"# {os.path.abspath(found.path)}")
        print("".join(f"# extends {path}\n" for path in found.extends) + found.text, end="")
    else:
        print(f"# {umid} is not defined; it was started last with\n{writing.write(values)}", end="")
    if changed:
        how = f"`umlctl show {guest} --diff`"
        say(f"{umid}: does not run as it is written; {how} says how", exitcodes.OK)
    return exitcodes.OK


def _is_changed(found: files.Written, record: records.Record) -> bool:
    """Whether a guest runs, and not as it is written; what cannot be started is no guest."""
    if not records.lives(record):
        return False
    try:
        make.check(found)
        return bool(compare(record.definition, _as_written(found, record.definition)))
    except UmlctlError:
        return True


def _show_differences(
    umid: str, found: files.Written | None, record: records.Record | None, in_json: bool
) -> int:
    """Raises: NoGuest, UsageError"""
    if found is None:
        raise files.undefined(umid)
    if record is None or not records.lives(record):
        raise NoGuest(f"{umid} does not run: `umlctl start {umid}` has it as it is written")
    make.check(found)
    differences = compare(record.definition, _as_written(found, record.definition))
    since = [entry.name for entry in record.devices if not entry.boot] + record.removed
    if in_json:
        shown = {
            "umid": umid,
            "file": os.path.abspath(found.path),
            "changed": {each.key: [each.runs, each.written] for each in differences},
            "devices": since,
        }
        print(views.to_json(shown))
        return exitcodes.OK
    for each in differences:
        print(f"{each.key}: runs with {_shown(each.runs)}, written is {_shown(each.written)}")
    if since:
        print(f"plugged or taken out since it was started: {', '.join(since)}")
    if differences:
        say(f"{umid}: `umlctl restart --reload {umid}` has it as it is written", exitcodes.OK)
    elif not since:
        print(f"{umid} runs as it is written")
    return exitcodes.OK


def _as_written(found: files.Written, runs: Definition) -> Definition:
    """What is written, with the kernel that runs where none is named."""
    options = make.options_of(found.values)
    options["kernel"] = options["kernel"] or runs.kernel
    return make.assemble(found.umid, options, (), found.directory)


def compare(runs: Definition, written: Definition) -> list[Difference]:
    """What a guest does not run with as it is written."""
    one, other = saved.values_of(runs), saved.values_of(written)
    names = [name for name in BY_NAME if one.get(name) != other.get(name)]
    return [Difference(name, one.get(name), other.get(name)) for name in names]


def _shown(value: Any) -> str:
    if value is None:
        return "the default"
    if isinstance(value, tuple):
        return " ".join(value)
    return str(value).lower() if isinstance(value, bool) else f"{value}"
