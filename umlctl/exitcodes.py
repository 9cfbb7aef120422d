"""The one table of exit codes: what a script sees of how a command ended.

`umlctl run` ends with the guest's own exit status (what it wrote to /proc/exitcode), so the
codes of `run` alone lie where a guest's status rarely does, as with timeout(1) and env(1).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

OK: Final = 0
REFUSED: Final = 1
NOT_PASSED: Final = 1
USAGE: Final = 2
INCOMPLETE: Final = 2
NO_GUEST: Final = 3
TIMED_OUT: Final = 4
GONE: Final = 5
TRUNCATED: Final = 6
FAILED: Final = 7
LIMIT: Final = 124
NEVER_STARTED: Final = 125
NOT_EXECUTED: Final = 126
NO_COMMAND: Final = 127
SIGNALLED: Final = 128
PANIC: Final = 255

TABLE: Final[tuple[tuple[int, str], ...]] = (
    (OK, "done; for run: the guest ended with status 0"),
    (REFUSED, "the guest or its supervisor said ERR, see standard error; test: one failed"),
    (
        USAGE,
        "the command line is wrong; nothing was sent; test: one crashed",
    ),
    (NO_GUEST, "no such guest, or nobody listens on its socket"),
    (TIMED_OUT, "no answer within the deadline"),
    (GONE, "the guest or its supervisor died before the answer, or the guest rebooted"),
    (TRUNCATED, "a part of the answer was lost; what came is on standard output"),
    (FAILED, "something on this host failed: a file, a permission; doctor: something is fatal"),
    (LIMIT, "run --limit, exec --timeout: the guest had not ended by then, and was ended"),
    (
        NEVER_STARTED,
        "run: the guest ended before its init program; exec, test: before its command",
    ),
    (NOT_EXECUTED, "run: the kernel could not be executed again; exec: the command could not be"),
    (NO_COMMAND, "exec: there is no such command"),
    (SIGNALLED, "128+N, run, exec: signal N ended the kernel, the command, or what umlctl did"),
    (PANIC, "run, exec, test: the guest panicked"),
)

_BY_OUTCOME: Final = {
    "answered": OK,
    "refused": REFUSED,
    "timed out": TIMED_OUT,
    "guest gone": GONE,
    "truncated": TRUNCATED,
}

ECONNRESET: Final = -104
"""What a supervisor answers when its guest died or rebooted under a request."""
ETIMEDOUT: Final = -110
"""What it answers when the kernel did not, in time."""
ENODATA: Final = -61
"""What it answers with what it got of an answer whose rest is lost."""


def of(kind: str) -> int:
    """The exit code of an exchange that ended so."""
    return _BY_OUTCOME[kind]


def of_error(error: int) -> int:
    """The exit code of an answer with this error: a supervisor passes outcomes on as errors."""
    return {ECONNRESET: GONE, ETIMEDOUT: TIMED_OUT, ENODATA: TRUNCATED}.get(error, REFUSED)
