"""What became of a command in a guest, as JSON: `umlctl exec --json FILE`.

It goes to a file, which may be a descriptor: standard output and error are the command's.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any, Final

import msgspec

from umlctl.errors import HostError
from umlctl.execution.explained import late_text, not_executed, why_unprepared
from umlctl.execution.running import Ran
from umlctl.host import naming
from umlctl.host.files import write_atomically
from umlctl.state import endings

if TYPE_CHECKING:
    from umlctl.cli.exec_guest import Result
    from umlctl.errors import UmlctlError

NOT_BEGUN: Final = "not begun"


def check(path: str) -> None:
    """See that a report can be written, before anything is done.

    Raises: HostError
    """
    directory = os.path.dirname(os.path.abspath(path))
    if not os.access(path if os.path.exists(path) else directory, os.W_OK):
        raise HostError(f"cannot write what becomes of it to {path}")


def of_result(
    result: Result | Ran, name: str, code: int, limit: float | None, seconds: float
) -> dict[str, Any]:
    """How a command went.

    name: of the command
    code: the exit code of umlctl
    limit: how long it might take, seconds; seconds: how long it took
    """
    number, cause, text = _how(result, name, limit)
    panic, guest = result.outcome.panic, ""
    if not isinstance(result, Ran):
        panic = panic or endings.early_panic(result.tail)
        guest = naming.of_kept(os.getpid()) if result.kept else ""
    return _document(code, cause, text, seconds, signal=number, panic=panic, guest=guest)


def of_problem(problem: UmlctlError, seconds: float) -> dict[str, Any]:
    """That there was no guest for it."""
    return _document(problem.code, NOT_BEGUN, str(problem), seconds)


def write(path: str, document: dict[str, Any]) -> None:
    """Raises: HostError"""
    data = msgspec.json.encode(document) + b"\n"
    try:
        if os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode):
            with open(path, "wb") as file:  # a pipe or the like
                file.write(data)
        elif path.startswith(("/dev/", "/proc/")):
            with open(path, "ab") as file:  # a descriptor of a regular file
                file.write(data)
        else:
            write_atomically(os.path.abspath(path), data)
    except OSError as problem:
        why = problem.strerror
        raise HostError(f"cannot write what became of it to {path}: {why}") from problem


def _document(
    code: int,
    cause: str,
    text: str,
    seconds: float,
    *,
    signal: int = 0,
    panic: str = "",
    guest: str = "",
) -> dict[str, Any]:
    return {
        "status": code,
        "cause": cause,
        "signal": signal or None,
        "text": text.encode("utf-8", "backslashreplace").decode(),
        "panic": panic or None,
        "guest": guest or None,
        "seconds": round(seconds, 3),
    }


def _how(result: Result | Ran, name: str, limit: float | None) -> tuple[int, str, str]:
    """The signal that has ended the command, or 0; how it ended, and why."""
    outcome, said = result.outcome, result.outcome.said
    if outcome.late:
        return 0, "timed out", late_text(limit)
    if said is None and outcome.caught:
        return outcome.caught, "interrupted", "umlctl was told to end before it had"
    if said is None and isinstance(result, Ran):
        return 0, "ended", "the guest has ended, or was rebooted"
    if said is None:
        assert not isinstance(result, Ran)
        assert result.ending is not None
        cause = result.ending.cause if outcome.began else NOT_BEGUN
        return 0, cause, endings.describe(result.ending)
    if said.word == "status":
        status = said.numbers[0]
        if os.WIFSIGNALED(status):
            return os.WTERMSIG(status), "signalled", result.problem
        return 0, "exited", result.problem
    if said.word == "noexec":
        return 0, "not executed", not_executed(said, name)[1]
    return 0, NOT_BEGUN, why_unprepared(said, result.todo)
