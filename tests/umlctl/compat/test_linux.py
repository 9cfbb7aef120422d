from __future__ import annotations

import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from umlctl.compat import linux
from umlctl.errors import GuestInUse, NoKernel
from umlctl.guest.kernel_line import Told
from umlctl.host import paths

if TYPE_CHECKING:
    from pathlib import Path


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `linux` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "umlctl.compat.linux", *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_kernel_that_is_not_there_is_said(house: str) -> None:
    done = run("mem=64M", UMLCTL_KERNEL=f"{house}/none")
    assert (done.returncode, done.stdout) == (127, "")
    assert done.stderr.startswith(f"linux: $UMLCTL_KERNEL {house}/none: no such file")
    assert not os.path.exists(paths.guest_records())


def test_what_is_no_kernel_is_not_executed(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """This program above all, by the name `linux`."""
    path = f"{house}/linux"
    with open(path, "w") as file:
        file.write("#!/bin/sh\necho executed\n")
    os.chmod(path, 0o755)
    assert "executed" not in run("mem=64M", UMLCTL_KERNEL=path).stdout
    monkeypatch.setenv("UMLCTL_KERNEL", path)
    with pytest.raises(NoKernel, match="is not a UML kernel"):
        linux._find()


def test_place_is_the_one_that_the_words_name(
    house: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert linux._place(Told("a", "", ""), "a") == ""
    assert linux._place(Told("a", "here", ""), "a") == f"{tmp_path}/here/a"
    assert linux._place(Told("a", f"{paths.home()}/.uml/", ""), "a") == ""


def test_place_of_a_kernel_that_runs_is_not_taken(house: str, tmp_path: Path) -> None:
    told = Told("a", str(tmp_path), "")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "pid").write_text(f"{os.getpid()}\n")
    with pytest.raises(GuestInUse, match="belongs to a kernel that runs"):
        linux._place(told, "a")
    (tmp_path / "a" / "pid").write_text(f"{1 << 30}\n")
    assert linux._place(told, "a") == f"{tmp_path}/a"


def test_place_has_the_socket_and_the_pid_and_is_left_as_it_was(house: str, tmp_path: Path) -> None:
    place = tmp_path / "x" / "a"
    linux._make_place(str(place), "a")
    assert (place / "pid").read_text() == f"{os.getpid()}\n"
    assert os.readlink(place / "mconsole") == paths.guest_socket("a")
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    linux._make_place(str(place), "a")  # of a guest that has died
    linux.leave_place(str(place), "a")
    assert not place.exists()
    (place / "mconsole").parent.mkdir()
    (place / "mconsole").write_text("somebody else's")
    linux.leave_place(str(place), "a")
    assert (place / "mconsole").exists()
