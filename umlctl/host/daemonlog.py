"""The log of the background supervisor: what it says, within bounds."""

from __future__ import annotations

import os
import stat
import time
import traceback
from typing import Final

from umlctl.host import limits, paths

MAX_LOG_BYTES: Final = 1 << 20
"""The longest log, bytes. A longer one is put aside, in place of the one that was put aside
before."""
OPEN_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT


def path() -> str:
    return paths.state_dir() + "/supervisor.log"


def put_aside() -> None:
    """Put the log aside if it is too long.

    Raises: OSError
    """
    try:
        if os.stat(path()).st_size > MAX_LOG_BYTES:
            os.rename(path(), path() + ".1")
    except FileNotFoundError:
        pass


def say(line: str, descriptor: int = 2) -> None:
    """Write a line where the supervisor's output goes. A full disk takes none, and the supervisor
    goes on.

    descriptor: of the log, or of what takes its place, as a service manager's journal
    """
    try:
        os.write(descriptor, line.encode("utf-8", "backslashreplace"))
        found = os.fstat(descriptor)
        if found.st_size > MAX_LOG_BYTES and stat.S_ISREG(found.st_mode) and _is_log(found):
            put_aside()
            fresh = os.open(path(), OPEN_FLAGS | os.O_CLOEXEC, 0o600)
            os.dup2(fresh, descriptor)
            os.close(fresh)
    except OSError:
        pass


def note(message: str) -> None:
    """Write an event to the log, with the time."""
    say(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {message}\n")


def trace(what: str, problem: BaseException) -> None:
    """Write an error to the log that should not have happened."""
    note(f"{what}: " + "".join(traceback.format_exception(problem)))


def failed(request: str, problem: Exception) -> str:
    """Write to the log what went wrong with a request; return what its client is told."""
    if limits.is_lacking(problem):
        said = f"not done: {limits.explained(problem)}"
        note(f"{request}: {said}")
        return said
    trace(request, problem)
    return f"internal error: {problem!r}"


def _is_log(found: os.stat_result) -> bool:
    """Whether an open file is still the log, and not a file of the user's own."""
    return os.path.samestat(found, os.stat(path()))
