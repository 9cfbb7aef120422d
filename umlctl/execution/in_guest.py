"""A command in a guest that is there anyway, for who runs it to know how it ended: as a number, or
as an error.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

from umlctl.errors import GuestEnded, HostError, NotExecuted, TimedOut, Unprepared
from umlctl.execution import running
from umlctl.execution.explained import late_text, not_executed, why_unprepared
from umlctl.guest.command import NOTHING, PIPED, Command

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from umlctl.execution.running import Canceller
    from umlctl.execution.session import Streams
    from umlctl.guest.shares import Share

ROOT_ENVIRONMENT: Final = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "USER": "root",
    "LOGNAME": "root",
}
OF_TERMINAL: Final = ("TERM", "COLORTERM", "LANG", "LC_ALL")
"""Variables that are there as they are here."""
NO_SOURCE: Final = -1
"""In place of a descriptor: there is nothing to read."""


def environment() -> dict[str, str]:
    """What a command has as environment unless told otherwise."""
    found = {name: os.environ[name] for name in OF_TERMINAL if name in os.environ}
    return found | ROOT_ENVIRONMENT


def run(
    umid: str,
    words: Sequence[str],
    own: Streams,
    *,
    variables: Mapping[str, str] | None = None,
    directory: str = "/",
    limit: float | None = None,
    canceller: Canceller | None = None,
    mounts: tuple[Share, ...] = (),
) -> int:
    """Run a command in a guest, as root; what it exited with, or -N where signal N has ended it.

    own: its streams; the source may be NO_SOURCE
    variables: its environment
    limit: how long it may take, seconds
    mounts: directories of this host that the guest mounts before

    Raises: NoGuest, Refused, NeverStarted, Unprepared, NotExecuted, TimedOut, GuestEnded, HostError
    """
    deadline = None if limit is None else time.monotonic() + limit
    kinds = (NOTHING if own.source == NO_SOURCE else PIPED) + 2 * PIPED
    given = environment() if variables is None else variables
    command = Command(tuple(words), directory, given, kinds, os.urandom(16).hex(), mounts=mounts)
    try:
        ran = running.execute(umid, command, deadline, own, canceller)
    except OSError as problem:
        raise HostError(str(problem)) from problem
    said = ran.outcome.said
    if ran.outcome.late:
        raise TimedOut(f"{words[0]} in {umid}: {late_text(limit)}, and ended")
    if ran.problem:
        raise HostError(ran.problem)
    if said is None:
        raise GuestEnded(f"{umid} has ended, or was rebooted, before {words[0]} had")
    if said.word == "noexec":
        code, text = not_executed(said, words[0])
        raise NotExecuted(text, code)
    if said.word != "status":
        raise Unprepared(why_unprepared(said, ran.todo))
    return os.waitstatus_to_exitcode(said.numbers[0])
