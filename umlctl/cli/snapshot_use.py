"""What `umlctl snapshot` does with a snapshot that is there, and what brings one from elsewhere."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, Any, Final

import click

from umlctl import exitcodes
from umlctl.cli import complete, device_options
from umlctl.cli.cow_merge import progress, users
from umlctl.errors import GuestInUse, HostError, NoGuest, UsageError
from umlctl.execution.if_killed import if_killed
from umlctl.host import naming
from umlctl.kernels import find
from umlctl.output import say, views
from umlctl.state import (
    clones,
    records,
    reverting,
    snapshot_archive,
    snapshot_diff,
    snapshot_ended,
    snapshot_making,
    snapshots,
    umid_lock,
)
from umlctl.state.file_identity import check_free, hold_of
from umlctl.storage.cow_file import opened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from umlctl.state.records import Record
    from umlctl.state.snapshots import Layer, Snapshot

guest_argument = click.argument("guest", shell_complete=complete.snapshotted)
name_argument = click.argument("name", shell_complete=complete.snapshots)


def found(guest: str, name: str) -> Snapshot:
    """A snapshot that a user names.

    Raises: UsageError, NoGuest, HostError
    """
    try:
        naming.check_umid(guest)
    except naming.BadUmid as problem:
        raise UsageError(str(problem)) from None
    return snapshots.find(guest, snapshots.check_name(name))


def check_unused(what: str, snapshot: Snapshot) -> None:
    """Refuse a snapshot whose files are in use.

    Raises: HostError; OSError
    """
    there = [path for each in snapshot.layers if os.path.exists(path := snapshot.path_of(each))]
    check_free(what, [hold_of(path, write=True) for path in there], users())


def _removed_if_killed(place: str) -> AbstractContextManager[None]:
    """Have a directory removed that is being made, should this process be killed."""
    return if_killed('rm -rf -- "$1"', place)


@contextlib.contextmanager
def told(what: str) -> Iterator[None]:
    """What the host says no to is an error with what was asked.

    Raises: HostError
    """
    try:
        yield
    except OSError as problem:
        reason = problem.strerror or str(problem)
        if problem.errno in (errno.ENOSPC, errno.EDQUOT):
            reason += "; make room there, and say it again"
        if problem.filename:
            reason = f"{problem.filename}: {reason}"
        raise HostError(f"{what}: {reason}") from problem


def facts_of(snapshot: Snapshot) -> dict[str, Any]:
    """A snapshot as it is shown."""
    layers = [_layer(snapshot, each) for each in snapshot.layers]
    return {
        "guest": snapshot.guest,
        "name": snapshot.name,
        "time": snapshot.time,
        "pause": snapshot.pause,
        "frozen": snapshot.frozen,
        "guests": snapshot.guests,
        "frozen_guests": [each.definition.umid for each in snapshot.members if each.frozen],
        "allocated": sum(each["allocated"] for each in layers),
        "directory": snapshot.directory,
        "synced": not any(each.synced for each in snapshot.members),
        "lacks": [
            f"{each.definition.umid}: {lack}" for each in snapshot.members for lack in each.lacks
        ],
        "layers": layers,
    }


def _layer(snapshot: Snapshot, layer: Layer) -> dict[str, Any]:
    path = snapshot.path_of(layer)
    try:
        allocated = os.stat(path).st_blocks * 512
    except OSError:
        allocated = 0
    return {
        "guest": layer.guest,
        "disk": layer.disk,
        "file": path,
        "path": layer.path or None,
        "backing": layer.backing or None,
        "size": layer.size,
        "allocated": allocated,
        "discard": layer.discard,
        "problem": _problem(snapshot, layer) or None,
    }


def _problem(snapshot: Snapshot, layer: Layer) -> str:
    """Why no kernel would take a disk of a snapshot; empty if one would."""
    try:
        reverting.check_whole(snapshot, layer)
    except (HostError, OSError) as problem:
        return str(problem)
    return ""


def take_ended(guests: tuple[str, ...], name: str, keep: int) -> Snapshot:
    """Take a snapshot of guests that have ended.

    keep: how many snapshots the first is to have at most; 0: any number

    Raises: HostError, GuestInUse, NoGuest, UsageError
    """
    first, *others = guests
    if first in others:
        raise UsageError(f"{first} cannot be taken with itself")
    what = f"snapshot create {first} {name}"
    with (
        told(what),
        snapshots.lock(),
        snapshots.making(first, name) as place,
        _removed_if_killed(place),
    ):
        ended = [_ended(each, first, name) for each in guests]
        made = snapshot_ended.take(ended, name, place, users)
    if keep:
        snapshot_making.prune(first, keep)
    return made


def _ended(umid: str, first: str, name: str) -> Record:
    """Raises: GuestInUse, NoGuest"""
    if (record := snapshot_ended.find(umid)) is not None:
        return record
    if umid_lock.has_owner(umid):
        raise GuestInUse(
            f"{umid} runs, and {first} has ended: `umlctl snapshot create {umid} {name} --with "
            f"{first}` takes both"
        )
    raise NoGuest(f"nobody knows the disks of {umid}: no guest of that name has run here")


@click.command(
    "revert",
    epilog="""\b
Examples:
  umlctl snapshot revert demo clean
""",
)
@guest_argument
@name_argument
@device_options.json_option
def revert(guest: str, name: str, in_json: bool) -> int:
    """Have the disks of a guest that has ended as they are in a snapshot.

    What was written since is lost: keep it by another snapshot first. All guests that the snapshot
    is of are reverted together, all of their disks or none, whatever is interrupted.
    """
    what = f"snapshot revert {guest} {name}"
    with told(what), snapshots.lock():
        one = found(guest, name)
        for umid in one.guests:
            record = records.load(umid)
            if record is not None and records.lives(record):
                raise GuestInUse(
                    f"{what}: {umid} runs, and has its disks; `umlctl shutdown {umid}` first"
                )
        reverting.finish()
        changed = reverting.revert(one, users)
    if in_json:
        print(views.to_json({"guest": guest, "name": name, "files": changed}))
    else:
        for path in changed:
            print(f"{views.printable(path)} is as it was in {name}")
        for each in one.layers:
            if each.discard:
                say(
                    f"{each.disk} of {each.guest} is made anew whenever it is plugged, with "
                    "`discard`; `umlctl snapshot clone` gives what it had to a new guest",
                    exitcodes.OK,
                )
    return exitcodes.OK


@click.command(
    "clone",
    epilog="""\b
Examples:
  umlctl snapshot clone demo clean demo2
  umlctl snapshot clone demo clean demo2 --to /srv/demo2
""",
)
@guest_argument
@name_argument
@click.argument("new")
@click.option(
    "--to",
    "directory",
    type=click.Path(readable=False),
    metavar="DIRECTORY",
    help="Where its disks are, a new directory. [default: ./NEW]",
)
@device_options.json_option
def clone(guest: str, name: str, new: str, directory: str | None, in_json: bool) -> int:
    """Start NEW, a guest as GUEST was started, with its disks as they are in a snapshot.

    They are copies, over the same backing files. Its NICs have MAC addresses of its own; addresses
    and forwarded ports that were given to GUEST are left out. Disks with --discard it keeps.
    """
    from umlctl.cli.start import start_again

    what = f"snapshot clone {guest} {name} {new}"
    place = os.path.abspath(directory or new)
    with told(what), snapshots.lock():
        one = found(guest, name)
        _check_new(what, new)
        member = next(
            (each for each in one.members if each.definition.umid == guest), one.members[0]
        )
        mine = [each for each in one.layers if each.guest == member.definition.umid]
        kernel = "" if all(each.path for each in mine) else find.find()
        definition, lost = clones.definition_of(member, new, place, kernel)
        for layer in mine:
            reverting.check_whole(one, layer)
        with _removed_if_killed(clones.beside(place)):
            clones.copy_layers(one, mine, place)
    for each in lost:
        say(f"{new} is without {each}", exitcodes.OK)
    return start_again(definition, in_json=in_json)


def _check_new(what: str, umid: str) -> None:
    """Raises: UsageError, GuestInUse"""
    try:
        naming.check_umid(umid)
    except naming.BadUmid as problem:
        raise UsageError(str(problem)) from None
    if umid in records.names() or umid_lock.has_owner(umid):
        raise GuestInUse(
            f"{what}: there is a guest {umid} already; take another name, or `umlctl rm {umid}`"
        )


@click.command(
    "diff",
    epilog="""\b
Examples:
  umlctl snapshot diff demo clean                what was written since
  umlctl snapshot diff demo monday tuesday --json
""",
)
@guest_argument
@name_argument
@click.argument("other", required=False, shell_complete=complete.snapshots)
@device_options.json_option
def diff(guest: str, name: str, other: str | None, in_json: bool) -> int:
    """Show how much of each disk differs from what it is now, or from OTHER, a later snapshot.

    Of a guest that runs, what it has not written yet is not seen.
    """
    what = f"snapshot diff {guest} {name}"
    with told(what):
        one = found(guest, name)
        second = found(guest, other) if other else None
        rows = list(snapshot_diff.by_disk(one, second))
    if in_json:
        print(views.to_json([{**each._asdict()} for each in rows]))
        return exitcodes.OK
    table: list[tuple[str, ...]] = [("DISK", "DIFFERS", "NOTE")]
    for row in rows:
        size = "-" if row.bytes is None else views.size(row.bytes)
        table.append((f"{row.guest} {row.disk}", size, views.printable(row.note)))
    views.columns(table)
    return exitcodes.OK


@click.command(
    "export",
    epilog="""\b
Examples:
  umlctl snapshot export demo clean demo.tar
""",
)
@guest_argument
@name_argument
@click.argument("file", type=click.Path(readable=False))
def export(guest: str, name: str, file: str) -> int:
    """Write a snapshot to FILE, for another machine: an archive of whole disks.

    What is in backing files is in it too, holes are not. FILE is whole or is not there.
    """
    with told(f"snapshot export {guest} {name}"):
        one = found(guest, name)
        with progress(f"export {name}", sum(each.size for each in one.layers)) as say_done:
            size = snapshot_archive.write(one, file, say_done)
    print(f"{views.printable(file)} has {views.size(size)}: {name} of {', '.join(one.guests)}")
    return exitcodes.OK


@click.command(
    "import",
    epilog="""\b
Examples:
  umlctl snapshot import demo.tar
  umlctl snapshot import demo.tar from-elsewhere
""",
)
@click.argument("file", type=click.Path(readable=False))
@click.argument("name", required=False)
@device_options.json_option
def import_snapshot(file: str, name: str | None, in_json: bool) -> int:
    """Keep a snapshot that `export` wrote, as NAME or as it was called.

    `clone` makes guests of it. Of what FILE says of its guests, only their names, memory,
    processors and disks are taken.
    """
    with told(f"snapshot import {file}"), opened(file) as descriptor, snapshots.lock():
        size = os.lseek(descriptor, 0, os.SEEK_END)
        with (
            open(os.dup(descriptor), "rb") as archive,
            progress(f"import {file}", size) as say_done,
        ):
            archive.seek(0)
            one = snapshot_archive.read(archive, name or "", say_done, _removed_if_killed)
    if in_json:
        print(views.to_json(facts_of(one)))
    else:
        print(f"{one.name} of {', '.join(one.guests)} is kept; `umlctl snapshot clone` starts it")
    return exitcodes.OK


COMMANDS: Final = (revert, clone, diff, export, import_snapshot)
"""Those of `umlctl snapshot`."""
