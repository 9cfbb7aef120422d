"""Programs that end with the process that began them, however that ends."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from typing import Any, Final

_SET_PDEATHSIG: Final = 1
"""Of prctl(2). Source: linux/prctl.h"""


def run(words: list[str], **options: Any) -> subprocess.CompletedProcess[Any]:
    """Run a program as `subprocess.run` does; it gets SIGTERM should this process end before.

    Raises: OSError
    """
    libc = ctypes.CDLL(None)
    parent = os.getpid()

    def follow() -> None:
        libc.prctl(_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # which has ended meanwhile
            os._exit(1)

    options = {"stdin": subprocess.DEVNULL, "check": False, **options}
    return subprocess.run(words, preexec_fn=follow, **options)  # noqa: PLW1510
