from __future__ import annotations

import os
import select
import signal
import subprocess
import sys

from umlctl.host import dependent

PROGRAM = """
from umlctl.host import dependent
dependent.run(["sh", "-c", "echo up; exec sleep 600"])
"""


def test_program_runs_and_says_how_it_ended() -> None:
    done = dependent.run(["sh", "-c", "cat; echo out; exit 3"], stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (3, b"out\n")


def test_program_ends_with_who_began_it() -> None:
    """Its standard output is closed then, though nobody has told it anything."""
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"up\n"
        os.kill(parent.pid, signal.SIGKILL)
        assert select.select([parent.stdout], [], [], 60)[0]
        assert parent.stdout.read() == b""
