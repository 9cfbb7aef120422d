from __future__ import annotations

import tempfile
from itertools import pairwise
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.cows import make
from umlctl.storage.cow_file import open_backing, open_cow
from umlctl.storage.differences import differing

if TYPE_CHECKING:
    from pathlib import Path

SECTORS = st.lists(st.integers(0, 49), max_size=30)


def differences(one: bytes, other: bytes) -> set[int]:
    return {
        place
        for place in range(0, max(len(one), len(other)), 512)
        if one[place : place + 512].ljust(512, b"\0")
        != other[place : place + 512].ljust(512, b"\0")
    }


def as_set(found: list[tuple[int, int]]) -> set[int]:
    assert all(one[1] < other[0] for one, other in pairwise(found))
    return {place for start, end in found for place in range(start, end, 512)}


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(SECTORS, SECTORS, SECTORS, st.integers(0, 511))
def test_what_differs_is_found_in_sectors(
    written: list[int], discarded: list[int], other: list[int], more: int
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        one = make(directory, 50, written, discarded=discarded, more=more)
        two = make(directory, 50, other, more=more, name="b", over=one.backing)
        with open_cow(one.cow) as of, open_cow(two.cow) as second, open_backing(of) as backing:
            assert as_set(list(differing(of, None, backing))) == differences(one.disk, one.below)
            found = as_set(list(differing(of, second, backing)))
            assert found == differences(one.disk, two.disk)
            assert found == as_set(list(differing(second, of, backing)))
            assert not list(differing(of, of, backing))


def test_sector_that_was_written_as_it_was_does_not_differ(tmp_path: Path) -> None:
    made = make(str(tmp_path), 8, [1, 2])
    with open_cow(made.cow, write=True) as of, open_backing(of) as backing:
        with open(made.cow, "r+b") as file:
            file.seek(of.layout.data + 512)
            file.write(made.below[512:1024])
        assert list(differing(of, None, backing)) == [(1024, 1536)]
