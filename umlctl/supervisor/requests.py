"""The answers on a guest's public socket: who may ask what, how often, and what is written down.

A line is read once, and is kept with its call. The kernel's commands are in `kernel_requests`, the
supervisor's own in `own_requests`.
"""

from __future__ import annotations

import errno
import traceback
from collections import defaultdict
from typing import TYPE_CHECKING, Final

import trio

from socketproto.exchange import ANSWERED, GONE, REFUSED, TIMED_OUT, TRUNCATED
from socketproto.listener import ClientGone
from umlctl import exitcodes
from umlctl.errors import Refusal
from umlctl.guest.grants import CONTROL
from umlctl.host import limits
from umlctl.protocol.commands import GUEST, KERNEL
from umlctl.protocol.guard import CommandLine, is_query, read
from umlctl.supervisor import access
from umlctl.supervisor.history import by
from umlctl.supervisor.kernel_requests import KernelRequests
from umlctl.supervisor.own_requests import OwnRequests
from umlctl.supervisor.rate_limits import (
    PRINT_TIMEOUT,
    PRINTS_A_SECOND,
    PRINTS_AT_ONCE,
    EventLimit,
    TokenBucket,
)
from umlctl.supervisor.readiness import Readiness

if TYPE_CHECKING:
    from socketproto.exchange import Outcome
    from socketproto.listener import Answer, Call
    from umlctl.protocol.events import EventName
    from umlctl.supervisor.guest import Guest

NOTED_COMMANDS: Final[dict[str, EventName]] = {"halt": "halt", "reboot": "reboot", "cad": "cad"}
"""Commands that become events, if the kernel takes them."""
MISTYPED_ERRORS: Final = (1, -errno.EINVAL)
"""Errors of a line that is no command at all, rather than one that must not be done."""
_ERRORS: Final = {
    TIMED_OUT: exitcodes.ETIMEDOUT,
    GONE: exitcodes.ECONNRESET,
}


class Requests:
    """The requests of one guest's clients."""

    def __init__(self, guest: Guest) -> None:
        definition = guest.launched.definition
        readiness = Readiness(guest.milestones, definition.timeout)
        self._guest = guest
        self._kernel = KernelRequests(lambda: guest.life, guest.reboot, readiness)
        self._own = OwnRequests(guest, readiness)
        self._access = access.of_guest(definition)
        self._sparing: defaultdict[str, EventLimit] = defaultdict(EventLimit)
        self._prints: dict[int, TokenBucket] = {}

    def answer_at_once(self, call: Call) -> Answer | None:
        """Answer a plain question without giving way to other tasks; None if `handle` is to answer
        it."""
        try:
            line = _line(call)
            if line.command.served != KERNEL or not self._kernel.is_plain(line):
                return None
            access.check_is_free(call.pid)
            access.check(line, self._access.known(call.uid, call.gid) or "", call.uid)
            if line.command.prints and self._print_wait(call) != 0:
                return None
            outcome = self._kernel.ask_at_once(line)
        except Exception:  # noqa: BLE001 - a refusal too: `handle` meets it again, and says so
            return None
        if outcome is None or outcome.kind not in (ANSWERED, REFUSED):
            return None
        return self._kernel.shown(line, outcome).data, outcome.error

    async def handle(self, call: Call) -> None:
        """Answer one request, whatever it is.

        Raises: ClientGone
        """
        try:
            if not await self._allowed(call):
                return
            line = _line(call)
            if line.command.served == KERNEL:
                await self._answer_of_kernel(call, line)
            elif line.command.served == GUEST:
                await self._own.answer(call, line)
            else:
                name = line.command.name
                raise Refusal(f"`{name}` is for the supervisor's own socket", -errno.EINVAL)
        except Refusal as refusal:
            self._refused(call, refusal)
            await call.answer(str(refusal), refusal.error)
        except ClientGone:
            raise
        except Exception as problem:  # noqa: BLE001 - one request must not end a guest
            await self._has_failed(call, problem)

    async def _answer_of_kernel(self, call: Call, line: CommandLine) -> None:
        """Raises: ClientGone, Refusal"""
        await self._kernel.check(line)
        if line.command.prints:
            await self._print_slowly(call)
        outcome = await self._kernel.ask(call, line)
        self._note(call, line, outcome)
        outcome = self._kernel.shown(line, outcome)
        if outcome.kind in (ANSWERED, REFUSED):
            await call.answer(outcome.data, outcome.error)
        elif outcome.kind == TRUNCATED:
            await call.answer(outcome.data, exitcodes.ENODATA)
        else:
            await call.answer(str(outcome), _ERRORS[outcome.kind])

    async def _has_failed(self, call: Call, problem: Exception) -> None:
        """Tell the client what went wrong in the supervisor.

        Raises: ClientGone
        """
        if limits.is_lacking(problem):
            said = f"not done: {limits.explained(problem)}"
            self._note_sparingly(call, "failed", _text(call), said)
            await call.answer(said, -errno.EAGAIN)
            return
        trace = "".join(traceback.format_exception(problem))
        self._guest.history.add("internal error", text=trace, request=_text(call)[:80], **by(call))
        await call.answer(f"internal error: {problem!r}; see `umlctl events`", -errno.EIO)

    async def _allowed(self, call: Call) -> bool:
        """See whether the client may ask this; if not, tell it.

        Raises: ClientGone
        """
        level = self._access.known(call.uid, call.gid)
        if level is None:
            level = await trio.to_thread.run_sync(self._access.level, call.uid, call.gid)
        try:
            access.check_is_free(call.pid)
            if level == CONTROL:
                return True
            access.check(_line_if_any(call), level, call.uid)
        except Refusal as refusal:
            self._guest.clients_refused += 1
            self._note_sparingly(call, "client refused", _text(call), str(refusal))
            await call.answer(str(refusal), refusal.error)
            return False
        return True

    def _print_wait(self, call: Call) -> float | None:
        bucket = self._prints.get(call.uid)
        if bucket is None:
            bucket = self._prints[call.uid] = TokenBucket(
                PRINTS_AT_ONCE, PRINTS_A_SECOND, PRINT_TIMEOUT
            )
        return bucket.take(trio.current_time())

    async def _print_slowly(self, call: Call) -> None:
        """Slow down a client that has the kernel print much.

        Raises: Refusal
        """
        wait = self._print_wait(call)
        if wait is None:
            raise Refusal("too much is being printed on the console; try again", -errno.EBUSY)
        await trio.sleep(wait)

    def _refused(self, call: Call, refusal: Refusal) -> None:
        """Count a refusal, and note it. A mistyped line is not noted, nor is all of a flood, or the
        history would hold nothing else."""
        self._guest.refused += 1
        if refusal.error not in MISTYPED_ERRORS:
            self._note_sparingly(call, "refused", _text(call), str(refusal))

    def _note_sparingly(self, call: Call, event: EventName, request: str, said: str) -> None:
        left_out = self._sparing[event].take(trio.current_time())
        if left_out is not None:
            self._guest.history.add(
                event, text=said, request=request[:80], left_out=left_out or None, **by(call)
            )

    def _note(self, call: Call, line: CommandLine, outcome: Outcome) -> None:
        """Note what an answer means for the guest's history."""
        name = line.command.name
        if not outcome.ok:
            if not is_query(line):
                self._note_sparingly(call, "failed", line.text, str(outcome).strip())
        elif name in NOTED_COMMANDS:
            self._guest.history.add(NOTED_COMMANDS[name], **by(call))


def _text(call: Call) -> str:
    return call.data.decode("utf-8", "surrogateescape")


def _line(call: Call) -> CommandLine:
    """The line of a request, which is read once.

    Raises: Refusal: it cannot be read
    """
    if call.read is None:
        try:
            call.read = read(_text(call))
        except Refusal as refusal:
            call.read = refusal
    if isinstance(call.read, Refusal):
        raise call.read
    assert isinstance(call.read, CommandLine)
    return call.read


def _line_if_any(call: Call) -> CommandLine | None:
    """The line of a request; None if it cannot be read."""
    try:
        return _line(call)
    except Refusal:
        return None
