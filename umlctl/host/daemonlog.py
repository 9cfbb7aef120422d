"""The log of the background supervisor: what it says, within bounds."""

from __future__ import annotations

import os
import stat
import time
import traceback
from typing import Final

from umlctl.host import paths, scarce

MOST: Final = 1 << 20
"""A log longer than this is put aside, in place of the one that was, bytes."""
FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT


def path() -> str:
    return paths.state_dir() + "/supervisor.log"


def put_aside() -> None:
    """Put a log aside that is too long.

    Raises: OSError
    """
    try:
        if os.stat(path()).st_size > MOST:
            os.rename(path(), path() + ".1")
    except FileNotFoundError:
        pass


def say(line: str, descriptor: int = 2) -> None:
    """Write a line to where the supervisor's words go: a full disk takes none, and it goes on.

    descriptor: of the log, or of what takes its place, as a service manager's journal
    """
    try:
        os.write(descriptor, line.encode("utf-8", "backslashreplace"))
        found = os.fstat(descriptor)
        if found.st_size > MOST and stat.S_ISREG(found.st_mode) and _is_log(found):
            put_aside()
            fresh = os.open(path(), FLAGS | os.O_CLOEXEC, 0o600)
            os.dup2(fresh, descriptor)
            os.close(fresh)
    except OSError:
        pass


def note(message: str) -> None:
    """Write down what happens, with the time."""
    say(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {message}\n")


def trace(what: str, problem: BaseException) -> None:
    """Write down what went wrong that should not have."""
    note(f"{what}: " + "".join(traceback.format_exception(problem)))


def failed(request: str, problem: Exception) -> str:
    """Write down what went wrong with a request; what its client is told."""
    if scarce.is_lacking(problem):
        said = f"not done: {scarce.explained(problem)}"
        note(f"{request}: {said}")
        return said
    trace(request, problem)
    return f"internal error: {problem!r}"


def _is_log(found: os.stat_result) -> bool:
    """It is the log still, and no file of somebody's own."""
    return os.path.samestat(found, os.stat(path()))
