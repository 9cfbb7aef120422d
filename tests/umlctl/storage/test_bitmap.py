from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from umlctl.storage import bitmap

BITMAPS = st.lists(st.sampled_from([0, 0, 0xFF, 0xFF, 1, 0x80, 0x81, 0x7E, 0xA5]), max_size=40)


def bits(data: bytes) -> list[int]:
    return [
        8 * index + bit for index, value in enumerate(data) for bit in range(8) if value >> bit & 1
    ]


@given(BITMAPS.map(bytes), st.integers(0, 40))
def test_runs_are_the_bits_that_are_set(data: bytes, cut: int) -> None:
    cut = min(cut, len(data))
    found = list(bitmap.runs([(0, data[:cut]), (8 * cut, data[cut:])]))
    assert [bit for start, end in found for bit in range(start, end)] == bits(data)
    assert all(one[1] < other[0] for one, other in pairwise(found)), "none could be longer"


@given(BITMAPS.map(bytes))
def test_bits_are_counted_and_the_last_is_found(data: bytes) -> None:
    assert bitmap.count(data) == len(bits(data))
    assert bitmap.last(data) == max(bits(data), default=-1)


def test_what_lies_between_pieces_is_not_set() -> None:
    assert list(bitmap.runs([(0, b"\xff"), (16, b"\x01")])) == [(0, 8), (16, 17)]
    assert list(bitmap.runs([])) == []


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 9)), max_size=12))
def test_runs_that_touch_are_one(pairs: list[tuple[int, int]]) -> None:
    runs = sorted((start, start + length) for start, length in pairs)
    found = list(bitmap.joined(runs))
    inside = {place for start, end in runs for place in range(start, end)}
    assert {place for start, end in found for place in range(start, end)} == inside
    assert all(one[1] < other[0] for one, other in pairwise(found))
