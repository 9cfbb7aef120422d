from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from umlctl.errors import HostError
from umlctl.storage.image_tree import LATEST_SECONDS, ImageTree, Node, bounded, of_directory

if TYPE_CHECKING:
    from pathlib import Path


def test_tree_is_listed_in_order_with_bounded_times(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc" / "b").write_text("x")
    (tree / "a").symlink_to("etc/b")
    os.utime(tree / "etc" / "b", (5, 5))
    nodes = of_directory(str(tree), 1000)
    assert [each.path for each in nodes] == ["/", "/a", "/etc", "/etc/b"]
    found = {each.path: each for each in nodes}
    assert (found["/etc/b"].mtime, found["/etc"].mtime) == (5, 1000)
    assert stat.S_ISLNK(found["/a"].mode)
    assert (found["/etc/b"].uid, found["/etc/b"].gid) == (0, 0)


@pytest.mark.parametrize("name", ['a"b', "a\nb", "\x1b[2J"])
def test_name_that_debugfs_would_misread_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("x")
    with pytest.raises(HostError, match="that debugfs does not take"):
        of_directory(str(tmp_path), None)


def test_what_is_put_in_goes_where_the_guest_has_it(tmp_path: Path) -> None:
    directory = tmp_path / "tree"
    (directory / "usr" / "lib").mkdir(parents=True)
    (directory / "lib").symlink_to("/usr/lib")
    (directory / "old").write_text("old")
    os.link(directory / "old", directory / "other")
    tree = ImageTree(str(directory), of_directory(str(directory), 5), 9)
    tree.put("/lib/a/x", b"new", 0o444)
    tree.put("/old", b"new")
    tree.link("/lib/y", "x")
    tree.link("/lib/y", "a/x")
    tree.make_directory("/home/me", 0o700, 1000)
    tree.make_directory("/usr", 0o700)
    tree.put("/home/me/k", b"")
    tree.give("/home/me/k", 1000)
    tree.remove("/none")
    found = {each.path: each for each in tree.nodes}
    assert list(found) == sorted(found)
    assert found["/usr/lib/a/x"] == Node("/usr/lib/a/x", stat.S_IFREG | 0o444, 0, 0, 9)
    assert found["/home/me"] == Node("/home/me", stat.S_IFDIR | 0o700, 1000, 1000, 9)
    assert found["/home/me/k"].uid == 1000
    assert stat.S_IMODE(found["/usr"].mode) != 0o700
    assert (directory / "other").read_text() == "old"
    assert tree.read("/lib/y") == b"new"
    assert tree.read("/lib/none") == tree.read("/lib") == b""
    assert tree.exists("/lib/a")
    assert not tree.exists("/lib/b")
    tree.remove("/lib/y")
    assert not tree.exists("/usr/lib/y")


def test_what_is_put_over_a_file_keeps_its_owner_and_mode(tmp_path: Path) -> None:
    (tmp_path / "shadow").write_text("")
    tree = ImageTree(str(tmp_path), [Node("/shadow", stat.S_IFREG | 0o640, 0, 42, 1)], 9)
    tree.put("/shadow", b"x", 0o644)
    assert tree.nodes == [Node("/shadow", stat.S_IFREG | 0o640, 0, 42, 9)]


def test_directory_of_this_host_is_copied_in_as_roots(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "m.ko").write_text("m")
    (tmp_path / "tree").mkdir()
    tree = ImageTree(f"{tmp_path}/tree", of_directory(f"{tmp_path}/tree", 1), 9)
    tree.copy_in(str(source), "/lib/modules/6")
    found = {each.path: each for each in tree.nodes}
    assert (found["/lib/modules/6/sub/m.ko"].uid, found["/lib/modules/6/sub"].mtime) == (0, 9)
    assert tree.read("/lib/modules/6/sub/m.ko") == b"m"
    tree.copy_in(str(source), "/lib/modules/6")


@pytest.mark.parametrize("path", ["/loop", "/loop/x", "/a\0b"])
def test_path_that_leads_nowhere_is_refused(tmp_path: Path, path: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    tree = ImageTree(str(tmp_path), [], 1)
    assert not tree.exists(path)
    with pytest.raises(HostError, match="is no place in the tree"):
        tree.put(path, b"x")


@pytest.mark.parametrize(
    ("mtime", "epoch", "moment"),
    [
        (float("inf"), None, 0),
        (float("nan"), 5, 0),
        (-3.5, None, 0),
        (2.0**50, None, LATEST_SECONDS),
        (9, 5, 5),
    ],
)
def test_time_is_one_that_ext4_has(mtime: float, epoch: int | None, moment: int) -> None:
    assert bounded(mtime, epoch) == moment
