from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from umlctl.errors import HostError
from umlctl.storage import ext4
from umlctl.storage.image_tree import of_directory

if TYPE_CHECKING:
    from pathlib import Path

MB = 1 << 20


def make(tree: Path, path: Path, size: int = 8 * MB) -> bytes:
    with path.open("x+b") as file:
        file.truncate(size)
        nodes = [each._replace(uid=5, mtime=77) for each in of_directory(str(tree), 100)]
        ext4.make(file.fileno(), str(tree), nodes, "test", 100)
    return path.read_bytes()


def tree(path: Path, *names: str) -> Path:
    path.mkdir()
    for name in names:
        (path / name).write_text(name * 100)
        (path / name).chmod(0o640)
    return path


def test_same_tree_makes_the_same_bytes(tmp_path: Path) -> None:
    names = ["x", "y", "a b", "dev\\x2dx.service", "'$#"]
    one = make(tree(tmp_path / "a", *names), tmp_path / "a.img")
    assert make(tree(tmp_path / "b", *reversed(names)), tmp_path / "b.img") == one
    assert os.stat(tmp_path / "a.img").st_blocks * 512 < 8 * MB
    listed = subprocess.run(
        [shutil.which("debugfs") or "/sbin/debugfs", "-R", "stat /x", tmp_path / "a.img"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "Mode:  0640" in listed
    assert "User:     5" in listed
    assert " mtime: 0x0000004d" in listed


def test_files_can_be_read(tmp_path: Path) -> None:
    make(tree(tmp_path / "a", "x"), tmp_path / "a.img")
    assert ext4.contents(f"{tmp_path}/a.img", "/x") == b"x" * 100
    assert ext4.contents(f"{tmp_path}/a.img", "/y") is None
    assert ext4.exists(f"{tmp_path}/a.img", "/x")
    assert not ext4.exists(f"{tmp_path}/a.img", "/y")


def test_size_changes_both_ways_as_far_as_there_is_room(tmp_path: Path) -> None:
    source = tree(tmp_path / "a", "x")
    (source / "big").write_bytes(os.urandom(3 * MB))
    make(source, tmp_path / "a.img")
    with (tmp_path / "a.img").open("r+b") as file:
        for size in (32 * MB, 16 * MB):
            ext4.resize(file.fileno(), size)
            assert os.fstat(file.fileno()).st_size == size
        with pytest.raises(HostError, match="smaller than minimum"):
            ext4.resize(file.fileno(), MB)
    assert ext4.contents(f"{tmp_path}/a.img", "/big") == (source / "big").read_bytes()


def test_what_does_not_fit_and_what_is_none_are_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tree(tmp_path / "a", "x")
    (source / "big").write_bytes(os.urandom(9 * MB))
    with pytest.raises(HostError, match="mke2fs"):
        make(source, tmp_path / "a.img")
    (tmp_path / "none").write_bytes(b"none" * 4096)
    with (tmp_path / "none").open("r+b") as file, pytest.raises(HostError, match="e2fsck"):
        ext4.resize(file.fileno(), 32 * MB)
    monkeypatch.setattr(shutil, "which", lambda _name, *_others, **_more: None)
    with pytest.raises(HostError, match="apt install e2fsprogs"):
        ext4.exists("/x", "/y")


def test_program_that_cannot_be_executed_is_said_to_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin/mke2fs"
    program.parent.mkdir()
    program.write_bytes(b"no program at all")
    program.chmod(0)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    monkeypatch.setattr(ext4, "MORE_PLACES", "")
    source = tree(tmp_path / "a", "x")
    with pytest.raises(ext4.NoProgram, match=f"^{program} cannot be executed: its mode forbids it"):
        make(source, tmp_path / "a.img")
    program.chmod(0o755)
    with pytest.raises(ext4.NoProgram, match=f"^{program} cannot be executed: Exec format error"):
        make(source, tmp_path / "b.img")


def test_file_is_replaced_with_its_owner_and_mode(tmp_path: Path) -> None:
    make(tree(tmp_path / "a", "x", "y z"), tmp_path / "a.img")
    path = f"{tmp_path}/a.img"
    with open(path, "r+b") as file:
        ext4.replace(file.fileno(), "/y z", b"new")
        with pytest.raises(HostError, match="there is no file /none in it"):
            ext4.replace(file.fileno(), "/none", b"")
    assert ext4.contents(path, "/y z") == b"new"
    assert ext4.status(path, "/y z") == (0o640, 5, 0)
    assert ext4.names(path, "/") == ["lost+found", "x", "y z"]
    assert ext4.names(path, "/none") == []
    found = ext4.usage(path)
    assert found is not None
    assert sum(found) == 8 * MB


def test_what_is_used_is_not_known_of_a_mounted_one(tmp_path: Path) -> None:
    make(tree(tmp_path / "a", "x"), tmp_path / "a.img", 16 * MB)
    path = f"{tmp_path}/a.img"
    words = [ext4.find_program("debugfs"), "-w", "-R", "feature has_journal needs_recovery", path]
    subprocess.run(words, check=True, capture_output=True)
    assert ext4.usage(path) is None
