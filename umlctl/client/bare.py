"""A kernel that a user started by hand: how its process is ended."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Final

from socketproto.blocking import Connection, Unreachable
from umlctl import exitcodes
from umlctl.host import processes
from umlctl.output import say, views
from umlctl.protocol.commands import MAX_SECONDS, SHUTDOWN_TIMEOUT
from umlctl.protocol.status import Ending
from umlctl.recovery.bare import process

if TYPE_CHECKING:
    from umlctl.recovery.bare import BareProcess

ANSWER_TIMEOUT: Final = 2.0
"""How long the kernel may take for each request, seconds."""
SYNC_TIMEOUT: Final = 1.0
"""How long an emergency sync may take, seconds. The kernel says on its console when that is done,
which this process cannot see."""
TERM_TIMEOUT: Final = 2.0
"""How long a halt or SIGTERM may take to end the kernel, seconds."""
KILL_TIMEOUT: Final = 5.0
"""How long the host may take to clear a killed kernel away, seconds."""


def end(name: str, guest: str, socket: str, words: list[str], json: bool) -> int | None:
    """Do a `kill`, a `shutdown`, or a `halt` that was not answered.

    Returns: the exit code; None if it cannot be told which process the kernel is
    """
    found = process(socket)
    if found is None:
        return None
    seconds = SHUTDOWN_TIMEOUT
    if words:
        try:
            seconds = float(words[0])
            if not 0 <= seconds <= MAX_SECONDS:
                raise ValueError
        except ValueError:
            return say(f"{name} takes a number of seconds, not {words[0]!r}", exitcodes.USAGE)
    by_itself = name == "shutdown" and _shut_down(found, socket, seconds)
    if not by_itself:
        _kill(found)
        if not found.ends(KILL_TIMEOUT):
            return say(f"{name} {guest}: pid {found.pid} is still there", exitcodes.FAILED)
    text = "" if by_itself or name == "kill" else "not seen to sync"
    ending = Ending(
        cause="shut down" if by_itself else "killed",
        code=exitcodes.OK if by_itself else exitcodes.SIGNALLED + signal.SIGTERM,
        text=text,
        time=time.time(),
    )
    print(views.to_json(ending) if json else f"{guest} {views.ending_text(ending)}")
    return exitcodes.FAILED if name == "shutdown" and not by_itself else exitcodes.OK


def _shut_down(found: BareProcess, socket: str, seconds: float) -> bool:
    """Have the kernel shut its guest down, or at least save what it has; True if it ended by
    itself."""
    if processes.held(found.pid) is not None:
        return False
    if _ask(socket, "proc sys/kernel/ctrl-alt-del").strip(b"\n") == b"0":
        _ask(socket, "cad")
        if found.ends(seconds):
            return True
    for letter in "su":
        _ask(socket, f"sysrq {letter}")
        found.ends(SYNC_TIMEOUT)
    return False


def _kill(found: BareProcess) -> None:
    if processes.held(found.pid) is None:
        found.signal()
        if found.ends(TERM_TIMEOUT):
            return
    others = list(processes.outside_group(found.pid))
    processes.kill_guest(found.pid, found.started, others)


def _ask(socket: str, text: str) -> bytes:
    with Connection(socket) as connection:
        try:
            outcome = connection.request(text, ANSWER_TIMEOUT)
        except Unreachable:
            return b""
        return outcome.data if outcome.ok else b""
