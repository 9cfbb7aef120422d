"""Where two disks differ that have one backing file, or a disk and its backing file."""

from __future__ import annotations

import heapq
import os
from typing import TYPE_CHECKING, Final

from umlctl.storage.bitmap import joined
from umlctl.storage.cow import SECTOR_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from umlctl.storage.cow_file import CowFile

    Run = tuple[int, int]

CHUNK_BYTES: Final = 1 << 20
"""Compared at once, bytes."""


def differing(one: CowFile, other: CowFile | None, backing: int) -> Iterator[Run]:
    """The parts that differ, in whole sectors: first byte, and the one behind the last.

    other: another COW file over the backing file; None: the backing file itself

    Raises: OSError
    """
    runs = other.runs() if other is not None else ()
    return joined(_differing(one, other, backing, runs))


def _differing(
    one: CowFile, other: CowFile | None, backing: int, runs: Iterable[Run]
) -> Iterator[Run]:
    for start, end, in_one, in_other in _swept(one.runs(), runs):
        for place in range(start, end, CHUNK_BYTES):
            length = min(CHUNK_BYTES, end - place)
            left = _read(one if in_one else None, backing, place, length)
            right = _read(other if in_other else None, backing, place, length)
            if left != right:
                yield from sectors(left, right, place)


def _swept(one: Iterable[Run], other: Iterable[Run]) -> Iterator[tuple[int, int, bool, bool]]:
    """The parts that are in either, each with whether it is in the one and in the other."""
    inside = [False, False]
    begin = 0
    for place, which, enters in heapq.merge(_edges(0, one), _edges(1, other)):
        if place > begin and any(inside):
            yield begin, place, inside[0], inside[1]
        begin = place
        inside[which] = enters


def _edges(which: int, runs: Iterable[Run]) -> Iterator[tuple[int, int, bool]]:
    for start, end in runs:
        yield start, which, True
        yield end, which, False


def _read(of: CowFile | None, backing: int, place: int, length: int) -> bytes:
    if of is not None:
        return of.read(place, length)
    return os.pread(backing, length, place).ljust(length, b"\0")


def sectors(left: bytes, right: bytes, base: int) -> Iterator[Run]:
    """The sectors that differ of two pieces of a disk of one length, which begin at a place."""
    for place in range(0, len(left), SECTOR_BYTES):
        if left[place : place + SECTOR_BYTES] != right[place : place + SECTOR_BYTES]:
            yield base + place, base + place + SECTOR_BYTES
