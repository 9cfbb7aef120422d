from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.guest.readers import counterparts


def test_initial_disk_is_an_argument_of_the_kernel() -> None:
    assert counterparts.initrd("/i") == ("initrd", "/i")


@pytest.mark.parametrize(("first", "count", "cpus"), [(0, 1, "0"), (0, 2, "0-1"), (3, 4, "3-6")])
def test_map_of_processors_is_a_list(first: int, count: int, cpus: str) -> None:
    assert counterparts.cpu_map(first, count) == cpus


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("0", "0"),
        ("0-3,5,^1", "0,2-3,5"),
        ("^1,0-3", "0,2-3"),
        ("2, 3", "2-3"),
        ("all", ""),
        ("all,^7", None),
        ("nodes:0", None),
        ("", None),
        ("3-1", None),
        ("0,^0", None),
        ("99999", None),
        ("4096", None),
        ("²", None),
    ],
)
def test_list_of_processors_has_those_that_are_named(text: str, cpus: str | None) -> None:
    assert counterparts.cpu_list(text) == cpus


@given(st.sets(st.integers(0, 200), min_size=1))
def test_ranges_have_what_they_were_made_of(numbers: set[int]) -> None:
    text = counterparts.ranges(numbers)
    assert counterparts.cpu_list(text) == text
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    assert found == numbers


@given(st.text("0123456789,-^al "))
def test_any_list_is_read_or_none(text: str) -> None:
    counterparts.cpu_list(text)
