from __future__ import annotations

import errno
import fcntl
import os
from typing import TYPE_CHECKING

import pytest

from tests.cows import read
from umlctl.storage import file_copy

if TYPE_CHECKING:
    from pathlib import Path

MB = 1 << 20


def copy(source: str, target: str) -> int:
    said = 0

    def say(count: int) -> None:
        nonlocal said
        said += count

    with open(source, "rb") as left, open(target, "x+b") as right:
        file_copy.copy_whole(left.fileno(), right.fileno(), say)
    return said


def test_copy_is_the_same_with_its_holes(tmp_path: Path) -> None:
    source = tmp_path / "a"
    with source.open("xb") as file:
        file.truncate(64 * MB)
        for place in (0, 5 * MB + 17, 63 * MB):
            file.seek(place)
            file.write(os.urandom(5000))
    copy(str(source), f"{tmp_path}/b")
    assert read(f"{tmp_path}/b") == read(str(source))
    assert os.stat(f"{tmp_path}/b").st_blocks * 512 < MB


def test_blocks_are_shared_where_the_file_system_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100)
    asked: list[int] = []
    monkeypatch.setattr(fcntl, "ioctl", lambda _file, number, _source: asked.append(number))
    assert copy(f"{tmp_path}/a", f"{tmp_path}/b") == 0
    assert asked == [file_copy.FICLONE]


def test_full_disk_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "a").write_bytes(b"x" * 100)
    monkeypatch.setattr(fcntl, "ioctl", full)
    with pytest.raises(OSError, match="No space left"):
        copy(f"{tmp_path}/a", f"{tmp_path}/b")


def test_room_is_for_what_is_in_the_file_unless_blocks_are_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(*_: object) -> int:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    with (tmp_path / "a").open("x+b") as file:
        file.write(os.urandom(MB))
        file.truncate(64 * MB)
        file.flush()
        os.fsync(file.fileno())
        with monkeypatch.context() as patch:
            patch.setattr(fcntl, "ioctl", cannot)
            assert MB <= file_copy.room_for(file.fileno(), str(tmp_path)) < 2 * MB
        monkeypatch.setattr(fcntl, "ioctl", lambda *_: 0)
        assert file_copy.room_for(file.fileno(), str(tmp_path)) == 0
    assert os.listdir(tmp_path) == ["a"]
