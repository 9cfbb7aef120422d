from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from umlctl.host.files import is_still_at, punch_hole, remove_tree, write_atomically

if TYPE_CHECKING:
    from pathlib import Path


def test_file_is_written_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(str(path), b"one")
    write_atomically(str(path), b"two", sync=False)
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["file"]


def test_write_that_fails_leaves_the_old_file_and_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomically(str(path), b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left on device: ") as caught:
        write_atomically(str(path), b"new")
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_data_that_the_host_takes_in_pieces_is_written_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:7]))
    write_atomically(f"{tmp_path}/file", b"long " * 100)
    assert (tmp_path / "file").read_bytes() == b"long " * 100


def test_anything_is_removed_whatever_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "house" / "room").mkdir(parents=True)
    (tmp_path / "link").symlink_to("house")
    for name in ("file", "fifo", "link", "house", "none"):
        remove_tree(f"{tmp_path}/{name}")
    assert os.listdir(tmp_path) == []


def test_open_file_has_its_name_until_it_is_removed_or_another_takes_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("w") as file:
        assert is_still_at(file.fileno(), str(path))
        path.unlink()
        assert not is_still_at(file.fileno(), str(path))
        path.touch()
        assert not is_still_at(file.fileno(), str(path))


def test_hole_reads_as_zeros_and_the_file_is_as_long(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 10_000)
    with path.open("r+b") as file:
        punch_hole(file.fileno(), 100, 20_000)
    assert path.read_bytes() == b"x" * 100 + bytes(9_900)
    with path.open("rb") as file, pytest.raises(OSError, match="Bad file descriptor"):
        punch_hole(file.fileno(), 0, 100)


def test_directories_that_nobody_may_write_to_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree, beside = tmp_path / "tree", tmp_path / "beside"
    (tree / "a" / "b").mkdir(parents=True)
    beside.mkdir(0o755)
    (tree / "a" / "link").symlink_to(beside)
    for path in (tree / "a" / "b", tree / "a"):
        path.chmod(0)
    really, modes = shutil.rmtree, []

    def as_a_user(path: str) -> None:
        if os.stat(tree / "a").st_mode & 0o700 != 0o700:
            raise PermissionError(13, "Permission denied")
        modes.append(os.stat(tree / "a" / "b").st_mode & 0o777)
        really(path)

    monkeypatch.setattr(shutil, "rmtree", as_a_user)
    remove_tree(str(tree))
    assert modes == [0o700]
    assert os.listdir(tmp_path) == ["beside"]
    assert beside.stat().st_mode & 0o777 == 0o755
