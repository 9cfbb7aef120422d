from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from umlctl.devices.ubd import FLAGS, SLOTS, Ubd, make, parse
from umlctl.errors import UsageError

slots = st.integers(0, SLOTS - 1)
flags = st.lists(st.sampled_from(FLAGS), unique=True).map("".join)
names = st.text(max_size=20).filter(lambda name: not set(name) & set(",:\0"))
paths = names.filter(lambda name: name and "\n" not in name and name == name.rstrip())
anything = st.text(st.characters(), max_size=30)


def fields(disk: Ubd) -> tuple[int, str, tuple[str, ...]]:
    return disk.slot, disk.flags, disk.files


@given(slots, flags, names.filter(bool), st.lists(names, max_size=2))
def test_what_is_printed_reads_the_same(
    slot: int, flags: str, first: str, others: list[str]
) -> None:
    assume(any(others) or not others)
    assume(not (others and others[0] and "d" in flags))
    disk = Ubd(slot, flags, (first, *others))
    assert fields(parse(str(disk))) == fields(disk)
    assert parse(str(disk)) == disk


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
        ("ubd1=/a,", "a backing file or ',SERIAL' must follow"),
        ("ubd1=/a,,", "a backing file or ',SERIAL' must follow"),
        ("ubd1d=/a,/b", "flag d is for a file of its own"),
        ("ubd1rr=/a", "flag r is given twice"),
        ("ubd1rsdctrs=/a", "flag r is given twice"),
        ("ubd010=/a", "reads 010 as octal"),
        ("ubd00=/a", "reads 00 as octal"),
        ("ubd0x1=/a", "not 'x'"),
        ("ubd1=/a\0b", "NUL"),
        ("ubd1=/\ud800", "UTF-8"),
        ("ubd1=/" + "a" * 499, "and this needs 512"),
        ("ubd1=/" + "é" * 250, "and this needs 513"),
        ("ubd" + "1" * 6000 + "=/a", "and this needs 6013"),
    ],
)
def test_what_is_no_disk_is_said_to_be_none(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse(text)


@given(anything | anything.map("ubd".__add__) | anything.map("ubd1=".__add__))
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


def test_disk_has_names_for_both_sides() -> None:
    disk = parse("ubdd=/a")
    assert (disk.name, disk.letter, disk.block) == ("ubd3", "d", "ubdd")
    assert parse("ubd15=/a").block == "ubdp"


def test_flags_and_files_have_names() -> None:
    plain = parse("ubd1=/a")
    assert (plain.sync, plain.shared, plain.trim, plain.detect) == (False, False, True, True)
    assert (plain.cow, plain.backing, plain.serial) == ("", "", "")
    flagged = parse("ubd1scdt=/a,,S")
    assert (flagged.sync, flagged.shared) == (True, True)
    assert (flagged.trim, flagged.detect) == (False, False)
    assert (flagged.cow, flagged.backing, flagged.serial) == ("", "", "S")
    pair = parse("ubd1=/a.cow,/a,S")
    assert (pair.cow, pair.backing, pair.serial) == ("/a.cow", "/a", "S")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ubda=/a", "ubd0=/a"),
        ("ubd1rs=/a", "ubd1sr=/a"),
        ("ubd1=/a.cow:/a", "ubd1=/a.cow,/a"),
        ("ubd1=/a.cow,/a,", "ubd1=/a.cow,/a"),
    ],
)
def test_same_disk_is_equal_however_it_is_written(one: str, other: str) -> None:
    assert parse(one) == parse(other)
    assert hash(parse(one)) == hash(parse(other))


@pytest.mark.parametrize(
    "other", ["ubd2=/a,/b", "ubd1r=/a,/b", "ubd1=/a", "ubd1=/b,/a", "ubd1=/a,,/b", "ubd1=/a,/b,S"]
)
def test_another_disk_is_not_equal(other: str) -> None:
    assert parse("ubd1=/a,/b") != parse(other)


def test_disk_is_no_text() -> None:
    assert parse("ubd1=/a") != "ubd1=/a"
    assert repr(parse("ubd1r=/a")) == "Ubd('ubd1r=/a')"


@pytest.mark.parametrize(
    ("device", "text", "same"),
    [
        ("ubd1=/a", "/a", True),
        ("ubd1=/a", "", False),
        ("ubd1=/a", "/b", False),
        ("ubd1=/a", "/a,/b", True),  # a COW file, found to be one
        ("ubd1d=/a", "/a,/b", False),
        ("ubd1r=/a,,serial", "/a", True),
        ("ubd1=/a,/b", "/a,/b", True),
        ("ubd1=/a,/b,serial", "/a,/b", True),
        ("ubd1=/a,/b", "/a", False),
        ("ubd1=/a,/b", "/a,/c", False),  # the header's, kept
        ("ubd1=/a,/b", "/b,/a", False),
    ],
)
def test_answer_of_the_kernel_is_recognised(device: str, text: str, *, same: bool) -> None:
    assert parse(device).answers(text) is same


@given(
    slots,
    paths,
    paths | st.just(""),
    paths | st.just(""),
    st.tuples(*[st.booleans()] * 5),
)
def test_disk_is_made_of_its_parts(
    slot: int, file: str, cow: str, serial: str, given_flags: tuple[bool, ...]
) -> None:
    readonly, sync, shared, trim, detect = given_flags
    assume(detect or not cow)
    disk = make(
        slot,
        file,
        cow=cow,
        readonly=readonly,
        sync=sync,
        shared=shared,
        trim=trim,
        detect=detect,
        serial=serial,
    )
    assert (disk.slot, disk.cow, disk.serial) == (slot, cow, serial)
    assert (disk.backing or disk.files[0]) == file
    assert (not disk.writable, disk.sync, disk.shared, disk.trim, disk.detect) == given_flags
    assert parse(str(disk)) == disk


def test_parts_are_in_the_order_of_the_kernel() -> None:
    assert str(make(0, "/a")) == "ubd0=/a"
    assert str(make(3, "/a", cow="/a.cow", readonly=True, sync=True)) == "ubd3rs=/a.cow,/a"
    assert str(make(3, "/a", shared=True, trim=False, detect=False, serial="S")) == "ubd3dct=/a,,S"
    assert str(make(3, "/a", cow="/c", serial="S")) == "ubd3=/c,/a,S"


@pytest.mark.parametrize(
    ("slot", "file", "cow", "serial", "said"),
    [
        (16, "/a", "", "", "not 16"),
        (-1, "/a", "", "", "not -1"),
        (1, "", "", "", "ubd1 has no file"),
        (1, "", "/a.cow", "", "ubd1 has no file"),
        (1, "/a,b", "", "", "no ',' in the file of a disk: '/a,b'"),
        (1, "/a", "/b:c", "", "no ':' in the COW file of a disk: '/b:c'"),
        (1, "/a", "", "S,1", "no ',' in the serial number of a disk: 'S,1'"),
        (1, "/a\nb", "", "", r"no '\\n' in the file"),
        (1, "/a\0b", "", "", r"no '\\x00' in the file"),
        (1, "/a ", "", "", "the file of a disk ends with a blank: '/a '"),
        (1, "/" + "a" * 504, "", "", "shorter paths"),
    ],
)
def test_parts_that_the_kernel_cannot_take_are_named(
    slot: int, file: str, cow: str, serial: str, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        make(slot, file, cow=cow, serial=serial)


def test_cow_file_is_always_detected() -> None:
    with pytest.raises(UsageError, match="flag d"):
        make(1, "/a", cow="/a.cow", detect=False)
