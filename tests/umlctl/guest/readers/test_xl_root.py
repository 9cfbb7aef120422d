from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.guest.readers.reading import Reading
from umlctl.guest.readers.xl_disk import XenDisk
from umlctl.guest.readers.xl_root import Disks

NAMES = ["xvda", "sda1", "xbd2"]


def disks() -> Disks:
    found = Disks(Reading("/"))
    for name in NAMES:
        found.found.append((XenDisk(f"/{name}", name, readonly=False), "f:1", name))
    return found


def carried(found: Disks) -> list[tuple[str, Any]]:
    return [(item.key, item.value) for item in found.result.items]


@pytest.mark.parametrize(
    ("root", "index", "words"),
    [
        ("/dev/xvda", 0, []),
        ("/dev/xvda3 ro x=1", 0, ["ro", "x=1", "root=/dev/ubda3"]),
        ("/dev/sda1", 1, []),
        ("xbd2", 2, []),
        ("xbd0", 0, []),
        ("xbd1a", 1, []),
        ("ubd2", 2, []),
        ("ubdb", 1, []),
        ("/dev/sdb", 0, []),
        ("xbd9", 0, []),
        ("", 0, []),
    ],
)
def test_root_is_the_disk_that_is_named(root: str, index: int, words: list[str]) -> None:
    found = disks()
    found.choose(root, "f:2", "root")
    assert found.boots == index
    assert [value for _, value in carried(found)] == words
    assert bool(found.result.left) == (root in ("/dev/sdb", "xbd9", "xbd1a"))


def test_root_is_carried_over_as_the_root() -> None:
    found = disks()
    found.choose("sda1", "f:2", "root")
    found.carry()
    assert carried(found) == [("disk", "/xvda"), ("root", "/sda1"), ("disk", "/xbd2")]


@pytest.mark.parametrize(
    ("chosen", "word", "carried_word"),
    [
        ("", "root=/dev/xvda", None),
        ("", "root=/dev/xvda1", "root=/dev/ubda1"),
        ("", "root=/dev/sda1", "root=/dev/ubdb"),
        ("sda1", "root=/dev/xvda", "root=/dev/ubdb"),
        ("sda1", "root=xbd2", "root=/dev/ubdc"),
        ("", "root=LABEL=x", "root=LABEL=x"),
    ],
)
def test_argument_of_the_kernel_names_the_disk_as_it_is_here(
    chosen: str, word: str, carried_word: str | None
) -> None:
    found = disks()
    found.choose(chosen, "f:2", "root")
    found.name_root(word, "f:3", word)
    assert carried(found) == ([("append", carried_word)] if carried_word else [])


@given(st.text(), st.text())
def test_any_name_is_a_disk_or_none(root: str, word: str) -> None:
    found = disks()
    found.choose(root, "f:2", "root")
    found.name_root(word, "f:3", word)
    assert found.boots in range(len(NAMES))
