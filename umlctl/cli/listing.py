"""`umlctl list`: every guest of this user, whoever runs it."""

from __future__ import annotations

import contextlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import click
import msgspec

from socketproto.exchange import GONE
from umlctl import exitcodes
from umlctl.cli import bare
from umlctl.client import unsupervised
from umlctl.client.ask import Deadline, GuestClient
from umlctl.errors import NoGuest
from umlctl.host import claim, lost, paths, processes, records, scarce
from umlctl.output import say, views
from umlctl.protocol.status import DEAD, Status, read_status

WRITTEN_ANEW: Final = "its supervisor writes it anew with the guest's next change"
PAUSE: Final = 0.02
"""Between two looks at whether a supervisor listens, seconds."""
PATIENCE: Final = 2.0
"""How long one guest may hold up the list, seconds; they are asked side by side."""


@click.command(
    "list",
    epilog="""\b
Examples:
  umlctl list
  umlctl list --running
  umlctl list --enabled
  umlctl list --json | jq -r '.[] | select(.state == "running") | .umid'
""",
)
@click.option("--json", "in_json", is_flag=True, help="Print an array of objects, as `status`.")
@click.option("--running", is_flag=True, help="Without those that have ended.")
@click.option("--enabled", is_flag=True, help="Those that `autostart` starts, and what they are.")
def list_guests(in_json: bool, running: bool, enabled: bool) -> int:
    """List all guests: running ones, bare kernels somebody started by hand, and then dead ones."""
    if enabled:
        return _list_enabled(in_json)
    found = [each for each in gather() if not (running and each.state == DEAD)]
    for umid, problem in records.unreadable():
        has = claim.has_owner(umid)
        say(f"{problem}; {WRITTEN_ANEW if has else '`umlctl adopt` sets it aside'}", exitcodes.OK)
    if in_json:
        print(views.to_json(found))
        return 0
    if not found:
        none = "no guest runs" if running else "no guests"
        click.echo(f"{none}; `umlctl run` boots one", err=True)
        return 0
    views.columns(_rows(found))
    return 0


def _list_enabled(in_json: bool) -> int:
    from umlctl.cli.autostart import shown

    found = shown()
    if in_json:
        print(views.to_json(found))
    elif not found:
        click.echo("no guest is enabled; `umlctl enable GUEST` does it", err=True)
    else:
        rows: list[tuple[str, ...]] = [("UMID", "STATE", "AFTER", "NOTE")]
        for each in found:
            state, after = each["state"] or "-", " ".join(each["after"]) or "-"
            rows.append((each["umid"], state, after, each["problem"] or ""))
        views.columns(rows)
    return 0


def lines(found: list[Status]) -> list[str]:
    """The list as text."""
    return views.aligned(_rows(found))


def _rows(found: list[Status]) -> list[tuple[str, ...]]:
    headings = ("UMID", "STATE", "SINCE", "PID", "MEMORY", "CPU", "REBOOTS", "NOTE")
    return [headings, *(_row(status) for status in found)]


def gather() -> list[Status]:
    """The status of every guest, by name, and those that have ended last.

    It is a look: what it finds without a supervisor is shown, and left to the next one.
    """
    kept = {record.definition.umid: record for record in records.load_all()}
    for record in lost.unrecorded(kept):
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


def _row(status: Status) -> tuple[str, ...]:
    note = status.trouble or ""
    if status.state == DEAD:
        note = "; ".join(filter(None, [views.ending_text(status.ending), note]))
    elif not note and status.last_panic:
        note = f"last panic: {status.last_panic}"
    return (
        status.umid,
        views.state_text(status.state),
        views.duration(max(0.0, time.time() - status.since)),
        str(status.pid or "-"),
        views.size(status.memory),
        "-" if status.cpu is None else f"{status.cpu:.1f}s",
        "-" if status.reboots is None else str(status.reboots),
        views.printable(note),
    )
