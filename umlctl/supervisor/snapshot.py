"""Taking a snapshot of a guest's disks, or of those of several guests at one moment.

What a guest syncs reaches no disk of the host, and what it has written is in its memory first. So
its file systems are frozen, the guests are stopped, what was written to their disks is copied, and
they go on. Where nobody in the guest freezes file systems, its kernel is told to write, and what is
on a disk then is what would be there if the guest had lost its power: of the writes that its kernel
was at, each may be there or not.

A guest that is stopped goes on, whatever ends: by its supervisor's own deadline, and by a process
that waits for the end of this one. What is frozen is thawed likewise.
"""

from __future__ import annotations

import errno
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

import trio

from umlctl.errors import Refusal
from umlctl.state import snapshot_ended, snapshot_making, snapshots
from umlctl.state.snapshot_making import MAX_PAUSE_SECONDS
from umlctl.state.snapshots import Snapshot
from umlctl.state.umid_lock import kernel_socket
from umlctl.supervisor.resumer import Resumer
from umlctl.supervisor.settled import Settled, settle_all, thaw_all
from umlctl.supervisor.standstill import Ended, Other, Own

if TYPE_CHECKING:
    from umlctl.supervisor.history import By
    from umlctl.supervisor.life import Life

    Guest = Own | Other | Ended


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
            guests: list[Guest] = [Own(life, MAX_PAUSE_SECONDS, by)]
            guests += [await _other(name, held) for name in asked.others]
            snapshot = await _take(guests, asked.name, place)
            await trio.to_thread.run_sync(snapshot_making.finish, place, snapshot)
        if asked.keep:
            await trio.to_thread.run_sync(snapshot_making.prune, umid, asked.keep)
    life.history.add("snapshot taken", text=asked.name, pause=snapshot.pause, **by)
    return snapshot


async def _other(name: str, held: ExitStack) -> Other | Ended:
    """Another guest, for as long as it is wanted.

    Raises: Refusal
    """
    if (record := await trio.to_thread.run_sync(snapshot_ended.find, name)) is not None:
        return held.enter_context(Ended(record))
    other = held.enter_context(Other(name, MAX_PAUSE_SECONDS))
    await other.look()
    return other


async def _take(guests: list[Guest], name: str, place: str) -> Snapshot:
    """Have the files of all guests in a directory, as they are at one moment."""
    # What cannot be is said before anybody is stopped.
    layers = [layer for each in guests for layer in snapshot_making.layers_of(each.record)]
    await trio.to_thread.run_sync(snapshot_making.check_room, layers, place)
    settled = [Settled(each) for each in guests]
    sockets = [kernel_socket(each.record.definition) for each in guests if each.runs]
    with ExitStack() as held:
        await trio.to_thread.run_sync(held.enter_context, Resumer(place, sockets))
        began = trio.current_time()
        try:
            await settle_all(settled)
            began, moment = trio.current_time(), time.time()
            for each, its in zip(guests, settled, strict=True):
                await each.stop()
                its.note_stopped()
            layers = [layer for each in guests for layer in snapshot_making.layers_of(each.record)]
            until = time.monotonic() + MAX_PAUSE_SECONDS
            await trio.to_thread.run_sync(snapshot_making.copy_all, layers, place, until)
            for each in guests:
                if not await each.has_stood_still():
                    raise Refusal(
                        f"{each.umid} was resumed while its disks were copied, so the snapshot was "
                        "given up; try again",
                        -errno.EAGAIN,
                    )
        finally:
            try:
                await _resume(guests)
                pause = trio.current_time() - began
            finally:
                await thaw_all(settled)
    members = [
        snapshot_making.member_of(
            each.record,
            its.synced,
            ended=isinstance(each, Ended),
            frozen=its.is_frozen,
            note=its.note,
        )
        for each, its in zip(guests, settled, strict=True)
    ]
    return Snapshot(
        guest=guests[0].umid,
        name=name,
        time=round(moment, 3),
        pause=round(pause, 4),
        frozen=round(max(its.seconds for its in settled), 4),
        members=tuple(members),
        layers=tuple(layers),
    )


async def _resume(guests: list[Guest]) -> None:
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
