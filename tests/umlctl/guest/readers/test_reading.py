from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.errors import UsageError
from umlctl.guest.readers.reading import (
    MAX_ITEMS,
    MAX_SHOWN,
    Left,
    Reading,
    disk_text,
    kernel_words,
    shown,
)
from umlctl.guest.specs import Disk, Nic


def test_of_a_key_with_one_value_the_last_one_counts() -> None:
    reading = Reading("/b")
    reading.carry("mem", "1M", "f:1", "memory = 1")
    reading.carry("append", "a", "f:2", "a")
    reading.carry("append", "b", "f:2", "b")
    reading.carry("mem", "2M", "f:3", "memory = 2")
    assert [(each.key, each.value) for each in reading.items] == [
        *(("append", "a"), ("append", "b"), ("mem", "2M"))
    ]
    assert str(reading.left[0]) == (
        "f:1: memory = 1: not carried over: it is given again later, and that counts"
    )


def test_what_is_left_is_said_on_one_line() -> None:
    assert str(Left("f:1", "a", "why", "b", changed=True)) == "f:1: a: not the same here: why; b"
    assert str(Left("f\x1b", "", "why\n")) == "f\\x1b: not carried over: why\\n"


def test_more_than_a_guest_can_have_is_an_error() -> None:
    reading = Reading("/b")
    for _ in range(MAX_ITEMS):
        reading.carry("append", "a", "f:1", "a")
    with pytest.raises(UsageError, match="is it the right file"):
        reading.carry("append", "a", "f:2", "a")
    reading = Reading("/b")
    for _ in range(MAX_ITEMS):
        reading.leave("f:1", "a", "b")
    with pytest.raises(UsageError, match="f:9: a: more than"):
        reading.leave("f:9", "a", "b")


def test_path_is_taken_from_the_base() -> None:
    assert Reading("/b").path("../a") == "/a"
    assert Reading("/b").path("/c") == "/c"
    assert Reading("").path("c") == "/c"


@pytest.mark.parametrize("file", ["/a,discard", "/a:b", "/a\n", "/a ", "rel"])
def test_disk_that_would_be_another_is_left(file: str) -> None:
    reading = Reading("/b")
    reading.carry_disk(Disk(file=file), "f:1", "given", is_root=False)
    assert reading.items == []
    assert len(reading.left) == 1


def test_disk_is_the_root_or_beside_it() -> None:
    reading = Reading("/b")
    reading.carry_disk(Disk(file="/a", readonly=True), "f:1", "given", is_root=True)
    reading.carry_disk(Disk(file="/c", slot=3), "f:1", "given", is_root=False)
    assert [(each.key, each.value) for each in reading.items] == [
        *(("root", "/a,ro"), ("disk", "/c,slot=3"))
    ]
    assert disk_text(Disk(file="/a")) == "/a"


@pytest.mark.parametrize(
    "nic",
    [
        Nic(kind="tap", name="auto", bridge="b,host=10.0.0.1/8"),
        Nic(kind="tap", name="auto", mac="ff:ff:ff:ff:ff:ff"),
        Nic(kind="switch", name=""),
        Nic(kind="user", addr="here"),
    ],
)
def test_nic_that_would_be_another_is_left(nic: Nic) -> None:
    reading = Reading("/b")
    reading.carry_nic(nic, "f:1", "given")
    assert reading.items == []
    assert "it cannot be a NIC" in reading.left[0].why


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", []),
        (" a  b ", ["a", "b"]),
        ('a="b c" d', ['a="b c"', "d"]),
        ('"a b', ['"a b']),
        ("a\tb\n", ["a", "b"]),
    ],
)
def test_line_is_split_as_the_kernel_splits_it(line: str, words: list[str]) -> None:
    assert kernel_words(line) == words


@given(st.text())
def test_words_lose_nothing_but_blanks(line: str) -> None:
    def bare(text: str) -> str:
        return "".join(text.split())

    assert bare("".join(kernel_words(line))) == bare(line)


@given(st.text(st.characters(codec=None)))
def test_what_is_shown_is_one_plain_line(text: str) -> None:
    assert shown(text).isprintable()
    assert len(shown(text)) <= MAX_SHOWN + 3
