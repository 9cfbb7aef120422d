from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.state import console_log
from umlctl.state.console_log import BANNER, BOOT, LAUNCH, MOMENT, Index, IndexEntry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BLOCK = 4096


@pytest.fixture
def log(tmp_path: Path) -> str:
    return str(tmp_path / "console.log")


@pytest.fixture
def descriptor(log: str) -> Iterator[int]:
    """The log, open as the kernel has it."""
    opened = os.open(log, os.O_RDWR | os.O_APPEND | os.O_CREAT)
    yield opened
    os.close(opened)


def numbered(first: int, last: int) -> bytes:
    return b"".join(b"%09d\n" % number for number in range(first, last))


# The front


def test_log_within_its_bound_is_left_alone(log: str, descriptor: int) -> None:
    os.write(descriptor, numbered(0, 5000))
    assert console_log.trim(log, bound=40_000) == 0
    assert console_log.start(descriptor) == console_log.first_line(descriptor) == 0


def test_old_lines_are_cut_and_no_other(log: str, descriptor: int) -> None:
    """Under a writer, whose offsets stay what they were."""
    bound = 4 * BLOCK
    for turn in range(40):
        os.write(descriptor, numbered(turn * 500, turn * 500 + 500))
        console_log.trim(log, bound)
        end = os.fstat(descriptor).st_size
        assert end == (turn + 1) * 5000
        begin = console_log.first_line(descriptor)
        kept = b"".join(console_log.read(descriptor, begin, end))
        assert kept == numbered(begin // 10, end // 10)
        assert min(end, bound) - 10 <= len(kept) <= bound * 5 // 4 + BLOCK
    assert os.fstat(descriptor).st_blocks * 512 <= bound * 2


def test_what_is_cut_while_it_is_read_is_left_out(log: str, descriptor: int) -> None:
    os.write(descriptor, b"x" * 3_000_000)
    pieces = console_log.read(descriptor, 0, 3_000_000)
    assert set(next(pieces)) == {ord("x")}
    console_log.trim(log, 10 * BLOCK)
    rest = b"".join(pieces)
    assert set(rest) == {ord("x")}
    assert len(rest) <= 11 * BLOCK


def test_empty_log_begins_at_its_end(descriptor: int) -> None:
    assert console_log.start(descriptor) == console_log.first_line(descriptor) == 0


def test_file_system_without_holes_says_so() -> None:
    with pytest.raises(OSError, match="No such device"):
        console_log.trim("/dev/null", bound=-8192)


@given(st.lists(st.integers(0, 70_000), max_size=6), st.booleans(), st.integers(0, 8))
def test_last_lines_of_a_long_log_are_found(sizes: list[int], ended: bool, lines: int) -> None:
    data = b"\n".join(b"x" * size for size in sizes) + (b"\n" if ended else b"")
    descriptor = os.memfd_create("log")
    try:
        os.write(descriptor, data)
        begin = console_log.last_lines(descriptor, lines)
        middle = len(data) // 2
        assert middle <= console_log.last_lines(descriptor, lines, middle)
        assert console_log.last_lines(descriptor, lines, 0, middle) <= middle
    finally:
        os.close(descriptor)
    assert data[begin:] == b"".join(data.splitlines(keepends=True)[-lines:] if lines else [])


# The index


def test_moments_are_read_as_they_were_noted(log: str) -> None:
    index = Index(log)
    index.add(LAUNCH, 1.5, 0)
    index.add(MOMENT, 2.25, 100)
    index.add(BOOT, 3.0, 4000)
    index.add(MOMENT, 4.0, 5000)
    path = console_log.index_of(log)
    assert console_log.read_index(path)[1] == IndexEntry(MOMENT, 2.25, 100)
    assert console_log.boots(path) == [IndexEntry(LAUNCH, 1.5, 0), IndexEntry(BOOT, 3.0, 4000)]
    for time, offset in ((0.0, 0), (2.0, 0), (2.5, 100), (3.5, 4000), (9.0, 5000)):
        assert console_log.written_since(log, time) == offset


def test_log_without_an_index_has_no_times(log: str) -> None:
    assert console_log.read_index(console_log.index_of(log)) == []
    assert console_log.written_since(log, 5.0) == 0


@given(st.binary(max_size=200))
def test_any_index_can_be_read(data: bytes) -> None:
    descriptor = os.memfd_create("index")
    try:
        os.write(descriptor, b"at 1.000 5\n" + data + b"\nat 2.000 6\n")
        found = console_log.read_index(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
    assert found[0] == IndexEntry(MOMENT, 1.0, 5)
    assert found[-1] == IndexEntry(MOMENT, 2.0, 6)


def test_long_index_loses_moments_and_no_boot(log: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console_log, "INDEX_KEPT_BYTES", 2000)
    index = Index(log)
    for number in range(500):
        index.add(BOOT if number % 100 == 0 else MOMENT, float(number), number * 10)
    path = console_log.index_of(log)
    assert os.path.getsize(path) <= 2100
    assert [entry.offset for entry in console_log.boots(path)] == [0, 1000, 2000, 3000, 4000]
    assert console_log.read_index(path)[-1].offset == 4990


def test_log_that_begins_anew_keeps_the_last(log: str) -> None:
    console_log.begin(log)
    for text in (b"first", b"", b"second"):
        with open(log, "wb") as file:
            file.write(text)
        Index(log).add(LAUNCH, 1.0, 0)
        console_log.begin(log)
    assert not os.path.exists(log)
    with open(log + ".1", "rb") as file:
        assert file.read() == b"second"
    assert console_log.boots(console_log.index_of(log) + ".1") == [IndexEntry(LAUNCH, 1.0, 0)]


def test_boot_is_found_by_its_first_words(log: str, descriptor: int) -> None:
    os.write(descriptor, BANNER + b" 0\nhello\n")
    assert console_log.find_boot(log, os.fstat(descriptor).st_size) == 0
    os.write(descriptor, BANNER + b" 0\nagain\n")
    assert console_log.find_boot(log, os.fstat(descriptor).st_size) == len(BANNER) + 9
    os.write(descriptor, b"x" * 100_000)
    assert console_log.find_boot(log, os.fstat(descriptor).st_size) == os.path.getsize(log)


# An index that is damaged


def test_cut_index_loses_what_the_cut_took(log: str) -> None:
    index = Index(log)
    for number in range(5):
        index.add(MOMENT, 10.0 + number, 100 * number)
    path = console_log.index_of(log)
    with open(path, "rb") as file:
        whole = file.read()
    entries = console_log.read_index(path)
    for length in range(len(whole)):
        with open(path, "wb") as file:
            file.write(whole[:length])
        assert console_log.read_index(path) == entries[: whole[:length].count(b"\n")]


def test_damaged_index_loses_the_line_that_is_hit_and_those_behind_a_hole(log: str) -> None:
    index = Index(log)
    for number in range(5):
        index.add(BOOT, 10.0 + number, 100 * number)
    path = console_log.index_of(log)
    with open(path, "rb") as file:
        whole = file.read()
    entries = console_log.read_index(path)
    for place in range(len(whole)):
        data = whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :]
        with open(path, "wb") as file:
            file.write(data)
        found = console_log.read_index(path)
        hit = whole[:place].count(b"\n")
        assert found[:hit] == entries[:hit]
        assert len(set(entries) - set(found)) <= 2, "a newline that is lost joins two lines"
    with open(path, "wb") as file:
        file.write(whole[:40].ljust(len(whole), b"\0"))
    assert console_log.read_index(path) == entries[: whole[:40].count(b"\n")]


def test_index_after_a_power_cut_goes_on(log: str) -> None:
    """What is added behind NULs is found again."""
    with open(console_log.index_of(log), "wb") as file:
        file.write(b"boot 1.000 0\nat 2.0" + b"\0" * 50)
    index = Index(log)
    index.add(MOMENT, 3.0, 300)
    index.add(MOMENT, 4.0, 400)
    assert console_log.read_index(console_log.index_of(log))[-1] == IndexEntry(MOMENT, 4.0, 400)
