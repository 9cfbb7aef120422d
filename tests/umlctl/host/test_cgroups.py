"""Cgroups, in a tree that looks like the host's: few hosts let tests write to theirs."""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from umlctl.errors import SEE_DOCTOR, HostError
from umlctl.host import cgroups

if TYPE_CHECKING:
    from collections.abc import Callable

FILES = ("cgroup.procs", "memory.max", "memory.oom.group", "memory.swap.max", "cpu.max")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory in which new ones have files, as the host's kernel has them."""
    real_mkdir, real_rmdir = os.mkdir, os.rmdir

    def mkdir(path: str, mode: int = 0o777) -> None:
        real_mkdir(path, mode)
        for name in FILES:
            Path(path, name).touch()

    def rmdir(path: str) -> None:
        if Path(path, "cgroup.procs").exists() and Path(path, "cgroup.procs").read_text():
            raise OSError(16, "Device or resource busy")
        for name in os.listdir(path):
            os.unlink(f"{path}/{name}")
        real_rmdir(path)

    monkeypatch.setattr(os, "mkdir", mkdir)
    monkeypatch.setattr(os, "rmdir", rmdir)
    monkeypatch.setenv("UMLCTL_CGROUP", str(tmp_path))
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    (tmp_path / "cgroup.subtree_control").write_text("memory\n")
    (tmp_path / "cgroup.procs").touch()
    return tmp_path


def test_limits_are_written_and_nothing_stays(tree: Path) -> None:
    made = Path(cgroups.make("demo", memory=64 << 20, cpu=150).directory)
    assert made == tree / "umlctl-demo"
    said = {name: (made / name).read_text() for name in FILES}
    assert said == {
        "cgroup.procs": "",
        "memory.max": f"{64 << 20}\n",
        "memory.oom.group": "1\n",
        "memory.swap.max": "0\n",
        "cpu.max": "150000\n",
    }
    assert (tree / "cgroup.subtree_control").read_text() == "+cpu\n"
    assert cgroups.remove(str(made)) == ""
    assert cgroups.remove(str(made)) == ""
    assert not made.exists()


def test_what_is_not_asked_for_is_not_limited(tree: Path) -> None:
    made = Path(cgroups.make("demo", memory=0, cpu=50).directory)
    assert (made / "memory.max").read_text() == ""
    assert (made / "cpu.max").read_text() == "50000\n"


def test_cgroup_that_was_left_is_made_anew(tree: Path) -> None:
    left = Path(cgroups.make("demo", memory=64 << 20, cpu=0).directory)
    cgroups.make("demo", memory=0, cpu=10)
    assert (left / "memory.max").read_text() == ""


def test_cgroup_in_use_is_an_error_and_stays(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = cgroups.make("demo", memory=64 << 20, cpu=0).directory
    Path(made, "cgroup.procs").write_text("4711\n")
    with pytest.raises(HostError, match=r"demo: cannot make the cgroup .* busy"):
        cgroups.make("demo", memory=64 << 20, cpu=0)
    monkeypatch.setattr(cgroups, "LEAVE_TIMEOUT", 0.02)
    assert "stays: Device or resource busy" in cgroups.remove(made)


def test_limit_that_cannot_be_written_leaves_nothing(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.mkdir

    def mkdir(path: str, mode: int = 0o777) -> None:
        real(path, mode)
        os.unlink(f"{path}/memory.oom.group")

    monkeypatch.setattr(os, "mkdir", mkdir)
    with pytest.raises(HostError, match=r"demo: cannot limit what it uses: .*memory\.oom\.group"):
        cgroups.make("demo", memory=64 << 20, cpu=0)
    assert not (tree / "umlctl-demo").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tree: (tree / "cgroup.controllers").write_text("cpu\n"), "no controller memory;"),
        (lambda tree: (tree / "cgroup.controllers").unlink(), "no controller cpu and memory;"),
        (lambda tree: (tree / "cgroup.procs").unlink(), "is not yours to change;"),
        (lambda tree: (tree / "cgroup.subtree_control").unlink(), "does not pass its controllers"),
    ],
)
def test_host_that_forbids_it_is_an_error_with_a_way_out(
    tree: Path, change: Callable[[Path], object], said: str
) -> None:
    change(tree)
    with pytest.raises(HostError, match=said) as caught:
        cgroups.make("demo", memory=64 << 20, cpu=100)
    assert "UMLCTL_CGROUP" in str(caught.value)
    assert not (tree / "umlctl-demo").exists()


@pytest.mark.parametrize(
    ("uid", "said", "unsaid"),
    [
        (0, "cgroup version 2 has to be mounted", "run umlctl as root"),
        (1000, "run umlctl as root", "cgroup version 2 has to be mounted"),
    ],
)
def test_who_is_root_already_is_told_of_another_way_out(
    tree: Path, monkeypatch: pytest.MonkeyPatch, uid: int, said: str, unsaid: str
) -> None:
    (tree / "cgroup.controllers").write_text("cpu\n")
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    with pytest.raises(HostError) as caught:
        cgroups.make("demo", memory=64 << 20, cpu=100)
    assert said in str(caught.value)
    assert unsaid not in str(caught.value)


def test_looking_changes_nothing(tree: Path) -> None:
    assert cgroups.place({"memory", "cpu"}, look=True) == str(tree)
    assert (tree / "cgroup.subtree_control").read_text() == "memory\n"


def test_host_that_forbids_it_is_said_to(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "by_systemd", lambda _wanted: False)
    assert cgroups.unable() == ""
    (tree / "cgroup.controllers").unlink()
    said = cgroups.unable()
    assert said.startswith("this host does not let you limit what a guest uses: ")
    assert SEE_DOCTOR not in said
    monkeypatch.setattr(cgroups, "by_systemd", lambda _wanted: True)
    assert cgroups.unable() == ""


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host whose systemd takes orders from an ordinary user; their manager's cgroup."""
    own = tmp_path / "cgroup/user.slice/user-4711.slice/user@4711.service"
    own.mkdir(parents=True)
    (own / "cgroup.controllers").write_text("cpu memory pids\n")
    (tmp_path / "run/systemd/private").mkdir(parents=True)
    monkeypatch.delenv("UMLCTL_CGROUP", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setattr(cgroups, "mounted", lambda: str(tmp_path / "cgroup"))
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    return own


def test_systemd_is_asked_for_a_scope_in_which_the_cgroup_is_made(
    systemd: Path, tmp_path: Path
) -> None:
    made = cgroups.make("demo", memory=64 << 20, cpu=150)
    assert made.directory == str(tmp_path / "cgroup")
    assert made.limits == (
        f"memory.max={64 << 20} memory.oom.group=1 memory.swap.max=0 cpu.max=150000"
    )
    assert made.scope[0] == "systemd-run"
    assert {"--scope", "--user", "--property=Delegate=yes"} < set(made.scope)
    assert made.of(os.getpid()).startswith(made.directory)
    assert os.listdir(systemd) == ["cgroup.controllers"]


@pytest.mark.parametrize(
    "change",
    [
        lambda own, _patch: (own / "cgroup.controllers").write_text("pids\n"),
        lambda _own, patch: patch.delenv("XDG_RUNTIME_DIR"),
        lambda _own, patch: patch.setattr(cgroups, "mounted", lambda: ""),
        lambda _own, patch: patch.setattr(shutil, "which", lambda _name: None),
        lambda _own, patch: patch.setenv("UMLCTL_CGROUP", "/sys/fs/cgroup"),
    ],
)
def test_systemd_is_not_asked_for_what_it_cannot_give(
    systemd: Path,
    change: Callable[[Path, pytest.MonkeyPatch], object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = {"memory", "cpu"}
    assert cgroups.by_systemd(wanted)
    change(systemd, monkeypatch)
    assert not cgroups.by_systemd(wanted)


def test_own_cgroup_and_those_above_it_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UMLCTL_CGROUP", raising=False)
    mount = cgroups.mounted()
    tried = list(cgroups._candidates())
    assert tried[-1:] == ([mount] if mount else [])
    for below, above in itertools.pairwise(tried):
        assert os.path.dirname(below) == above
