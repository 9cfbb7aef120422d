"""Who may change a directory of the cache: one at a time, and what was killed leaves nothing."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from typing import TYPE_CHECKING, Final

from umlctl.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NEW: Final = ".new-"
"""How the names of directories begin that are not whole yet."""


@contextlib.contextmanager
def alone(directory: Path, say: Callable[[str], None], other: str) -> Iterator[None]:
    """Hold the lock of a directory, and remove what those have left in it that were killed.

    say: is told that another has the lock, which is waited for
    other: what that is, in words

    Raises: HostError
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(directory / ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise HostError(
            f"cannot write to {directory}: {error.strerror}; set XDG_CACHE_HOME to a directory of "
            "yours"
        ) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another {other}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        for left in directory.glob(f"{NEW}*"):
            shutil.rmtree(left, ignore_errors=True)
        yield
    finally:
        os.close(lock)
