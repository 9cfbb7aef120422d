"""`umlctl list`: every guest of this user, whoever runs it."""

from __future__ import annotations

import contextlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import click
import msgspec

from socketproto.exchange import GONE
from umlctl import exitcodes
from umlctl.cli import bare, complete
from umlctl.client import unsupervised
from umlctl.client.ask import Deadline, GuestClient
from umlctl.errors import NoGuest, UsageError
from umlctl.host import claim, paths, processes, records, scarce
from umlctl.host.enabled import load_all as load_enabled
from umlctl.output import guest_table, say, views
from umlctl.protocol.status import DEAD, Status, read_status
from umlctl.recovery import discover

WRITTEN_ANEW: Final = "its supervisor writes it anew with the guest's next change"
PAUSE: Final = 0.02
"""Between two looks at whether a supervisor listens, seconds."""
SHAPES: Final = ("table", "compact", "csv", "json")
"""As what the list can be printed."""
PATIENCE: Final = 2.0
"""How long one guest may hold up the list, seconds; they are asked side by side."""


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
    type=click.Choice(SHAPES),
    help="A table, the same without colours and folding, CSV without headings, or JSON.",
)
@click.option("--json", "in_json", is_flag=True, help="Print an array of objects, as `status`.")
@click.option("--running", is_flag=True, help="Without those that have ended.")
@click.option("--enabled", is_flag=True, help="Those that `autostart` starts, and what they are.")
def list_guests(
    columns: str | None,
    sort: str | None,
    shape: str | None,
    in_json: bool,
    running: bool,
    enabled: bool,
) -> int:
    """List all guests: running ones, bare kernels somebody started by hand, and then dead ones."""
    shape = _shape(shape, in_json)
    if enabled:
        if columns or sort or running or shape in ("csv", "compact"):
            raise UsageError("`list --enabled` has columns and an order of its own")
        return _list_enabled(shape == "json")
    names = guest_table.chosen(columns) if columns else guest_table.DEFAULT
    guest_table.check((sort or "name").removeprefix("-"))
    found = [each for each in gather() if not (running and each.state == DEAD)]
    now = time.time()
    if sort:
        found = guest_table.ordered(found, sort, now)
    for umid, problem in records.unreadable():
        has = claim.has_owner(umid)
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
    """The guests that are enabled, and what is wrong with how they were written down."""
    states = {status.umid: status.state for status in gather()}
    return [
        {
            "umid": each.umid,
            "state": states.get(each.umid),
            "after": each.definition.after if each.definition else (),
            "definition": each.definition and msgspec.structs.asdict(each.definition),
            "problem": each.problem or None,
        }
        for each in load_enabled()
    ]


def lines(found: list[Status]) -> list[str]:
    """The list as text."""
    return views.aligned(guest_table.rows(found, time.time()))


def gather() -> list[Status]:
    """The status of every guest, by name, and those that have ended last.

    It is a look: what it finds without a supervisor is shown, and left to the next one.
    """
    kept = {record.definition.umid: record for record in records.load_all()}
    for record in discover.unrecorded(kept):
        if not claim.has_owner(record.definition.umid):  # one that is being started has
            kept[record.definition.umid] = record
    names = paths.guest_names()
    live = {umid for umid, record in kept.items() if records.lives(record)}
    answers = dict(zip(names, _ask_all(names, live), strict=True)) if names else {}
    found = {name: status for name, status in answers.items() if status is not None}
    for umid, record in kept.items():
        if umid not in found:
            found[umid] = unsupervised.summary(record)
    return [
        found[name] for name in sorted(found, key=lambda umid: (found[umid].state == DEAD, umid))
    ]


def _ask_all(names: list[str], live: set[str]) -> list[Status | None]:
    """Side by side, as one may take long; where there are no threads, one after another.

    live: those whose kernel runs
    """

    def ask(name: str) -> Status | None:
        return _ask_soon(name) if name in live else _ask(name)

    try:
        with ThreadPoolExecutor(min(32, len(names))) as pool:
            return list(pool.map(ask, names))
    except RuntimeError as problem:
        if not scarce.is_lacking(problem):
            raise
        return [ask(name) for name in names]


def _ask_soon(name: str) -> Status | None:
    """The same, of a guest that runs; a supervisor that adopts it just now is waited for."""
    end = time.monotonic() + unsupervised.DIES
    while True:
        found = _ask(name)
        if found is not None or not claim.has_owner(name) or time.monotonic() > end:
            return found
        time.sleep(PAUSE)


def _ask(name: str) -> Status | None:
    """What the guest says of itself; None if nobody listens."""
    deadline = Deadline(patience=PATIENCE)
    with GuestClient(name, looks=True) as guest:
        path = guest.link.path
        try:
            if guest.is_bare():
                return _bare(name, guest, deadline)
            outcome = guest.ask("status", deadline)
        except NoGuest:
            return None
    if outcome.kind == GONE:
        return None
    if not outcome.ok:
        return _unknown(name, path, str(outcome))
    try:
        status = read_status(outcome.data)
    except msgspec.DecodeError:  # another program's answer must not spoil the list
        return _unknown(name, path, "its answer is not a status")
    return msgspec.structs.replace(status, umid=name)


def _bare(name: str, guest: GuestClient, deadline: Deadline) -> Status:
    """What can be told of a kernel that somebody has started by hand."""
    path = guest.link.path
    outcome = guest.ask("version", deadline)
    trouble = "" if outcome.ok else bare.held(path) or str(outcome)
    status = msgspec.structs.replace(
        _unknown(name, path, trouble), state="unmanaged" if outcome.ok else "silent"
    )
    with contextlib.suppress(OSError, ValueError):
        with open(os.path.join(os.path.dirname(path), "pid")) as file:
            pid = int(file.read())
        status = msgspec.structs.replace(
            status,
            pid=pid,
            cpu=processes.cpu_seconds(pid),
            memory=processes.memory_used(pid),
            since=os.stat(path).st_mtime,
        )
    return status


def _unknown(name: str, path: str, trouble: str) -> Status:
    return Status(
        umid=name,
        state="silent",
        since=time.time(),
        trouble=trouble or None,
        sockets={"mconsole": path},
    )
