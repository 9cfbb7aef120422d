"""`umlctl list`: every guest of this user, whoever runs it."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import click
import msgspec

from socketproto import blocking
from umlctl import exitcodes
from umlctl.cli import bare
from umlctl.client import unsupervised
from umlctl.host import burial, claim, lost, paths, processes, records, scarce
from umlctl.output import say, views

WRITTEN_ANEW: Final = "its supervisor writes it anew with the guest's next change"
DEAD: Final = "dead"
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
    found = [each for each in gather() if not (running and each["state"] == DEAD)]
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


def lines(found: list[dict[str, Any]]) -> list[str]:
    """The list as text."""
    return views.aligned(_rows(found))


def _rows(found: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    headings = ("UMID", "STATE", "SINCE", "PID", "MEMORY", "CPU", "REBOOTS", "NOTE")
    return [headings, *(_row(status) for status in found)]


def gather() -> list[dict[str, Any]]:
    """The status of every guest, by name, and those that have ended last."""
    for record in lost.without_supervisor():
        if unsupervised.take_over(record.definition.umid, everyone=True):
            break  # and all others with it
    for record in records.load_all():
        unsupervised.bury(record)
    for record in burial.wanted_back():
        if unsupervised.take_over(record.definition.umid, everyone=True):
            break
    kept = {record.definition.umid: record for record in records.load_all()}
    for record in lost.unrecorded(kept):
        if not claim.has_owner(record.definition.umid):  # one that is being started has
            kept[record.definition.umid] = record
    found = {umid: unsupervised.summary(record) for umid, record in kept.items()}
    names = paths.guest_names()
    if names:
        answers = zip(names, _ask_all(names), strict=True)
        found.update({name: status for name, status in answers if status is not None})
    return [
        found[name] for name in sorted(found, key=lambda umid: (found[umid]["state"] == DEAD, umid))
    ]


def _ask_all(names: list[str]) -> list[dict[str, Any] | None]:
    """Side by side, as one may take long; where there are no threads, one after another."""
    try:
        with ThreadPoolExecutor(min(32, len(names))) as pool:
            return list(pool.map(_ask, names))
    except RuntimeError as problem:
        if not scarce.is_lacking(problem):
            raise
        return [_ask(name) for name in names]


def _ask(name: str) -> dict[str, Any] | None:
    """What the guest says of itself; None if nobody listens."""
    path = paths.find_socket(name)
    with blocking.Connection(path) as connection:
        try:
            connection.link.open()
            if not connection.link.served:
                return _bare(name, path, connection)
            outcome = connection.request("status", PATIENCE)
        except blocking.Unreachable:
            return None
    if not outcome.ok:
        return _unknown(name, path, str(outcome))
    try:
        status = views.read_status(outcome.data)
    except msgspec.DecodeError:  # another program's answer must not spoil the list
        return _unknown(name, path, "its answer is not a status")
    return status | {"umid": name}


def _bare(name: str, path: str, connection: blocking.Connection) -> dict[str, Any]:
    outcome = connection.request("version", PATIENCE)
    status = _unknown(name, path, "" if outcome.ok else str(outcome))
    status["state"] = "unmanaged" if outcome.ok else "silent"
    if not outcome.ok:
        status["trouble"] = bare.held(path) or status["trouble"]
    try:
        with open(os.path.join(os.path.dirname(path), "pid")) as file:
            status["pid"] = pid = int(file.read())
        status["cpu"] = processes.cpu_seconds(pid)
        status["memory"] = processes.memory_used(pid)
        status["since"] = os.stat(path).st_mtime
    except (OSError, ValueError):
        pass
    return status


def _unknown(name: str, path: str, trouble: str) -> dict[str, Any]:
    return {
        "umid": name,
        "state": "silent",
        "since": time.time(),
        "pid": None,
        "supervisor_pid": None,
        "kernel": None,
        "memory": None,
        "cpu": None,
        "reboots": None,
        "last_panic": None,
        "trouble": trouble or None,
        "sockets": {"mconsole": path},
    }


def _row(status: dict[str, Any]) -> tuple[str, ...]:
    note = status.get("trouble") or ""
    if status["state"] == DEAD:
        note = views.ending_text(status.get("ending"))
    elif not note and status.get("last_panic"):
        note = f"last panic: {status['last_panic']}"
    cpu, reboots = status["cpu"], status["reboots"]
    return (
        status["umid"],
        views.state_text(status["state"]),
        views.duration(max(0.0, time.time() - status["since"])),
        str(status["pid"] or "-"),
        views.size(status["memory"]),
        "-" if cpu is None else f"{cpu:.1f}s",
        "-" if reboots is None else str(reboots),
        views.printable(note),
    )
