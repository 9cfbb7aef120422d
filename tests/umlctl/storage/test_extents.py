from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.storage import extents

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MB = 1 << 20


@pytest.fixture
def sparse(tmp_path: Path) -> Iterator[int]:
    """A file with a megabyte of data, one of nothing, one of data, and one of nothing."""
    path = tmp_path / "sparse"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    os.ftruncate(descriptor, 4 * MB)
    for start in (0, 2 * MB):
        os.pwrite(descriptor, os.urandom(MB), start)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "target", os.O_RDWR | os.O_CREAT, 0o600)
    yield descriptor
    os.close(descriptor)


def test_holes_are_left_out(sparse: int) -> None:
    assert list(extents.extents(sparse, 0, 4 * MB)) == [(0, MB), (2 * MB, 3 * MB)]
    assert list(extents.extents(sparse, 4096, 2 * MB + 512)) == [(4096, MB), (2 * MB, 2 * MB + 512)]
    assert list(extents.extents(sparse, MB, 2 * MB)) == []
    assert list(extents.extents(sparse, 9 * MB, 10 * MB)) == []


def test_file_without_holes_is_all_data(sparse: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def seek(*_: object) -> int:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "lseek", seek)
    assert list(extents.extents(sparse, 7, 4 * MB)) == [(7, 4 * MB)]


@pytest.mark.parametrize("answer", [None, 0, errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP])
@pytest.mark.parametrize("piece", [extents.BUFFER_BYTES, 1000])
def test_bytes_are_copied_whatever_the_host_can_do(
    sparse: int, target: int, monkeypatch: pytest.MonkeyPatch, answer: int | None, piece: int
) -> None:
    def refuse(*_: object) -> int:
        if answer:
            raise OSError(answer, os.strerror(answer))
        return 0

    if answer is not None:
        monkeypatch.setattr(os, "copy_file_range", refuse)
    real = os.pwrite

    def write(descriptor: int, data: Any, place: int) -> int:
        return real(descriptor, data[:piece], place)

    monkeypatch.setattr(os, "pwrite", write)
    said: list[int] = []
    extents.copy(sparse, 100, MB, target, 5000, said.append)
    assert os.pread(target, 2 * MB, 5000) == os.pread(sparse, MB - 100, 100)
    assert sum(said) == MB - 100


def test_file_that_ends_before_it_was_to_is_an_error(sparse: int, target: int) -> None:
    with pytest.raises(extents.Short, match=f"it ends at byte {4 * MB}, before byte {5 * MB}"):
        extents.copy(sparse, 3 * MB, 5 * MB, target, 0, lambda _count: None)


def test_error_of_the_host_is_passed_on(
    sparse: int, target: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "copy_file_range", full)
    with pytest.raises(OSError, match="No space left"):
        extents.copy(sparse, 0, MB, target, 0, lambda _count: None)


@given(st.integers(0, 40_000), st.integers(1, 40_000), st.booleans())
def test_part_that_is_cleared_reads_as_zeros(start: int, length: int, holes: bool) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    before = os.urandom(100_000)
    descriptor = os.memfd_create("x")
    try:
        os.write(descriptor, before)
        with pytest.MonkeyPatch.context() as patch:
            if not holes:
                patch.setattr(extents, "punch_hole", refuse)
            extents.clear(descriptor, start, start + length)
        found = os.pread(descriptor, 200_000, 0)
    finally:
        os.close(descriptor)
    assert found == before[:start] + bytes(length) + before[start + length :]


def test_what_a_file_takes_is_less_than_it_is_long(sparse: int) -> None:
    assert 2 * MB <= extents.allocated(sparse) < 3 * MB
