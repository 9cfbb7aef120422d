"""How much of each disk differs between a snapshot and another, or what the disk is now."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

from umlctl.errors import HostError
from umlctl.storage import differences
from umlctl.storage.cow_file import open_backing, open_cow
from umlctl.storage.extents import extents

if TYPE_CHECKING:
    from collections.abc import Iterator

    from umlctl.state.snapshots import Layer, Snapshot

CHUNK_BYTES: Final = 1 << 20
"""Compared at once, bytes."""


class Difference(NamedTuple):
    """One disk.

    Fields:
        guest, disk: whose it is
        bytes: how many differ; None: that cannot be said
        note: why not; otherwise empty
    """

    guest: str
    disk: str
    bytes: int | None
    note: str = ""


def by_disk(snapshot: Snapshot, other: Snapshot | None) -> Iterator[Difference]:
    """Each disk of a snapshot.

    other: what it is compared with; None: the files that the disks have now
    """
    theirs = {(each.guest, each.disk): each for each in other.layers} if other else {}
    for layer in snapshot.layers:
        second = theirs.get((layer.guest, layer.disk))
        try:
            if other is not None and second is None:
                raise HostError(f"{other.name} has no such disk")
            if other is None and not layer.path:
                raise HostError("it was imported")
            path = other.path_of(second) if other and second else layer.path
            count = _count(snapshot.path_of(layer), path, layer)
        except (HostError, OSError) as problem:
            why = problem.strerror if isinstance(problem, OSError) else str(problem)
            yield Difference(layer.guest, layer.disk, None, why or "")
        else:
            yield Difference(layer.guest, layer.disk, count)


def _count(one: str, other: str, layer: Layer) -> int:
    """Raises: HostError; OSError"""
    if not layer.backing:
        return _plain(one, other)
    with open_cow(one) as left, open_cow(other) as right, open_backing(left) as backing:
        if left.header.backing != right.header.backing or left.size != right.size:
            raise HostError(f"it is over {right.header.backing} now")
        if left.header.mtime != right.header.mtime:
            raise HostError(f"{right.header.backing} was changed since")
        return sum(end - start for start, end in differences.differing(left, right, backing))


def _plain(one: str, other: str) -> int:
    """Of files without a COW file, by what is not a hole in either."""
    left = os.open(one, os.O_RDONLY | os.O_CLOEXEC)
    try:
        right = os.open(other, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            size = max(os.lseek(each, 0, os.SEEK_END) for each in (left, right))
            places = {
                place
                for each in (left, right)
                for start, end in extents(each, 0, size)
                for place in range(start - start % CHUNK_BYTES, end, CHUNK_BYTES)
            }
            return sum(_differ(left, right, place) for place in places)
        finally:
            os.close(right)
    finally:
        os.close(left)


def _differ(left: int, right: int, place: int) -> int:
    """How many bytes of one chunk differ, in whole sectors."""
    first, second = (
        os.pread(each, CHUNK_BYTES, place).ljust(CHUNK_BYTES, b"\0") for each in (left, right)
    )
    if first == second:
        return 0
    return sum(end - start for start, end in differences.sectors(first, second, place))
