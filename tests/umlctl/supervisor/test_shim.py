"""The tiny parent of a kernel, with another program in place of the kernel."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from umlctl.host import cgroups
from umlctl.state import endings
from umlctl.supervisor.launch.spawn import SHIM

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A guest's."""
    directory = tmp_path / "guest"
    directory.mkdir()
    os.mkfifo(directory / "con0.in")
    return directory


def run(directory: Path, cgroup: str, limits: str, script: str) -> int:
    """Run it with a shell in place of the kernel; its exit status."""
    log = directory / "log"
    log.touch()
    kernel = ("sh", "-c", script)
    words = ("sh", SHIM, str(directory), str(log), "/", cgroup, limits, "", "group", *kernel)
    return subprocess.run(
        words, capture_output=True, check=False, start_new_session=True
    ).returncode


def test_status_is_written_down(directory: Path) -> None:
    assert run(directory, "", "", "exit 7") == 0
    assert endings.read_exit_status(str(directory)) == endings.ExitStatus(7, starved=False)


@pytest.mark.parametrize(
    ("over", "killed", "starved"),
    [(3, 0, False), (3, 1, True), (1, 10, True), (0, 1, False)],
)
def test_kernel_that_the_host_ended_for_its_memory_is_told_from_others(
    directory: Path, tmp_path: Path, over: int, killed: int, starved: bool
) -> None:
    cgroup = tmp_path / "cgroup"
    cgroup.mkdir()
    told = f"oom {over}\\noom_kill {killed}\\noom_group_kill 0\\n"
    script = f"printf '{told}' >{cgroup}/memory.events; kill -9 $$"
    run(directory, str(cgroup), "", script)
    assert endings.read_exit_status(str(directory)) == endings.ExitStatus(137, starved=starved)
    assert (cgroup / "cgroup.procs").read_text() == "0\n"


def test_scope_is_halved_and_the_kernel_gets_the_half_with_limits(
    directory: Path, tmp_path: Path
) -> None:
    """A plain directory takes what is written in place of the host's kernel."""
    mount = tmp_path / "mount"
    scope = mount / cgroups._own(os.getpid()).lstrip("/")
    scope.mkdir(parents=True)
    limits = "memory.max=1048576 memory.oom.group=1 memory.swap.max=0 cpu.max=50000"
    assert run(directory, str(mount), limits, "") == 0
    assert (scope / "shim/cgroup.procs").read_text().strip().isdigit()
    assert {path.name: path.read_text() for path in (scope / "guest").iterdir()} == {
        "cgroup.procs": "0\n",
        "memory.max": "1048576\n",
        "memory.oom.group": "1\n",
        "cpu.max": "50000\n",
    }
    assert (scope / "cgroup.subtree_control").read_text() == "+cpu\n"


def test_scope_that_cannot_be_halved_starts_no_kernel(directory: Path, tmp_path: Path) -> None:
    assert run(directory, f"{tmp_path}/none", "cpu.max=50000", "exit 7") == 126
    assert endings.read_exit_status(str(directory)).code is None
