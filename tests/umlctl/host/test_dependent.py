from __future__ import annotations

import os
import select
import signal
import subprocess
import sys

import pytest

from umlctl.host import dependent

PROGRAM = """
from umlctl.host import dependent
dependent.run(["sh", "-c", "sleep 600 & echo up; wait"], has_children=True)
"""


def test_program_runs_and_says_how_it_ended() -> None:
    for has_children in (False, True):
        done = dependent.run(
            ["sh", "-c", 'cat; echo "$1"; exit 3', "sh", "a  b"],
            stdout=subprocess.PIPE,
            has_children=has_children,
        )
        assert (done.returncode, done.stdout) == (3, b"a  b\n")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_program_and_its_children_end_with_who_began_them(number: int) -> None:
    """Their standard output is closed then, though nobody has told them anything."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"up\n"
        os.kill(parent.pid, number)
        assert select.select([parent.stdout], [], [], 60)[0]
        assert parent.stdout.read() == b""


def test_program_that_takes_too_long_is_ended() -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        dependent.run(["sleep", "600"], timeout=0.01)
