from __future__ import annotations

import errno
import fcntl
import os
from typing import TYPE_CHECKING

import pytest

from umlctl.errors import HostError
from umlctl.host.pidfile import Pidfile

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> str:
    return f"{tmp_path}/pid"


def test_pidfile_says_the_pid_as_long_as_it_is_locked(path: str) -> None:
    pidfile = Pidfile.lock(path)
    pidfile.write(4711)
    with open(path) as file:
        assert file.read() == "4711\n"
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with pytest.raises(HostError, match="locked by a running guest, pid 4711"):
        Pidfile.lock(path)
    pidfile.remove()
    assert not os.path.exists(path)


def test_pidfile_of_a_kernel_that_runs_already_is_locked_by_its_parent(path: str) -> None:
    parents = Pidfile.lock(path)
    parents.write(4711)
    ours = Pidfile.lock(path, running=4711)
    with pytest.raises(HostError, match="locked"):
        Pidfile.lock(path, running=4712)
    parents.close()
    ours.close()
    assert os.path.exists(path), "closed, and left where it is"


def test_pidfile_that_nobody_wants_is_nowhere() -> None:
    pidfile = Pidfile.lock("")
    pidfile.write(4711)
    pidfile.remove()
    assert pidfile.descriptor == -1


def test_pidfile_that_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(f"{tmp_path}/fifo")
    with pytest.raises(HostError, match="it is no regular file"):
        Pidfile.lock(f"{tmp_path}/fifo")
    with pytest.raises(HostError, match="No such file or directory"):
        Pidfile.lock(f"{tmp_path}/none/pid")


def test_pidfile_that_somebody_put_in_its_place_is_kept(path: str) -> None:
    pidfile = Pidfile.lock(path)
    os.unlink(path)
    os.close(os.open(path, os.O_CREAT))
    pidfile.remove()
    assert os.path.exists(path)


def test_pidfile_that_cannot_be_removed_is_free_all_the_same(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_path: str) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    pidfile = Pidfile.lock(path)
    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", fail)
        with pytest.raises(PermissionError):
            pidfile.remove()
    Pidfile.lock(path).remove()
    assert not os.path.exists(path)
