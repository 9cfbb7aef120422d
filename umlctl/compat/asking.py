"""How `uml_mconsole` asks a guest: with the faults of the original, or without.

The original waits for ever for a guest that is stuck, stopped or dying; sends the first 511 bytes
of a longer command; takes the answer for a success whose last part carries no error, though its
first did; and sends a bare kernel what that never comes back from. `Asking` ends, and says so;
`Strictly` waits like the original, but for a kernel that has ended.
"""

from __future__ import annotations

import os
import sys

from socketproto.blocking import Connection, Link, Unreachable, encode
from socketproto.exchange import ANSWERED, GONE, REFUSED, Outcome
from socketproto.wire import MAX_TEXT_BYTES, Reply, WireError
from umlctl.client.ask import Deadline, GuestClient
from umlctl.compat.lookup import is_own
from umlctl.exitcodes import ECONNRESET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

KERNEL_WORDS: Final = (
    *("version", "help", "halt", "reboot", "config", "remove", "sysrq", "cad"),
    *("stop", "go", "log", "proc", "stack"),
)
"""A kernel does the first of these that a command begins with. Source:
arch/um/drivers/mconsole_user.c, commands[]"""
KICK_INTERVAL: Final = 0.5
"""How long a silence lasts before it is seen whether the kernel still is there, seconds."""


class Asking:
    """A guest that was found by its name, asked without the faults of the original."""

    def __init__(self, name: str, path: str) -> None:
        """path: of its socket; empty if none was found"""
        self._name = name
        self.path = path

    def ask(self, text: str) -> Outcome | None:
        """Send one command. None: it could not be sent, which was said on standard error."""
        own = not self.path or is_own(self._name, self.path)
        try:
            with GuestClient(self._name if own else self.path) as guest:
                if guest.is_bare():
                    return self._ask_kernel(text)
                return guest.ask(text, Deadline(renewed=True))
        except Unreachable as problem:
            return not_sent(self.path, problem.why)
        except Exception as problem:  # noqa: BLE001 - other errors are raised again
            return self._failed(problem)

    def _failed(self, problem: Exception) -> Outcome | None:
        """What comes of an error, as an answer.

        Raises: any error that is not UmlctlError
        """
        from umlctl.errors import InDoubt, NoGuest, Refusal, UmlctlError

        if isinstance(problem, NoGuest):
            return not_sent(self.path, str(problem))
        if not isinstance(problem, (UmlctlError, WireError)):
            raise problem
        error = ECONNRESET if isinstance(problem, InDoubt) else 1
        if isinstance(problem, Refusal):
            error = problem.error
        return Outcome(REFUSED, error, str(problem).encode("utf-8", "surrogateescape"))

    def _ask_kernel(self, text: str) -> Outcome:
        """Ask a bare kernel, unless it would not survive that, or never answer again.

        Raises: Refusal, Unreachable, WireError
        """
        from umlctl.errors import Refusal

        try:
            check(text.removeprefix("!"))
        except Refusal:
            if not text.startswith("!"):
                raise
            text = text[1:]
        with Connection(self.path) as connection:
            return connection.request(text, renew=Deadline().left()[0])

    def pid(self) -> int | None:
        """The process of the guest's kernel; None if it is not known for sure."""
        from umlctl.recovery.bare import process

        found = process(self.path)
        if found is not None:
            return found.pid
        outcome = self.ask("status") if self.path else None
        if outcome is None or not outcome.ok:
            return None
        from msgspec import DecodeError

        from umlctl.protocol.status import read_status

        try:
            return read_status(outcome.data).pid
        except DecodeError:
            return None  # what a bare kernel says, or another server


class Strictly(Asking):
    """The same by the letter of the original."""

    def ask(self, text: str) -> Outcome | None:
        if not self.path:
            return not_sent("", os.strerror(22))
        link = Link(self.path)
        data = text.encode("utf-8", "surrogateescape")[:MAX_TEXT_BYTES].partition(b"\0")[0]
        try:
            while not link.send_patiently(encode(data), KICK_INTERVAL):
                pass
            return _await(link)
        except Unreachable as problem:
            return not_sent(self.path, problem.why)
        finally:
            link.close()

    def pid(self) -> int | None:
        try:
            with open(f"{os.path.dirname(self.path)}/pid") as file:
                pid = int(file.read(32))
        except (OSError, ValueError):
            return None
        return pid if pid > 1 else None  # others are no process, but many


def _await(link: Link) -> Outcome:
    """Wait for a whole answer, as long as that takes. Its last part says whether it is an error."""
    assert link.socket is not None
    parts: list[bytes] = []
    gone = ""
    while True:
        link.socket.settimeout(0.0 if gone else KICK_INTERVAL)
        try:
            datagram = link.receive()
        except (TimeoutError, BlockingIOError):
            if gone:
                return Outcome(GONE, reason=gone)
            gone = link.kick()
            continue
        try:
            reply = Reply.decode(datagram or b"")
        except WireError:
            continue  # it is not the kernel's
        parts.append(reply.data)
        if not reply.more:
            text = b"".join(parts)
            if reply.error:
                return Outcome(REFUSED, reply.error, text, pieces=len(parts))
            return Outcome(ANSWERED, data=text, pieces=len(parts))


def not_sent(path: str, why: str) -> Outcome | None:
    """Say that a command could not be sent; that is no outcome."""
    sys.stdout.flush()
    sys.stderr.write(f"Sending command to '{path}' : {why}\n")
    return None


def check(text: str) -> None:
    """See whether a bare kernel survives a command, by what it would take it for.

    Raises: Refusal
    """
    word = next((each for each in KERNEL_WORDS if text.startswith(each)), "")
    if word not in ("proc", "sysrq"):
        return
    from umlctl.protocol import guard
    from umlctl.protocol.commands import BY_NAME

    argument = text[len(word) :].lstrip()
    if word == "sysrq":
        argument = argument[:1]  # the kernel looks no further
    guard.check(guard.CommandLine(BY_NAME[word], argument, forced=False))
