from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.umlctl.host.test_place import opened
from umlctl.host import paths
from umlctl.supervisor.lock import Lock

if TYPE_CHECKING:
    from collections.abc import Iterator

OTHER = """
import fcntl, sys
from umlctl.supervisor.lock import Lock
lock = Lock()
for line in sys.stdin:
    print(lock.take(fcntl.LOCK_NB) if line == "take\\n" else lock.restore(), flush=True)
"""


class Other:
    """Another process that would be the supervisor."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def does(self, what: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()


@contextmanager
def other() -> Iterator[Other]:
    with subprocess.Popen(
        [sys.executable, "-c", OTHER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Other(process)
        process.communicate()


def test_one_supervisor_is_there_at_a_time(house: str) -> None:
    with other() as first:
        assert first.does("take") == "True"
        assert not Lock().take(fcntl.LOCK_NB)
    lock = Lock()
    assert lock.take(fcntl.LOCK_NB)
    with open(f"{paths.run_dir()}/supervisor.lock") as file:
        assert file.read() == f"{os.getpid()}\n"
    os.close(lock._descriptor)


def test_supervisor_whose_run_directory_was_removed_is_the_one_still(house: str) -> None:
    with other() as first:
        assert first.does("take") == "True"
        shutil.rmtree(paths.run_dir())
        second = Lock()
        assert not second.take(fcntl.LOCK_NB)
        assert first.does("stand") == "None"
        with open(f"{paths.run_dir()}/supervisor.lock") as file:
            assert file.read()
        assert not second.take(fcntl.LOCK_NB)
    assert second.take(fcntl.LOCK_NB)
    os.close(second._descriptor)


def test_who_only_looks_keeps_nobody_from_being_the_one(house: str) -> None:
    """As another that is started at the same time, and is about to find the lock taken."""
    lock = Lock()
    with opened(paths.supervisor_lock()):
        assert lock.take(fcntl.LOCK_NB)
    os.close(lock._descriptor)
