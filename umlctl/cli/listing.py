"""`umlctl list`: every guest of this user, whoever runs it."""

from __future__ import annotations

import os
import time
from typing import Any, Final

import click
import msgspec

from umlctl import exitcodes
from umlctl.cli import complete
from umlctl.client.guests import gather
from umlctl.definitions import current, files
from umlctl.errors import UsageError
from umlctl.output import guest_table, say, views
from umlctl.protocol.status import DEAD, DEFINED, Status
from umlctl.state import records, umid_lock

WRITTEN_ANEW: Final = "its supervisor writes it anew with the guest's next change"
FORMATS: Final = ("table", "compact", "csv", "json")
"""The forms in which the list can be printed."""


@click.command(
    "list",
    epilog="""\b
Examples:
  umlctl list
  umlctl list --running --sort -memory
  umlctl list --columns name,state,pid,kernel
  umlctl list --format csv --columns name
  umlctl list --enabled
  umlctl list --json | jq -r '.[] | select(.state == "running") | .umid'
""",
)
@click.option(
    "--columns",
    metavar="NAME,...",
    shell_complete=complete.columns,
    help="Show these, in this order.",
)
@click.option(
    "--sort",
    metavar="[-]COLUMN",
    shell_complete=complete.sorting,
    help="Sort by a column; with a '-' before it, the other way round.",
)
@click.option(
    "--format",
    "shape",
    type=click.Choice(FORMATS),
    help="A table, the same without colours and folding, CSV without headings, or JSON.",
)
@click.option("--json", "in_json", is_flag=True, help="Print an array of objects, as `status`.")
@click.option("--running", is_flag=True, help="Without those that do not run.")
@click.option("--enabled", is_flag=True, help="Those that `autostart` starts, and what they are.")
def list_guests(
    columns: str | None,
    sort: str | None,
    shape: str | None,
    in_json: bool,
    running: bool,
    enabled: bool,
) -> int:
    """List all guests: running ones, bare kernels somebody started by hand, dead ones, and those
    that are defined and were never started."""
    shape = _shape(shape, in_json)
    if enabled:
        if columns or sort or running or shape in ("csv", "compact"):
            raise UsageError("`list --enabled` has columns and an order of its own")
        return _list_enabled(shape == "json")
    names = guest_table.chosen(columns) if columns else guest_table.DEFAULT_COLUMNS
    guest_table.check((sort or "name").removeprefix("-"))
    found = [each for each in gather() if each.state != DEAD] if running else _all()
    now = time.time()
    if sort:
        found = guest_table.ordered(found, sort, now)
    for umid, problem in records.unreadable():
        has = umid_lock.has_owner(umid)
        say(f"{problem}; {WRITTEN_ANEW if has else '`umlctl adopt` sets it aside'}", exitcodes.OK)
    if shape == "json":
        print(views.to_json(found))
    elif shape == "csv":
        print(guest_table.as_csv(found, now, names), end="")
    elif not found:
        none = "no guest runs" if running else "no guests"
        click.echo(f"{none}; `umlctl run` boots one", err=True)
    elif shape == "compact":
        print("\n".join(views.aligned(guest_table.rows(found, now, names))))
    else:
        views.columns(guest_table.rows(found, now, names))
    return exitcodes.OK


def _all() -> list[Status]:
    """Every guest, and then those that are defined and were never started."""
    found = gather()
    known = {status.umid for status in found}
    defined = [name for name in files.names() if name not in known]
    return found + [Status(umid=name, state=DEFINED, since=_written(name)) for name in defined]


def _written(name: str) -> float:
    """When a guest was written down, seconds since 1970."""
    try:
        return os.stat(files.path_of(name)).st_mtime
    except OSError:
        return time.time()


def _shape(shape: str | None, in_json: bool) -> str:
    """Raises: UsageError"""
    if in_json and shape not in (None, "json"):
        raise UsageError(f"`--json` is `--format json`, and no {shape}")
    return "json" if in_json else shape or "table"


def _list_enabled(in_json: bool) -> int:
    found = _enabled()
    if in_json:
        print(views.to_json(found))
    elif not found:
        click.echo("no guest is enabled; `umlctl enable GUEST` does it", err=True)
    else:
        rows: list[tuple[str, ...]] = [("NAME", "STATE", "AFTER", "NOTE")]
        for each in found:
            state, after = each["state"] or "-", " ".join(each["after"]) or "-"
            rows.append((each["umid"], state, after, each["problem"] or ""))
        views.columns(rows)
    return exitcodes.OK


def _enabled() -> list[dict[str, Any]]:
    """The guests that are enabled, and what is wrong with their definitions."""
    states = {status.umid: status.state for status in gather()}
    return [
        {
            "umid": each.umid,
            "state": states.get(each.umid),
            "after": each.definition.after if each.definition else (),
            "definition": each.definition and msgspec.structs.asdict(each.definition),
            "problem": each.problem or None,
        }
        for each in current.enabled_guests()
    ]
