"""A COW file of a gigabyte is merged: against copying as much, and against uml_moo."""

from __future__ import annotations

import os
import random
import shutil
from typing import TYPE_CHECKING, Final

from bench.house import BenchError
from bench.measures import ratio

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.house import House
    from bench.measures import Counts, Row

SIZE: Final = 1 << 30
EXTENT: Final = 64 << 10
"""What a guest wrote in one piece, bytes: a tenth of the disk in all."""
SAME: Final = """
import os, sys
source = os.open(sys.argv[1], os.O_RDONLY)
target = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_EXCL)
done = 0
while copied := os.copy_file_range(source, target, 16 << 20, done, done):
    done += copied
os.fsync(target)
"""


def merges(house: House, counts: Counts) -> Iterator[Row]:
    """Whole processes; what the copy and we made is safe on the disk, what uml_moo made is not."""
    peer = shutil.which("uml_moo")
    if peer is None:
        raise BenchError("there is no uml_moo; it is in uml-utilities")
    base, cow, image = (str(house.top / name) for name in ("base.img", "a.cow", "image"))
    fill(house, base, cow)
    commands = {
        "copy": [house.python, "-I", "-c", SAME, base, image],
        "ours": [house.umlctl, "cow", "merge", cow, image],
        "theirs": [peer, cow, image],
    }
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(counts.transfers):
        for name, command in commands.items():
            taken[name].append(house.seconds(command))
            os.unlink(image)
    yield ratio("umlctl cow merge : copying as much", taken["ours"], taken["copy"], most=1.2)
    yield ratio("uml_moo : umlctl cow merge", taken["ours"], taken["theirs"], least=14)
    for path in (base, cow):
        os.unlink(path)


def fill(house: House, base: str, cow: str) -> None:
    """Make a disk of a gigabyte, and a COW file over it with a tenth of that."""
    _write(base)
    house.seconds([house.umlctl, "cow", "create", cow, base])
    _dirty(cow)


def _write(path: str) -> None:
    piece = random.Random(1).randbytes(1 << 20)
    with open(path, "wb") as file:
        file.writelines(piece for _ in range(SIZE >> 20))
        os.fsync(file.fileno())


def _dirty(path: str) -> None:
    """Have a tenth of the disk in the COW file, by its bitmap and its data."""
    chance = random.Random(2)
    bitmap, data = 8192, os.path.getsize(path) - SIZE
    each = EXTENT // 512 // 8
    with open(path, "r+b") as file:
        for extent in chance.sample(range(SIZE // EXTENT), SIZE // EXTENT // 10):
            os.pwrite(file.fileno(), b"\xff" * each, bitmap + extent * each)
            os.pwrite(file.fileno(), chance.randbytes(EXTENT), data + extent * EXTENT)
        os.fsync(file.fileno())
