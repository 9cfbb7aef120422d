from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from umlctl import exitcodes
from umlctl.cli import bare
from umlctl.host import processes

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
    assert bare.end("kill", "demo", kernel.socket, [], False) is None
    assert bare.process("/nowhere/mconsole") is None


def test_held_kernel_is_told_from_one_that_runs(kernel: Kernel) -> None:
    os.kill(kernel.process.pid, signal.SIGSTOP)
    try:
        os.waitid(os.P_PID, kernel.process.pid, os.WSTOPPED)
        assert bare.held(kernel.socket)
    finally:
        os.kill(kernel.process.pid, signal.SIGCONT)


def test_kernel_is_killed_by_what_ends_all_of_it(
    kernel: Kernel, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bare.end("kill", "demo", kernel.socket, [], True) == exitcodes.OK
    ending = json.loads(capsys.readouterr().out)
    assert (ending["cause"], ending["code"]) == ("killed", exitcodes.SIGNALLED + signal.SIGTERM)
    assert kernel.close() == -signal.SIGTERM


def test_kernel_that_does_not_shut_down_is_killed_and_that_is_a_failure(
    kernel: Kernel, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bare, "ANSWER", 0.01)
    monkeypatch.setattr(bare, "SYNC", 0.01)
    code = bare.end("shutdown", "demo", kernel.socket, ["0.01"], False)
    assert code == exitcodes.FAILED
    assert "not seen to sync" in capsys.readouterr().out
    assert processes.start_time(kernel.process.pid) is None or kernel.close() == -signal.SIGTERM


@pytest.mark.parametrize("seconds", ["soon", "-1", "nan", "1e7"])
def test_wrong_number_of_seconds_ends_nobody(
    kernel: Kernel, capsys: pytest.CaptureFixture[str], seconds: str
) -> None:
    code = bare.end("shutdown", "demo", kernel.socket, [seconds], False)
    assert code == exitcodes.USAGE
    assert "takes a number of seconds" in capsys.readouterr().err
    assert kernel.process.poll() is None
