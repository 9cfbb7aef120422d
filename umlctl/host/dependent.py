"""Programs that end with the process that began them, however that ends."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from typing import Any, Final

_SET_PDEATHSIG: Final = 1
"""Of prctl(2). Source: linux/prctl.h"""
TERM_TIMEOUT: Final = 10.0
"""How long a program may take to end when it is told to, seconds."""
_GROUP: Final = """
trap 'trap : TERM; kill -TERM 0; wait; exit 143' TERM
"$@" &
wait $!
"""
"""Runs a program, and has all that it has begun end, too."""


def run(
    words: list[str], *, timeout: float | None = None, has_children: bool = False, **options: Any
) -> subprocess.CompletedProcess[Any]:
    """Run a program as `subprocess.run` does; it gets SIGTERM should this process end before.

    has_children: the program begins others, which end with it

    Raises: OSError, subprocess.TimeoutExpired
    """
    libc = ctypes.CDLL(None)
    parent = os.getpid()

    def follow() -> None:
        libc.prctl(_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # which has ended meanwhile
            os._exit(1)

    if has_children:
        words = ["/bin/sh", "-c", _GROUP, "sh", *words]
        options["start_new_session"] = True
    options = {"stdin": subprocess.DEVNULL, **options}
    with subprocess.Popen(words, preexec_fn=follow, **options) as process:  # noqa: PLW1509
        try:
            output, error = process.communicate(timeout=timeout)
        except BaseException:
            process.terminate()
            try:
                process.wait(TERM_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
            raise
    return subprocess.CompletedProcess(words, process.returncode, output, error)
