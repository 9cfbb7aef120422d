"""Taking a snapshot of a guest's disks, or of those of several guests at one moment.

What a guest syncs reaches no disk of the host, and what it has written is in its memory first. So
its kernel is told to write, the guests are stopped, what was written to their disks is copied, and
they go on. What is on a disk then is what would be there if the guest had lost its power: of the
writes that its kernel was at, each may be there or not.

A guest that is stopped goes on, whatever ends: by its supervisor's own deadline, and by a process
that waits for the end of this one.
"""

from __future__ import annotations

import errno
import os
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

import trio

from umlctl.devices import families, ubd
from umlctl.errors import HostError, Refusal
from umlctl.guest import definition as definitions
from umlctl.host import paths
from umlctl.state import snapshots
from umlctl.state.snapshots import Layer, Member, Plugged, Snapshot
from umlctl.state.umid_lock import kernel_socket
from umlctl.storage.file_copy import copy_whole
from umlctl.supervisor.resumer import Resumer
from umlctl.supervisor.standstill import Other, Own

if TYPE_CHECKING:
    from collections.abc import Iterator

    from umlctl.state.records import DeviceEntry, Record
    from umlctl.supervisor.history import By
    from umlctl.supervisor.life import Life

MAX_PAUSE_SECONDS: Final = 600.0
"""How long a guest may be stopped for a snapshot, seconds."""


class Asked(NamedTuple):
    """What is asked for.

    Fields:
        name: of the snapshot
        others: guests that are taken with this one
        keep: how many snapshots the guest is to have at most; 0: any number
    """

    name: str
    others: tuple[str, ...] = ()
    keep: int = 0


def read(text: str) -> Asked:
    """Read `NAME [keep=N] [with=GUEST,GUEST...]`.

    Raises: UsageError; Refusal
    """
    name, *words = text.split()
    asked = Asked(snapshots.check_name(name))
    for word in words:
        key, _, value = word.partition("=")
        if key == "keep" and value.isascii() and value.isdigit() and int(value[:9]) > 0:
            asked = asked._replace(keep=int(value[:9]))
        elif key == "with" and value:
            asked = asked._replace(others=tuple(dict.fromkeys(value.split(","))))
        else:
            raise Refusal(
                f"`layer save` takes NAME [keep=N] [with=GUEST,GUEST...], not {word!r}",
                -errno.EINVAL,
            )
    return asked


async def take(life: Life, asked: Asked, by: By) -> Snapshot:
    """Take a snapshot.

    Raises: Refusal: and nothing of it is there
    """
    umid = life.launched.definition.umid
    if umid in asked.others:
        raise Refusal(f"{umid} cannot be taken with itself", -errno.EINVAL)
    # Guests that go on, and no half of a snapshot, are worth more than an end at once.
    async with life.devices.changing():
        with trio.CancelScope(shield=True), ExitStack() as held:
            await trio.to_thread.run_sync(held.enter_context, snapshots.lock())
            making = snapshots.making(umid, asked.name)
            place: str = await trio.to_thread.run_sync(held.enter_context, making)
            guests: list[Own | Other] = [Own(life, MAX_PAUSE_SECONDS, by)]
            for name in asked.others:
                other = held.enter_context(Other(name, MAX_PAUSE_SECONDS))
                await other.look()
                guests.append(other)
            snapshot = await _take(guests, asked.name, place)
            await trio.to_thread.run_sync(_finish, place, snapshot)
        if asked.keep:
            await trio.to_thread.run_sync(_prune, umid, asked.keep)
    life.history.add("snapshot taken", text=asked.name, pause=snapshot.pause, **by)
    return snapshot


async def _take(guests: list[Own | Other], name: str, place: str) -> Snapshot:
    """Have the files of all guests in a directory, as they are at one moment."""
    for each in guests:
        layers_of(each.record)  # what cannot be is said before anybody is stopped
    synced = await _sync(guests)
    sockets = [kernel_socket(each.record.definition) for each in guests if each.runs]
    with ExitStack() as held:
        await trio.to_thread.run_sync(held.enter_context, Resumer(place, sockets))
        began, moment = trio.current_time(), time.time()
        try:
            for each in guests:
                await each.stop()
            layers = [layer for each in guests for layer in layers_of(each.record)]
            until = time.monotonic() + MAX_PAUSE_SECONDS
            await trio.to_thread.run_sync(_copy_all, layers, place, until)
            for each in guests:
                if not await each.has_stood_still():
                    raise Refusal(
                        f"{each.umid} was resumed while its disks were copied, so the snapshot was "
                        "given up; try again",
                        -errno.EAGAIN,
                    )
        finally:
            await _resume(guests)
            pause = trio.current_time() - began
    members = [_member(each.record, why) for each, why in zip(guests, synced, strict=True)]
    return Snapshot(
        guest=guests[0].umid,
        name=name,
        time=round(moment, 3),
        pause=round(pause, 4),
        members=tuple(members),
        layers=tuple(layers),
    )


async def _resume(guests: list[Own | Other]) -> None:
    """Raises: Refusal: one does not go on, and all others do"""
    failed: list[Refusal] = []
    for each in guests:
        try:
            await each.resume()
        except Refusal as problem:
            failed.append(problem)
    if failed:
        said = f"it goes on by itself within {MAX_PAUSE_SECONDS:g} seconds, or by `umlctl go`"
        raise Refusal(f"{failed[0]}; {said}", failed[0].error)


async def _sync(guests: list[Own | Other]) -> list[str]:
    """Sync all guests at once; return what each may lack."""
    said = [""] * len(guests)

    async def sync(place: int) -> None:
        said[place] = await guests[place].sync()

    async with trio.open_nursery() as nursery:
        for place in range(len(guests)):
            nursery.start_soon(sync, place)
    return said


# What there is to copy


def layers_of(record: Record) -> list[Layer]:
    """What a guest writes to.

    Raises: HostError: it cannot be copied, or there is nothing
    """
    umid = record.definition.umid
    entries = [entry for entry in _disks(record) if not entry.problem]
    found = [_layer(umid, entry) for entry in entries if entry.holds and entry.holds[0].write]
    if not found:
        raise HostError(f"{umid} writes to no disk, so there is nothing to take a snapshot of")
    return found


def _disks(record: Record) -> list[DeviceEntry]:
    return [each for each in record.devices if families.kind_of(each.name) == families.DISK]


def _layer(umid: str, entry: DeviceEntry) -> Layer:
    hold = entry.holds[0]
    if entry.shared:
        raise HostError(
            f"{entry.name} of {umid} is shared: others may write to it, whom nobody stops"
        )
    if not hold.inode:
        raise HostError(
            f"{entry.name} of {umid} is a block device, {hold.path}, which is not copied; give it "
            "a COW file over that"
        )
    under = entry.holds[1].path if len(entry.holds) > 1 else ""
    if under and not ubd.parse(entry.kernel).detect:
        under = ""
    try:
        status = os.stat(hold.path)
    except OSError as problem:
        raise HostError(f"cannot read {hold.path}: {problem.strerror}") from problem
    return Layer(
        guest=umid,
        disk=entry.name,
        file=f"{umid}.{entry.name}",
        path=os.path.realpath(hold.path),
        backing=under,
        size=status.st_size,
        mode=status.st_mode & 0o777,
        discard="discard" in entry.made,
    )


def _member(record: Record, synced: str) -> Member:
    root = definitions.root_directory(record.definition)
    writes = root and not record.definition.root.endswith(definitions.READONLY_SUFFIX)
    lacks = [f"its root, the directory {root}"] if writes else []
    return Member(
        definition=record.definition,
        disks=tuple(Plugged(name=each.name, asked=each.asked) for each in _disks(record)),
        synced=synced,
        lacks=tuple(lacks),
    )


# In a worker thread


def _copy_all(layers: list[Layer], place: str, until: float) -> None:
    """Raises: HostError"""

    def say(_count: int) -> None:
        if time.monotonic() > until:
            raise HostError(
                f"copying its disks takes longer than {MAX_PAUSE_SECONDS:g} seconds; COW files are "
                "smaller"
            )

    for layer in layers:
        with _explained(f"cannot copy {layer.path}"):
            source = os.open(layer.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                target = os.open(f"{place}/{layer.file}", flags, 0o600)
                try:
                    copy_whole(source, target, say)
                finally:
                    os.close(target)
            finally:
                os.close(source)


def _finish(place: str, snapshot: Snapshot) -> None:
    with _explained("the snapshot cannot be kept"):
        snapshots.finish(place, snapshot)


def _prune(umid: str, keep: int) -> None:
    with snapshots.lock(), _explained("an old snapshot cannot be removed"):
        for each in snapshots.beyond(umid, keep):
            snapshots.remove(each)


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Raises: HostError"""
    try:
        yield
    except OSError as problem:
        more = ""
        if problem.errno in (errno.ENOSPC, errno.EDQUOT):
            more = f"; make room at {paths.snapshots_dir()}, as by `umlctl snapshot rm`"
        raise HostError(f"{what}: {problem.strerror}{more}") from problem
