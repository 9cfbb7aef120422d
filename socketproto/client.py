"""The trio end of a client: the same `Link` as in `blocking`, with waits that can be cancelled."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self

import trio

from socketproto.blocking import (
    DEFAULT_TIMEOUT,
    FIRST_KICK_INTERVAL,
    MAX_KICK_INTERVAL,
    MAX_LATE_DATAGRAMS,
    NO_ANSWER,
    NOT_SENT,
    Link,
    encode,
    give_up,
)
from socketproto.exchange import ANSWERED, REFUSED, WAITING, Exchange, Outcome
from socketproto.spin import readable_soon
from socketproto.wire import WireError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Client"]

RETRY_INTERVAL: Final = 0.05
"""The time between two tries to send where no descriptor is left to wait with, seconds."""


class Client:
    """A client of an mconsole server. Requests of several tasks are sent one after another."""

    def __init__(self, path: str, owner: int | None = None, *, replies: str = "") -> None:
        """owner: the uid that must own the server's socket; replies: see `Link`"""
        self.link = Link(path, owner, replies=replies)
        self._lock = trio.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.link.close()

    async def request(
        self,
        command: str | bytes,
        timeout: float = DEFAULT_TIMEOUT,
        *,
        renew: float = 0.0,
        each: Callable[[bytes], None] | None = None,
        keep: bool = False,
        suspended: Callable[[], bool] = lambda: False,
    ) -> Outcome:
        """Send one command and wait for its outcome, as `blocking.Connection.request`.

        keep: collect the data for the outcome, though `each` has it too
        suspended: asked when the deadline has passed: the server is held, as by a debugger, and
            the deadline begins anew

        If the request is cancelled, the socket is thrown away, so that no late reply is taken.

        Raises: Unreachable, WireError; OSError: this process lacks what it takes (LACKING)
        """
        datagram = encode(command)
        async with self._lock:
            exchange = Exchange()
            deadline = _Deadline(timeout, renew, suspended)
            try:
                if not await self._send(datagram, deadline):
                    exchange.silence(NOT_SENT)
                else:
                    try:
                        await self._collect(exchange, deadline, each, keep=keep)
                    except OSError as problem:  # the request was sent, and may have been done
                        exchange.silence(f"{NO_ANSWER}: {problem}")
            finally:
                outcome = exchange.outcome
                if outcome is None or outcome.kind not in (ANSWERED, REFUSED):
                    self.close()
            assert outcome is not None
            return outcome

    def ask_at_once(self, question: str | bytes, patience: float) -> Outcome | None:
        """Ask without giving way to other tasks, for an answer that is due at once.

        None if the answer did not come within `patience` seconds, as from a server that is gone, or
        if another task's exchange is under way. The answer is then lost, so the question must do no
        harm if it is asked again.

        Raises: Unreachable, WireError; OSError: LACK_ERRORS
        """
        if self._lock.locked() or not self.link.send(encode(question), look=False):
            return None
        exchange = Exchange()
        assert self.link.socket is not None
        deadline = trio.current_time() + patience
        while exchange.outcome is None:
            if not readable_soon(self.link.socket, deadline - trio.current_time()):
                break
            datagram = self.link.receive()
            if datagram is not None:
                with suppress(WireError):
                    exchange.receive(datagram)
        if exchange.outcome is None:
            self.close()
        return exchange.outcome

    async def _send(self, datagram: bytes, deadline: _Deadline) -> bool:
        while not self.link.send(datagram):
            if deadline.passed():
                return False
            # Only a connected socket can be waited for, and a listener's client has not connected.
            try:
                other = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            except OSError:
                await trio.sleep(RETRY_INTERVAL)
                continue
            with other:
                with suppress(OSError):
                    other.connect(self.link.address)
                with trio.move_on_at(deadline.at):
                    await trio.lowlevel.wait_writable(other)
        return True

    async def _collect(
        self,
        exchange: Exchange,
        deadline: _Deadline,
        each: Callable[[bytes], None] | None,
        *,
        keep: bool,
    ) -> None:
        link = self.link
        assert link.socket is not None
        link.socket.setblocking(False)
        pause = MAX_KICK_INTERVAL if link.served else FIRST_KICK_INTERVAL
        gone = ""
        late = 0
        while exchange.outcome is None:
            late = late + 1 if deadline.passed() else 0
            if late and (late > MAX_LATE_DATAGRAMS or exchange.state != WAITING):
                give_up(exchange, gone)
                return
            try:
                datagram = link.receive()
            except BlockingIOError:
                if gone or late:
                    give_up(exchange, gone)
                    return
                with trio.move_on_at(min(trio.current_time() + pause, deadline.at)) as nap:
                    await trio.lowlevel.wait_readable(link.socket.fileno())
                if nap.cancelled_caught:
                    gone = link.kick()  # the server's last reply may have come since
                    pause = min(pause * 2, MAX_KICK_INTERVAL)
                continue
            if datagram is None:
                continue
            try:
                reply = exchange.receive(datagram, keep=keep or each is None)
            except WireError:
                continue
            deadline.renew()
            if each is not None and reply.data:
                each(reply.data)


class _Deadline:
    """When the client gives up an exchange.

    Fields:
        at: by trio's clock
    """

    def __init__(self, timeout: float, renewed: float, suspended: Callable[[], bool]) -> None:
        self.at = trio.current_time() + timeout
        self._timeout = timeout
        self._renewed = renewed
        self._suspended = suspended

    def passed(self) -> bool:
        if trio.current_time() < self.at:
            return False
        if not self._suspended():
            return True
        self.at = trio.current_time() + self._timeout
        return False

    def renew(self) -> None:
        if self._renewed:
            self.at = trio.current_time() + self._renewed
