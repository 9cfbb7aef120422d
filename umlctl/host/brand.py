"""A mark on every confined process, and on all that it starts: who serves a user's clients knows by
it what is none, though it runs as that user.

It is made of two limits that nobody makes use of, both at 0: a limit of one's own can be lowered,
and raised by nobody without a privilege that a confined process never has. Nothing else stays with
a process whatever it does: its parent, its session, its program and its name are its to change.
"""

from __future__ import annotations

from struct import pack
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from umlctl.host.call_list import CallList

_PRLIMIT: Final = 302
_LIMITS: Final = {10: "Max file locks", 12: "Max msgqueue size"}
"""RLIMIT_LOCKS, which no Linux since 2.4 looks at, and RLIMIT_MSGQUEUE: a confined process makes no
message queues. Their names are those in /proc/PID/limits."""


def put(calls: CallList) -> None:
    """Have who makes these calls be marked."""
    for limit in _LIMITS:
        calls.call("cannot mark the kernel", _PRLIMIT, 0, limit, pack("=2Q", 0, 0), 0)


def is_on(pid: int) -> bool:
    """A process is marked, or has ended: which of both cannot be told any more.

    pid: of who has sent something, by the host's kernel; 0 or less: that is not known
    """
    if pid <= 0:
        return False
    import resource

    try:
        return all(resource.prlimit(pid, limit)[1] == 0 for limit in _LIMITS)
    except ProcessLookupError:
        return True
    except OSError:  # it is another user's
        return _is_seen_on(pid)


def _is_seen_on(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/limits") as file:
            rows = [line for line in file if line.startswith(tuple(_LIMITS.values()))]
    except ProcessLookupError:
        return True
    except OSError:  # as where nobody sees the processes of others
        return False
    return len(rows) == len(_LIMITS) and all(row.split()[-2] == "0" for row in rows)
