"""Kernels that are kept by name."""

from __future__ import annotations

import fcntl
import json
import os
from typing import TYPE_CHECKING

import pytest

from umlctl.errors import HostError, UsageError
from umlctl.kernels import registered, registry
from umlctl.kernels.find import ProbedKernel

if TYPE_CHECKING:
    from collections.abc import Container
    from pathlib import Path

RELEASE = "6.1.176"


class Tree:
    """A kernel with modules that were installed beside it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.modules = path / "lib" / "modules" / RELEASE
        (self.modules / "kernel").mkdir(parents=True)
        (self.modules / "kernel" / "a.ko").write_text("module a")
        (self.modules / "modules.dep").write_text("kernel/a.ko:\n")
        (self.modules / "build").symlink_to(path)
        (self.modules / "kernel" / "gone.ko").symlink_to("/no/such/module")
        self.build("one")

    def build(self, text: str) -> ProbedKernel:
        (self.path / "linux").write_text(text)
        return ProbedKernel(str(self.path / "linux"), RELEASE, frozenset(), {})

    def add(self, text: str, name: str = "mine", in_use: Container[str] = ()) -> str:
        return registry.add(self.build(text), name, in_use, lambda _: None).path


@pytest.fixture
def tree(house: str, tmp_path: Path) -> Tree:
    return Tree(tmp_path / "tree")


def read(path: str) -> str:
    with open(path) as file:
        return file.read()


def test_copy_has_the_modules_and_stays_when_the_tree_is_built_again(tree: Tree) -> None:
    path = tree.add("one")
    tree.build("two")
    (tree.modules / "kernel" / "a.ko").write_text("other")
    above = os.path.dirname(path)
    assert read(path) == "one"
    assert os.stat(path).st_mode & 0o777 == 0o755
    assert read(f"{above}/lib/modules/{RELEASE}/kernel/a.ko") == "module a"
    assert sorted(os.listdir(f"{above}/lib/modules/{RELEASE}")) == ["kernel", "modules.dep"]
    found = registry.load("mine")
    assert (found.origin, found.number, found.before) == (str(tree.path / "linux"), 1, ())
    assert registry.load_all() == [found]


def test_one_before_is_kept_to_roll_back_to(tree: Tree) -> None:
    for text in ("one", "two", "three"):
        tree.add(text)
    assert read(registered.path_of("mine")) == "three"
    assert registry.load("mine").before == (2,)
    assert read(registry.roll_back("mine").path) == "two"
    with pytest.raises(HostError, match="no kernel before the one that mine is now"):
        registry.roll_back("mine")
    tree.add("four")
    assert read(registry.roll_back("mine").path) == "two", "what was rolled back from is gone"


def test_kernel_that_a_guest_has_stays(tree: Tree) -> None:
    first = tree.add("one")
    for text in ("two", "three", "four"):
        tree.add(text, in_use={first})
    assert read(first) == "one"
    assert registry.load("mine").before == (1, 3)
    with pytest.raises(HostError, match=r"a guest has the kernel mine, or .* `umlctl rm`"):
        registry.remove("mine", {first})
    assert read(registered.path_of("mine")) == "four"
    registry.remove("mine", ())
    assert registered.names() == []


def test_default_goes_with_its_kernel(tree: Tree) -> None:
    tree.add("one")
    registry.set_default("mine")
    assert registry.load("mine").is_default
    registry.remove("mine", ())
    assert registered.default() == ""
    assert not os.path.lexists(registered.directory(registered.DEFAULT))
    registry.set_default("")


def test_what_is_not_there_is_said_with_what_is(tree: Tree) -> None:
    with pytest.raises(HostError, match="`umlctl kernel add FILE --name NAME` adds one"):
        registry.load("mine")
    tree.add("one", "other")
    for refused in (registry.load, registry.roll_back, registry.set_default):
        with pytest.raises(HostError, match="no kernel is registered as 'mine'; there are other"):
            refused("mine")
    with pytest.raises(UsageError, match=r"no name for a kernel: '\.\./x'"):
        tree.add("one", "../x")


def test_copy_that_fails_leaves_what_was(tree: Tree) -> None:
    tree.add("one")
    broken = tree.build("two")._replace(path=str(tree.path / "none"))
    with pytest.raises(HostError, match="cannot be kept as mine"):
        registry.add(broken, "mine", (), lambda _: None)
    assert read(registered.path_of("mine")) == "one"
    assert sorted(os.listdir(registered.directory("mine"))) == ["1", "current"]
    with pytest.raises(HostError, match="cannot be kept as new"):
        registry.add(broken, "new", (), lambda _: None)
    assert not os.path.exists(registered.directory("new"))


def test_what_is_no_file_among_the_modules_is_said(tree: Tree) -> None:
    os.mkfifo(tree.modules / "kernel" / "fifo")
    with pytest.raises(HostError, match="it is no file"):
        tree.add("one")
    assert registered.names() == []


def test_what_was_left_half_copied_goes_and_one_changes_at_a_time(tree: Tree) -> None:
    tree.add("one")
    left = f"{registered.directory('mine')}/.new~"
    os.makedirs(f"{left}/lib")
    with open(f"{registered.directory()}/.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(HostError, match="try again"):
            tree.add("two")
    tree.add("two")
    assert not os.path.exists(left)


@pytest.mark.parametrize("said", ["", "[]", "nothing", json.dumps({"added": "x"})])
def test_kernel_whose_origin_cannot_be_read_is_one_all_the_same(tree: Tree, said: str) -> None:
    path = tree.add("one")
    with open(f"{os.path.dirname(path)}/origin.json", "w") as file:
        file.write(said)
    found = registry.load("mine")
    assert (found.path, found.origin) == (path, "")
    assert found.added == os.stat(path).st_mtime


@pytest.mark.parametrize(
    ("version", "name"),
    [
        ("6.1.176", "6.1.176"),
        ("6.19.0-rc1+", "6.19.0-rc1+"),
        ("7.2 x/y", "7.2-x-y"),
        (".", "linux-."),
    ],
)
def test_name_of_a_kernel_is_its_version(version: str, name: str) -> None:
    assert registry.name_for(ProbedKernel("/linux", version, frozenset(), {})) == name
    assert registered.is_name(name)


def test_size_is_of_kernel_and_modules(tree: Tree) -> None:
    assert registry.size_of(tree.build("12345")) == 5 + len("module a") + len("kernel/a.ko:\n")
