"""What a process of this host may run out of: how much it has left, and how that is said.

A supervisor keeps a few descriptors from its clients, so that it can go on with what guests need.
The host gives out descriptors from the lowest number on: one with a high number is one of the last.
"""

from __future__ import annotations

import errno
import os
import resource
import sys
from typing import TYPE_CHECKING, Final

from socketproto.blocking import LACK_ERRORS

if TYPE_CHECKING:
    from collections.abc import Iterator

RESERVED_DESCRIPTORS: Final = 16
"""How many descriptors clients of a supervisor do not get; of few, a sixteenth of them."""
AMPLE_DESCRIPTORS: Final = 256
"""With fewer descriptors, nothing is kept open for speed alone."""
LIMITS: Final = (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC)
NO_THREAD_TEXT: Final = "can't start new thread"
"""The text of the RuntimeError that Python raises for EAGAIN."""
_NO_SPACE_ERRORS: Final = (errno.ENOSPC, errno.EDQUOT)
_LACK_ERRORS: Final = frozenset({*LACK_ERRORS, *_NO_SPACE_ERRORS, errno.EAGAIN})


class _Self:
    """What messages call this process."""

    name = "this process"
    again = ""

    @classmethod
    def raised(cls, option: str) -> str:
        return f"raise it with `ulimit {option}`{cls.again}"


def become_supervisor() -> None:
    """Raise the limits of descriptors and processes as far as this process may. Kernels inherit
    them, and none minds."""
    _Self.name = "the supervisor"
    _Self.again = ", and have a new supervisor: `umlctl quit --leave-guests; umlctl adopt`"
    for kind in LIMITS:
        most = resource.getrlimit(kind)[1]
        try:
            resource.setrlimit(kind, (most, most))
        except (OSError, ValueError):
            pass  # then the limit stays as it is


def descriptors() -> int:
    """How many descriptors this process may have."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if most == resource.RLIM_INFINITY else most


def hard_limit_of_descriptors() -> int:
    """How many descriptors a supervisor may have that this process starts."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return sys.maxsize if most == resource.RLIM_INFINITY else most


def most_for_clients(most: int = 0) -> int:
    """The first descriptor that is not for a client.

    most: how many descriptors a process may have; 0: this process
    """
    most = most or descriptors()
    return most - min(RESERVED_DESCRIPTORS, most // 16)


def for_client(descriptor: int) -> int:
    """A descriptor that was opened for a client; it is closed if it is none for clients.

    Raises: OSError: EMFILE
    """
    if descriptor >= most_for_clients():
        os.close(descriptor)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    return descriptor


def most_to_keep() -> int:
    """The first descriptor that is not for what is kept open for speed alone."""
    most = descriptors()
    return most // 2 if most >= AMPLE_DESCRIPTORS else 0


def descriptors_left() -> int:
    """How many more descriptors this process may have."""
    try:
        taken = len(os.listdir("/proc/self/fd")) - 1  # without the one that lists them
    except OSError as problem:
        if problem.errno != errno.EMFILE:
            raise
        return 0
    return max(0, descriptors() - taken)


def processes() -> int:
    """How many processes and threads this user may have; root may have as many as there are
    pids."""
    most = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    exempt = os.geteuid() == 0
    return sys.maxsize if exempt or most == resource.RLIM_INFINITY else most


def processes_left() -> int:
    """How many more processes and threads this user may have."""
    most = processes()
    return most if most == sys.maxsize else max(0, most - threads_of(os.geteuid()))


def threads_of(uid: int) -> int:
    """How many threads a user has: the host counts these against the limit."""
    count = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.stat(f"/proc/{name}").st_uid == uid:
                    count += os.stat(f"/proc/{name}/task").st_nlink - 2
            except OSError:
                continue  # it has just ended
    return count


def is_lacking(problem: BaseException) -> bool:
    """Whether an error is a lack of something on this host, so that another try may go well
    later."""
    return any(map(_is_lack, _causes(problem)))


def explained(problem: BaseException) -> str:
    """A problem in words, with what was too little, and what helps.

    problem: the error itself, one that it has caused, or a group with it
    """
    said, reason = str(next(_causes(problem))), advice(problem)
    return f"{said}; {reason}" if reason and reason not in said else said


def advice(problem: BaseException) -> str:
    """What was too little, and what helps; empty if nothing was, or if the error's own words say
    it."""
    return next((_reason(each) for each in _causes(problem) if _is_lack(each)), "")


def _causes(problem: BaseException | None) -> Iterator[BaseException]:
    """A problem and its causes; for a group, those of its members."""
    while problem is not None:
        if isinstance(problem, BaseExceptionGroup):
            for each in problem.exceptions:
                yield from _causes(each)
            return
        yield problem
        problem = problem.__cause__


def _is_lack(problem: BaseException) -> bool:
    if isinstance(problem, RuntimeError):
        return NO_THREAD_TEXT in str(problem)
    return isinstance(problem, OSError) and problem.errno in _LACK_ERRORS


def _reason(problem: BaseException) -> str:
    number = problem.errno if isinstance(problem, OSError) else errno.EAGAIN
    if number == errno.EMFILE:
        return few_descriptors()
    if number == errno.ENFILE:
        return "this host can have no more open files: see /proc/sys/fs/file-max"
    if number in (errno.ENOMEM, errno.ENOBUFS):
        return "this host has no memory left for it"
    if number in _NO_SPACE_ERRORS:
        return ""  # the error's own words say it all
    return few_processes()


def few_descriptors() -> str:
    """What to do where there are too few descriptors."""
    return f"{_Self.name} may open {descriptors()} files; {_Self.raised('-n')}"


def few_processes() -> str:
    """What to do where there are too few processes."""
    most = processes()
    if most == sys.maxsize:
        return "this host, or the cgroup that this is in (pids.max), has no more processes"
    return f"uid {os.geteuid()} may have {most} processes and threads; {_Self.raised('-u')}"
