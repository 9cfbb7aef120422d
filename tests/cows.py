"""COW files as kernels write them, with what a guest would read of the disk."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from umlctl.storage import cow
from umlctl.storage.cow import SECTOR_BYTES, Header

if TYPE_CHECKING:
    from collections.abc import Iterable

MTIME: Final = 1_700_000_000
KINDS: Final = {
    "1": (1, 4096, False),
    "2": (2, 4096, False),
    "3": (3, 4096, False),
    "3 with sectors": (3, 512, False),
    "broken 3": (3, 4096, True),
    "broken 3 with words": (3, 8, True),
}
"""Version, alignment, and whether it is the broken one."""


@dataclass
class Made:
    """A COW file over a backing file.

    Fields:
        cow, backing: their paths
        disk: what a guest reads
        below: what is in the backing file
    """

    cow: str
    backing: str
    disk: bytes
    below: bytes


def make(
    directory: str,
    sectors: int,
    written: Iterable[int],
    *,
    kind: str = "3",
    discarded: Iterable[int] = (),
    more: int = 0,
    name: str = "a",
    over: str = "",
) -> Made:
    """Make both.

    written: sectors that the guest wrote, where the version has a bit for them
    discarded: those of them that it discarded since
    more: bytes behind the last whole sector of the backing file
    over: a backing file that is there
    """
    version, align, broken = KINDS[kind]
    chance = random.Random(f"{name}{sectors}")
    backing = over or f"{directory}/base.img"
    if not over:
        _write_sparse(backing, chance, sectors * SECTOR_BYTES + more)
        os.utime(backing, (MTIME, MTIME))
    with open(backing, "rb") as file:
        below = file.read()
    header = Header(version, backing, MTIME, len(below), align, broken)
    layout = cow.layout_of(header)
    total = min(cow.sectors(header), 8 * layout.bitmap_length)
    bitmap = bytearray(layout.bitmap_length)
    disk = bytearray(below.ljust(cow.sectors(header) * SECTOR_BYTES, b"\0"))
    final = 0
    path = f"{directory}/{name}.cow"
    with open(path, "wb") as file:
        file.write(cow.encode(header))
        file.truncate(layout.data + len(below))
        for sector in sorted({each for each in written if each < total}):
            bitmap[sector // 8] |= 1 << sector % 8
            data = bytes(SECTOR_BYTES) if sector in discarded else chance.randbytes(SECTOR_BYTES)
            if sector not in discarded:
                file.seek(layout.data + sector * SECTOR_BYTES)
                file.write(data)
            disk[sector * SECTOR_BYTES : (sector + 1) * SECTOR_BYTES] = data
            final = (sector + 1) * SECTOR_BYTES
        file.seek(layout.bitmap)
        file.write(bitmap)
    return Made(path, backing, bytes(disk[: max(final, len(below))]), below)


def _write_sparse(path: str, chance: random.Random, size: int) -> None:
    """A file with data and holes."""
    with open(path, "wb") as file:
        file.truncate(size)
        for start in range(0, size, 4 * 4096):
            if chance.random() < 0.6:
                file.seek(start)
                file.write(chance.randbytes(min(4096 * chance.randint(1, 4), size - start)))


def read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
