from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from umlctl.recovery import bare

if TYPE_CHECKING:
    from collections.abc import Iterator

KERNEL = """
import os, socket, sys
door = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
door.bind(sys.argv[1])
print("there", flush=True)
sys.stdin.read()
"""


class Kernel:
    """What stands for a kernel that was started by hand: it has its socket, and answers nobody."""

    def __init__(self, directory: str) -> None:
        self.socket = f"{directory}/mconsole"
        self.process = subprocess.Popen(
            [sys.executable, "-c", KERNEL, self.socket],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"there\n"
        self.write_pid(self.process.pid)

    def write_pid(self, pid: int) -> None:
        with open(f"{os.path.dirname(self.socket)}/pid", "w") as file:
            file.write(f"{pid}\n")

    def close(self) -> int:
        """End it; how it had ended."""
        self.process.kill()
        self.process.communicate()
        return self.process.returncode


@pytest.fixture
def kernel(house: str) -> Iterator[Kernel]:
    made = Kernel(house)
    yield made
    made.close()


def test_process_is_the_one_that_has_the_socket(kernel: Kernel) -> None:
    found = bare.process(kernel.socket)
    assert found is not None
    assert found.pid == kernel.process.pid
    assert bare.held(kernel.socket) == ""
    kernel.write_pid(os.getpid())
    assert bare.process(kernel.socket) is None, "its number may be another's by now"


@pytest.mark.parametrize("written", ["", "x", "999999999", "-1"])
def test_process_that_is_not_known_is_not_guessed(kernel: Kernel, written: str) -> None:
    with open(f"{os.path.dirname(kernel.socket)}/pid", "w") as file:
        file.write(written)
    assert bare.process(kernel.socket) is None
    assert bare.process("/nowhere/mconsole") is None


def test_held_kernel_is_told_from_one_that_runs(kernel: Kernel) -> None:
    os.kill(kernel.process.pid, signal.SIGSTOP)
    try:
        os.waitid(os.P_PID, kernel.process.pid, os.WSTOPPED)
        assert bare.held(kernel.socket)
    finally:
        os.kill(kernel.process.pid, signal.SIGCONT)
