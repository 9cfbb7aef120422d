"""Making a snapshot: what it has of each guest, copies of that, and having it kept."""

from __future__ import annotations

import errno
import os
import shutil
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from umlctl.devices import families, ubd
from umlctl.errors import HostError
from umlctl.guest import definition as definitions
from umlctl.host import paths
from umlctl.state import snapshots
from umlctl.state.snapshots import Layer, Member, Plugged
from umlctl.storage.cow_file import opened
from umlctl.storage.file_copy import copy_whole, room_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from umlctl.state.records import DeviceEntry, Record
    from umlctl.state.snapshots import Snapshot

MAX_PAUSE_SECONDS: Final = 600.0
"""How long a guest may be stopped for a snapshot, seconds."""


def layers_of(record: Record) -> list[Layer]:
    """What a guest writes to.

    Raises: HostError: it cannot be copied, or there is nothing
    """
    umid = record.definition.umid
    entries = [entry for entry in _disks(record) if not entry.problem]
    written = [entry for entry in entries if entry.holds and entry.holds[0].write]
    found = [_layer(umid, entry) for entry in written if not _is_discarded(entry)]
    if written and not found:
        raise HostError(
            f"what {umid} wrote has ended with it, by `discard`; take a snapshot while it runs"
        )
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


def member_of(
    record: Record, synced: str = "", *, ended: bool = False, frozen: bool = False, note: str = ""
) -> Member:
    """What is written down of a guest.

    synced, ended, frozen, note: as of `Member`
    """
    root = definitions.root_directory(record.definition)
    writes = root and not record.definition.root.endswith(definitions.READONLY_SUFFIX)
    lacks = [f"its root, the directory {root}"] if writes else []
    lacks += [f"{each.name}, which was discarded" for each in _disks(record) if _is_discarded(each)]
    return Member(
        definition=record.definition,
        disks=tuple(Plugged(name=each.name, asked=each.asked) for each in _disks(record)),
        synced=synced,
        lacks=tuple(lacks),
        ended=ended,
        frozen=frozen,
        note=note,
    )


def _is_discarded(entry: DeviceEntry) -> bool:
    """Whether what was written to a disk has ended with its guest."""
    return "discard" in entry.made and not os.path.lexists(entry.made["discard"])


def check_room(layers: list[Layer], place: str) -> None:
    """See that there is room for copies of files, before a guest is stopped for them.

    Raises: HostError
    """
    wanted = 0
    for layer in layers:
        with _explained(f"cannot copy {layer.path}"), opened(layer.path) as source:
            wanted += room_for(source, place)
    free = shutil.disk_usage(place).free
    if wanted > free:
        raise HostError(
            f"the copies take {wanted >> 20} MiB, and {free >> 20} MiB are free; make room at "
            f"{paths.snapshots_dir()}, as by `umlctl snapshot rm`"
        )


def copy_all(layers: list[Layer], place: str, until: float) -> None:
    """Copy files to where a snapshot is made.

    until: when they are to be copied, by the monotonic clock

    Raises: HostError
    """

    def say(_count: int) -> None:
        if time.monotonic() > until:
            raise HostError(
                f"copying its disks takes longer than {MAX_PAUSE_SECONDS:g} seconds; COW files are "
                "smaller"
            )

    for layer in layers:
        with _explained(f"cannot copy {layer.path}"), opened(layer.path) as source:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            target = os.open(f"{place}/{layer.file}", flags, 0o600)
            try:
                copy_whole(source, target, say)
            finally:
                os.close(target)


def finish(place: str, snapshot: Snapshot) -> None:
    """Have one kept that was made.

    Raises: HostError
    """
    with _explained("the snapshot cannot be kept"):
        snapshots.finish(place, snapshot)


def prune(umid: str, keep: int) -> None:
    """Remove the oldest of a guest's snapshots, but for so many.

    Raises: HostError
    """
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
