"""`umlctl snapshot`: what guests have written to their disks, kept as it was at one moment."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from umlctl import exitcodes
from umlctl.cli import complete, device_options, snapshot_use
from umlctl.cli.main import Group
from umlctl.cli.snapshot_use import facts_of, found, name_argument, told
from umlctl.client.request import request
from umlctl.errors import HostError, NoGuest, UsageError
from umlctl.host import naming
from umlctl.output import say, views
from umlctl.state import snapshot_ended, snapshots
from umlctl.state.snapshots import Snapshot

if TYPE_CHECKING:
    from umlctl.client.ask import Deadline


UNUSABLE: Final = "no kernel takes it: see `snapshot info`"


@click.group(
    cls=Group,
    epilog="""\b
Examples:
  umlctl snapshot create demo clean
  umlctl snapshot list demo
  umlctl snapshot revert demo clean
""",
)
def snapshot() -> None:
    """Keep what guests have written to their disks, and go back to it."""


for _command in snapshot_use.COMMANDS:
    snapshot.add_command(_command)


@snapshot.command(
    "create",
    epilog="""\b
Examples:
  umlctl snapshot create demo clean
  umlctl snapshot create web before-upgrade --with db   both at the same moment
  umlctl snapshot create demo hourly-$(date +%H%M) --keep 24
""",
)
@device_options.guest_argument
@name_argument
@click.option(
    "--with",
    "others",
    multiple=True,
    metavar="GUEST",
    shell_complete=complete.guests,
    help="Another guest, at the same moment; as often as there are.",
)
@click.option(
    "--keep",
    type=click.IntRange(1, 10**6),
    metavar="N",
    help="Then remove the oldest of the guest's snapshots but for N.",
)
@device_options.timeout_option
@device_options.json_option
def create(
    guest: str,
    name: str,
    others: tuple[str, ...],
    keep: int | None,
    deadline: Deadline,
    in_json: bool,
) -> int:
    """Keep what a guest has written to its disks, as NAME.

    The file systems of one that runs are frozen, it is stopped, its COW files (or disks without
    one) are copied, and it goes on; for how long it was stopped is said. Where the file system of
    this host shares blocks, the copy takes no time and no room. Where nobody in the guest can
    freeze, its kernel is told to write what it has in memory, and what is kept is what would be on
    the disks if the guest lost its power: a journal puts that right. Disks with --discard are kept
    too, as long as it runs.
    """
    made = _taken(guest, name, others, keep or 0, deadline)
    facts = facts_of(made)
    if in_json:
        print(views.to_json(facts))
        return exitcodes.OK
    disks = ", ".join(
        each.disk if len(made.members) == 1 else f"{each.guest} {each.disk}" for each in made.layers
    )
    print(
        f"{name} has {disks}, {views.size(facts['allocated'])} on this host; {_stood_still(made)}"
    )
    for member in made.members:
        umid = member.definition.umid
        if member.synced:
            say(f"{umid}: what it had in memory may be lacking: {member.synced}", exitcodes.OK)
        for each in member.lacks:
            say(f"{umid}: {each}, is not in it", exitcodes.OK)
        if member.note:
            say(f"{umid}: {member.note}", exitcodes.OK)
    return exitcodes.OK


def _taken(
    guest: str, name: str, others: tuple[str, ...], keep: int, deadline: Deadline
) -> Snapshot:
    """Have a snapshot taken: by the guest's supervisor, or here if the guest has ended.

    Raises: UmlctlError
    """
    snapshots.check_name(name)
    for each in others:
        if set(each) & set(", /"):
            raise UsageError(f"--with takes the name of a guest, not {each!r}")
    words = [name, *([f"keep={keep}"] if keep else [])]
    words += [f"with={','.join(others)}"] if others else []
    try:
        data = request(guest, f"layer save {' '.join(words)}", deadline)
        return msgspec.json.decode(data, type=Snapshot)
    except NoGuest:
        if snapshot_ended.find(guest) is None:
            raise
        return snapshot_use.take_ended((guest, *others), name, keep)
    except msgspec.DecodeError:
        raise HostError(f"{guest}: the answer is none that umlctl knows") from None


def _stood_still(made: Snapshot) -> str:
    """How its guests came not to write meanwhile."""
    stopped = [each.definition.umid for each in made.members if not each.ended]
    frozen = [each.definition.umid for each in made.members if each.frozen]
    ended = [each.definition.umid for each in made.members if each.ended]
    said = []
    if stopped:
        verb = "was" if len(stopped) == 1 else "were"
        said = [f"{' and '.join(stopped)} {verb} stopped for {made.pause * 1000:.0f} ms"]
    if frozen:
        whose = "its file systems"
        if len(made.members) > 1:
            whose = f"the file systems of {' and '.join(frozen)} were"
        said += [f"{whose} frozen for {made.frozen * 1000:.0f} ms"]
    if ended:
        said += [f"{' and '.join(ended)} {'has' if len(ended) == 1 else 'have'} ended"]
    return ", ".join(said)


@snapshot.command(
    "list",
    epilog="""\b
Examples:
  umlctl snapshot list
  umlctl snapshot list demo --json
""",
)
@click.argument("guest", required=False, shell_complete=complete.snapshotted)
@device_options.json_option
def list_snapshots(guest: str | None, in_json: bool) -> int:
    """List the snapshots of a guest, or of all, oldest first."""
    rows = [facts_of(each) for each in snapshots.load_all(_checked(guest) if guest else "")]
    if in_json:
        print(views.to_json(rows))
        return exitcodes.OK
    table: list[tuple[str, ...]] = [("GUEST", "NAME", "TAKEN", "PAUSE", "ON DISK", "DISKS", "NOTE")]
    for row in rows:
        disks = [
            each["disk"] if each["guest"] == row["guest"] else f"{each['guest']} {each['disk']}"
            for each in row["layers"]
        ]
        taken = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row["time"]))
        pause = f"{row['pause'] * 1000:.0f} ms" if row["pause"] else "-"
        size = views.size(row["allocated"])
        note = UNUSABLE if any(each["problem"] for each in row["layers"]) else ""
        table.append((row["guest"], row["name"], taken, pause, size, ", ".join(disks), note))
    views.columns(table)
    return exitcodes.OK


def _checked(guest: str) -> str:
    """Raises: UsageError"""
    try:
        return naming.check_umid(guest)
    except naming.BadUmid as problem:
        raise UsageError(str(problem)) from None


@snapshot.command("info", epilog="\b\nExamples:\n  umlctl snapshot info demo clean\n")
@snapshot_use.guest_argument
@name_argument
@device_options.json_option
def info(guest: str, name: str, in_json: bool) -> int:
    """Show what is in a snapshot, and where."""
    facts = facts_of(found(guest, name))
    if in_json:
        print(views.to_json(facts))
        return exitcodes.OK
    rows: list[tuple[str, Any]] = [
        ("taken", time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(facts["time"]))),
        ("guests", ", ".join(facts["guests"])),
        ("stopped for", f"{facts['pause'] * 1000:.1f} ms"),
        ("frozen", ", ".join(facts["frozen_guests"]) or "-"),
        ("on this host", views.size(facts["allocated"])),
        ("files", facts["directory"]),
    ]
    rows += [("lacks", each) for each in facts["lacks"]]
    rows += [("problem", each["problem"]) for each in facts["layers"] if each["problem"]]
    for key, value in rows:
        print(f"{key:<14}{views.printable(str(value))}")
    table: list[tuple[str, ...]] = [("DISK", "ON DISK", "OF", "OVER")]
    for each in facts["layers"]:
        over = views.printable(each["backing"] or "") or "-"
        size = views.size(each["allocated"])
        table.append((f"{each['guest']} {each['disk']}", size, views.printable(each["path"]), over))
    views.columns(table)
    return exitcodes.OK


@snapshot.command(
    "rm",
    epilog="""\b
Examples:
  umlctl snapshot rm demo clean
  umlctl snapshot rm demo monday tuesday
""",
)
@snapshot_use.guest_argument
@click.argument("names", nargs=-1, required=True, shell_complete=complete.snapshots)
def rm(guest: str, names: tuple[str, ...]) -> int:
    """Remove snapshots; guests that were reverted to them or cloned from them keep theirs.

    One whose files a guest has for disks is refused.
    """
    for name in dict.fromkeys(names):
        with told(f"snapshot rm {guest} {name}"), snapshots.lock():
            one = found(guest, name)
            snapshot_use.check_unused(f"snapshot rm {guest} {name}", one)
            snapshots.remove(one)
        print(f"{name} of {guest} is removed")
    return exitcodes.OK
