from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.devices.ubd import FLAGS, SLOTS, Ubd, parse
from umlctl.errors import UsageError

slots = st.integers(0, SLOTS - 1)
flags = st.text(FLAGS, max_size=5)
names = st.text(max_size=20).filter(lambda name: not set(name) & set(",:"))


def fields(disk: Ubd) -> tuple[int, str, tuple[str, ...]]:
    return disk.slot, disk.flags, disk.files


@given(slots, flags, names.filter(bool), st.lists(names, max_size=2))
def test_what_is_printed_reads_the_same(
    slot: int, flags: str, first: str, others: list[str]
) -> None:
    disk = Ubd(slot, flags, (first, *others))
    assert fields(parse(str(disk))) == fields(disk)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ubd0=/a", (0, "", ("/a",))),
        ("ubd15=/a", (15, "", ("/a",))),
        ("ubda=/a", (0, "", ("/a",))),
        ("ubdp=/a", (15, "", ("/a",))),
        ("ubdc=/a", (2, "", ("/a",))),
        ("ubddd=/a", (3, "d", ("/a",))),
        ("ubd1r=/a", (1, "r", ("/a",))),
        ("ubd2rsdct=/a", (2, "rsdct", ("/a",))),
        ("ubd1=/cow,/back", (1, "", ("/cow", "/back"))),
        ("ubd1=/cow:/back", (1, "", ("/cow", "/back"))),
        ("ubd1=/cow,/back,serial", (1, "", ("/cow", "/back", "serial"))),
        ("ubd1=/a,,serial", (1, "", ("/a", "", "serial"))),
        ("ubd1=with blank", (1, "", ("with blank",))),
        ("ubd1=a=b", (1, "", ("a=b",))),
    ],
)
def test_disk_is_read_as_the_kernel_reads_it(
    text: str, expected: tuple[int, str, tuple[str, ...]]
) -> None:
    assert fields(parse(text)) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "a disk is ubdN"),
        ("ubd1", "a disk is ubdN"),
        ("disk.img", "a disk is ubdN"),
        ("vec0=/a", "a disk is ubdN"),
        ("ubd=/a", "number from 0 to 15"),
        ("ubdq=/a", "number from 0 to 15"),
        ("ubd16=/a", "not 16"),
        ("ubd99999999999=/a", "not 99999999999"),
        ("ubd-1=/a", "number from 0 to 15"),
        ("ubd1x=/a", "not 'x'"),
        ("ubd1R=/a", "not 'R'"),
        ("ubd1 =/a", "not ' '"),
        ("ubd1=", "one file"),
        ("ubd1=,/back", "one file"),
        ("ubd1=/a,/b,c,d", "one file"),
        ("ubd1=/with:colon:in:it", "one file"),
    ],
)
def test_what_is_no_disk_is_said_to_be_none(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse(text)


@given(st.text(max_size=30) | st.text(max_size=30).map("ubd".__add__))
def test_any_text_is_a_disk_or_a_usage_error(text: str) -> None:
    try:
        disk = parse(text)
    except UsageError:
        return
    assert 0 <= disk.slot < SLOTS
    assert set(disk.flags) <= set(FLAGS)
    assert disk.files[0]


def test_paths_are_taken_from_the_directory_given() -> None:
    disk = parse("ubd1=a.cow,../b.img,serial").absolute("/home/me")
    assert disk.files == ("/home/me/a.cow", "/home/b.img", "serial")
    assert parse("ubd1=/a,/b").absolute("/home").files == ("/a", "/b")
    assert parse("ubd1=a,,s").absolute("/").files == ("/a", "", "s")


def test_disk_is_writable_unless_flagged() -> None:
    assert parse("ubd1s=/a").writable
    assert not parse("ubd1sr=/a").writable
