"""Where the logs of test runs are kept, and for how long."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from umlctl.host import paths
from umlctl.host.files import remove_tree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from umlctl.testing.kept_output import KeptOutput

MAX_RUNS: Final = 20
"""How many runs of which something was kept there are, at most."""
MAX_LOGS: Final = 200
"""How many logs of one run are kept: where all fails, one is like the other."""
SCRATCH: Final = "scratch"
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._+-]+")
_MAX_NAME_LETTERS: Final = 80


class Run:
    """A run's directory.

    Fields:
        path: of it
        scratch: of what is there only while the run lasts
        kept: how many logs it has
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.scratch = f"{path}/{SCRATCH}"
        self.kept = 0

    def keep(self, name: str, output: KeptOutput, kernel_log: str) -> str:
        """Keep the log of a guest; its file, or nothing if there are enough.

        kernel_log: the file of its kernel's log, if there is one

        Raises: OSError
        """
        if self.kept >= MAX_LOGS:
            return ""
        self.kept += 1
        safe = _UNSAFE.sub("-", name)[:_MAX_NAME_LETTERS].strip("-.") or "case"
        path = f"{self.path}/{self.kept:03}-{safe}.log"
        with suppress(FileNotFoundError), open(kernel_log, "rb") as log:
            output.add(b"\n[what its kernel has said]\n")
            while data := log.read(1 << 16):
                output.add(data)
        output.finish()
        os.rename(output.path, path)
        return path


@contextmanager
def a_run() -> Iterator[Run]:
    """A directory for a run. It is left if there are logs in it, and earlier ones are not for ever.

    Raises: BadPlace, OSError
    """
    paths.make_run_dir()
    above = paths.tests_dir()
    os.makedirs(above, 0o700, exist_ok=True)
    both = _locked(above)  # so that nobody prunes what is just made
    try:
        _prune(above)
        run = Run(tempfile.mkdtemp("", time.strftime("%Y%m%d-%H%M%S-"), above))
        lock = _locked(run.path)
    finally:
        os.close(both)
    try:
        os.mkdir(run.scratch, 0o700)
        yield run
    finally:
        remove_tree(run.scratch)
        with suppress(OSError):
            os.rmdir(run.path)  # if nothing is kept
        os.close(lock)


def _locked(directory: str) -> int:
    """Raises: OSError"""
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def _prune(above: str) -> None:
    """Remove what killed runs have left, and the oldest runs. One that lasts has its lock."""
    runs = [path for name in sorted(os.listdir(above)) if not _lasts(path := f"{above}/{name}")]
    left = []
    for path in runs:
        remove_tree(f"{path}/{SCRATCH}")
        with suppress(OSError):
            os.rmdir(path)
        if os.path.isdir(path):
            left.append(path)
    for path in left[: max(0, len(left) - MAX_RUNS + 1)]:
        shutil.rmtree(path, ignore_errors=True)


def _lasts(path: str) -> bool:
    try:
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return True  # it is no run
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(lock)
