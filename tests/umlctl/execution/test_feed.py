from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from umlctl.execution import feed
from umlctl.execution.feed import AHEAD, PIECE_BYTES, Feed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def ends() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    for descriptor in (reader, writer):
        try:
            os.close(descriptor)
        except OSError:
            pass


def test_pieces_are_numbered_and_go_once_they_were_read(
    tmp_path: Path, ends: tuple[int, int]
) -> None:
    source = Feed(str(tmp_path), ends[0])
    os.write(ends[1], b"one")
    assert source.read() == 1
    assert (tmp_path / "1").read_bytes() == b"one"
    assert (tmp_path / "1").stat().st_mode & 0o777 == 0o600
    source.taken(1)
    assert os.listdir(tmp_path) == []
    os.close(ends[1])
    assert source.has_room()
    assert source.read() == 0
    assert not source.is_open
    assert not source.has_room()


def test_only_so_much_is_handed_over_at_once(tmp_path: Path, ends: tuple[int, int]) -> None:
    source = Feed(str(tmp_path), ends[0])
    for number in range(1, AHEAD + 1):
        assert source.has_room()
        os.write(ends[1], b"x")
        assert source.read() == number
    assert not source.has_room()
    source.taken(1)
    assert source.has_room()
    source.taken(99)  # what was not handed over cannot be taken
    source.taken(1)
    assert sorted(os.listdir(tmp_path)) == ["2", "3", "4"]


def test_large_input_comes_in_pieces_of_a_size(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"x" * (PIECE_BYTES + 5))
    place = tmp_path / "place"
    place.mkdir()
    with open(tmp_path / "in", "rb") as file:
        source = Feed(str(place), file.fileno())
        assert [source.read(), source.read(), source.read()] == [1, 2, 0]
    assert [(place / name).stat().st_size for name in "12"] == [PIECE_BYTES, 5]


def test_source_that_does_not_block_is_waited_for(tmp_path: Path, ends: tuple[int, int]) -> None:
    os.set_blocking(ends[0], False)
    os.write(ends[1], b"x")
    source = Feed(str(tmp_path), ends[0])
    assert source.read() == 1
    os.close(ends[1])
    assert source.read() == 0


def test_what_stands_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "steps").write_bytes(b"")
    with pytest.raises(FileExistsError):
        feed.write(str(tmp_path), "steps", b"x")
