"""The kernel's side of every exchange: one request in flight, each with an outcome.

The kernel serves queued requests last in, first out, and drops replies to a full queue. So requests
wait here, in order. When the kernel panics, reboots or dies, `mark_gone` ends the request in
flight at once, and those behind it. While the kernel is wedged, requests are refused at once, and
the supervisor asks it now and then whether it is back.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager, suppress
from errno import EIO
from typing import TYPE_CHECKING, Final

import trio

from socketproto.blocking import Unreachable, kicker
from socketproto.client import Client
from socketproto.exchange import (
    ANSWERED,
    GONE,
    MAX_ANSWER_BYTES,
    REFUSED,
    TIMED_OUT,
    TRUNCATED,
    Outcome,
)
from umlctl.host import limits
from umlctl.protocol.commands import BY_NAME
from umlctl.protocol.guard import is_guest_file
from umlctl.protocol.proc_files import is_cut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ASK_TIMEOUT: Final = 10.0
"""The longest that the kernel may take to answer one request, seconds."""
SURE_PIECES: Final = 150
"""How many replies surely fit the kernel's send buffer, whatever their size. With more, the kernel
may have dropped some unseen. Measured: 167 of 524 bytes, 278 small ones."""
PIECE_TIMEOUT: Final = 1.0
"""The longest pause between two replies of one answer, seconds. The kernel sends an answer in one
go, so one that pauses longer has lost its end."""
AT_ONCE_TIMEOUT: Final = 0.0002
"""How long a question may hold up all other tasks for its answer, seconds. To give way to them and
be woken again costs as much."""
MAX_SKIPPED_QUESTIONS: Final = 15
"""The most questions that go the usual way after the kernel did not answer one at once: none after
one such question, 1 after the second in a row, then 3, 7 and so on. On a busy host a question may
be unlucky, 7 of 100 were; a busy guest answers none at once."""
QUIET_TIMEOUT: Final = 0.1
"""How long the kernel may be silent before it is seen whether a stopped kernel keeps the question,
seconds."""
SETTLE_TIMEOUT: Final = 0.02
"""How long a kernel that has answered `go` may take to show whether it runs, seconds."""
MAX_WEDGES: Final = 20
"""How often `go` tries to free a guest: a guest can be stuck in `stop` several times over."""
DESCRIPTOR_TIMEOUT: Final = 1.0
DESCRIPTOR_INTERVAL: Final = 0.01
"""How long a request waits for a descriptor where the supervisor has none left, and the time
between two tries, seconds."""
PROBE_TIMEOUT: Final = 1.0
"""The longest that a kernel in trouble may take to answer, seconds."""
REASON_TIMEOUT: Final = 1.0
"""How long the reason may take to be known after the kernel's socket was closed, seconds."""
FRAGILE_REASON: Final = (
    "with time-travel=ext a kernel dies of any request but help, log, sysrq, stack, cad and go"
)
"""Such a kernel takes requests where there are no interrupted registers, and all other requests
need those. Source: arch/um/drivers/mconsole_kern.c, mconsole_interrupt"""
QUIET_QUESTION: Final = "k"
"""A command that the kernel does not know: it answers that at once, in interrupt context."""


class Unsent(Outcome):
    """An exchange that ended before the kernel had the request, so it may be tried again."""

    __slots__ = Outcome.__slots__  # the values of which it is made, for equality


class Mark:
    """A file that exists while a kernel is stopped for the time of a read. A supervisor that is
    killed meanwhile leaves the file, and the kernel stopped."""

    def __init__(self, path: str) -> None:
        """path: empty for no file"""
        self._path = path

    @contextmanager
    def set(self) -> Iterator[None]:
        """Have the file while the kernel is stopped for a read, for a supervisor that comes after
        this."""
        try:
            if self._path:
                os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
            yield
        finally:
            self.clear()

    def clear(self) -> bool:
        """Remove the file: the kernel is stopped for no read any more. True if the file was
        there."""
        try:
            os.unlink(self._path)
        except OSError:
            return False
        return True


class KernelClient:
    """A kernel's own mconsole socket, as its supervisor uses it.

    Fields:
        path: of the socket
        owner: the uid that must have made the socket, see `Link`
        trouble: why the kernel cannot answer now; empty if it can
        fragile: why all but what it answers in interrupt context would kill it; empty if not
        exchanges: requests sent to the kernel so far
        resets: it was told to reboot, and has not begun again
        mark: set while the kernel is stopped for the time of a read
    """

    def __init__(
        self,
        path: str,
        changed: Callable[[str], None],
        held: Callable[[], object] = lambda: False,
        stopped: Callable[[], bool] = lambda: False,
        marker: str = "",
        owner: int | None = None,
        *,
        replies: str = "",
    ) -> None:
        """changed: called with `trouble` whenever it begins ("wedged...") or ends ("").

        held: whether the kernel is kept from running, as by a debugger: requests then wait
        stopped: whether the host sees the kernel wait in `stop` for a request
        marker: the path of `mark`
        owner: the uid that the kernel runs as, if that is another user's: that user can put any
            socket in the place of the kernel's
        replies: see `Link`
        """
        self.path, self.owner, self.replies = path, owner, replies
        self.trouble = self.fragile = self._lost = ""
        self.resets = False
        self._changed, self._held, self._stopped = changed, held, stopped
        self.mark = Mark(marker)
        self._lock = trio.Lock()
        self._question = Client(path, owner, replies=replies)
        with suppress(OSError):
            kicker()  # while there is a descriptor for it
        self._skip = self._skipped = self.exchanges = 0
        self._flying: trio.CancelScope | None = None

    def mark_gone(self, reason: str) -> None:
        """The kernel is gone: requests that wait end with `reason` now, and new ones do until
        `mark_back`."""
        self._lost = reason
        if self._flying is not None:
            self._flying.cancel()
        self._question.close()

    def mark_back(self) -> None:
        """There is a kernel again."""
        self._lost = self.trouble = ""

    def mark_stuck(self, trouble: str) -> None:
        """The kernel does not answer."""
        self.trouble = trouble
        self._changed(trouble)

    @property
    def busy(self) -> bool:
        """Whether a request is under way: it may be why the kernel looks as it does now."""
        return self._lock.locked()

    async def ask(self, text: str, timeout: float = ASK_TIMEOUT, *, renew: float = 0.0) -> Outcome:
        """Make one exchange, in its turn.

        timeout: seconds, suspended while the kernel is held
        renew: if not 0, the longest pause between two replies, seconds; after that the end is lost
        """
        if (unable := self.refusal(text)) is not None:
            return unable
        async with self._lock:
            if self.trouble:
                timeout = min(timeout, PROBE_TIMEOUT)
            self.resets = self.resets or text == "reboot"
            outcome = await self._ask(text, timeout, renew=renew)
            if text == "reboot":  # the kernel answers first, and a request may be its end now
                self._lost = "the guest reboots" if outcome.ok else self._lost
                self.resets = not isinstance(outcome, Unsent) and outcome.kind != REFUSED
            return outcome

    def refusal(self, text: str) -> Outcome | None:
        """The outcome of an exchange that need not be tried; None: it can be tried."""
        if self._lost:
            return Unsent(GONE, reason=self._lost)
        command = BY_NAME.get(text.partition(" ")[0])
        is_safe = text == QUIET_QUESTION or (command is not None and command.interrupt)
        if self.fragile and not is_safe:
            return Unsent(REFUSED, -errno.EOPNOTSUPP, f"refused: {self.fragile}".encode())
        if self.trouble and not is_safe:
            return Outcome(TIMED_OUT, reason=self.trouble)
        return None

    def ask_at_once(self, question: str) -> Outcome | None:
        """Make one exchange without giving way to other tasks, if no other request is under way.

        None if the answer did not come at once. The caller has to ask again, so this is for
        questions that change nothing. The socket is kept: a new one costs half as much as the rest.
        """
        if self.refusal(question) is not None or self.trouble or self._lock.locked():
            return None
        if self._skip:
            self._skip -= 1
            return None
        try:
            outcome = self._question.ask_at_once(question, AT_ONCE_TIMEOUT)
        except OSError:
            return None
        if (kept := self._question.link.socket) and kept.fileno() >= limits.most_to_keep():
            self._question.close()  # clients need the descriptor more
        self.exchanges += 1
        if outcome is None:
            self._skip = self._skipped
            self._skipped = min(2 * self._skipped + 1, MAX_SKIPPED_QUESTIONS)
            return None
        self._skipped = 0
        return None if outcome.pieces > SURE_PIECES else outcome

    async def _ask(
        self,
        text: str,
        timeout: float = ASK_TIMEOUT,
        *,
        renew: float = 0.0,
        probe: bool = False,
        each: Callable[[bytes], None] | None = None,
    ) -> Outcome:
        """Make one exchange; the caller has the lock.

        each: called with what a reply carries, if it carries something
        """
        unable = self.refusal("go" if probe else text)
        if unable is not None:
            return unable
        if probe:
            return await self._exchange(text, timeout, renew, each, _never)
        if _is_query(text):
            outcome = await self._ask_until_answered(text, timeout, renew, each)
        else:
            outcome = await self._exchange(text, timeout, renew, each, self._is_held)
        if outcome.kind == TIMED_OUT:
            name = text.partition(" ")[0]
            self.mark_stuck(
                f"the kernel has not answered `{name}` within {timeout:.3g} seconds; "
                "it is asked again until it does"
            )
        return outcome

    async def _ask_until_answered(
        self, text: str, timeout: float, renew: float, each: Callable[[bytes], None] | None
    ) -> Outcome:
        """Ask a question, and ask it again if a stopped kernel keeps it.

        The kernel frees what a request had opened only after its answer. If that has to wait, the
        interrupt handler takes the next request and keeps it until `go`. The kicks of a client that
        waits free the handler. Seen on 6.1 with `proc 1/mountinfo` every few times, and with
        anything after `stack`.
        """
        end = trio.current_time() + timeout
        begun = False

        def take(data: bytes) -> None:
            nonlocal begun
            begun = True
            if each is not None:
                each(data)

        def goes_on() -> bool:
            nonlocal end
            if self._is_held():
                end = trio.current_time() + timeout
                return True
            if begun and renew:
                return False
            return trio.current_time() < end and (begun or not self._stopped())

        while True:
            outcome = await self._exchange(text, min(QUIET_TIMEOUT, timeout), renew, take, goes_on)
            if outcome.kind != TIMED_OUT or begun or trio.current_time() >= end:
                return outcome

    async def _exchange(
        self,
        text: str,
        timeout: float,
        renew: float,
        each: Callable[[bytes], None] | None,
        suspended: Callable[[], bool],
    ) -> Outcome:
        client = Client(self.path, self.owner, replies=self.replies)
        with trio.CancelScope() as scope, client:
            # A fresh socket for each request: no late reply can be taken for the next one's.
            self._flying = scope
            self.exchanges += 1
            try:
                await _open(client)
                outcome = await client.request(
                    text, timeout, renew=renew, each=each, keep=True, suspended=suspended
                )
            except Unreachable as problem:
                return Unsent(GONE, reason=f"the kernel's socket is gone ({problem.why})")
            except OSError as problem:
                said = f"the kernel was not asked: {limits.explained(problem)}"
                return Unsent(REFUSED, -(problem.errno or EIO), said.encode())
            else:
                if outcome.kind == GONE:
                    # `mark_gone` ends this sleep as soon as the reason is known.
                    await trio.sleep(REASON_TIMEOUT)
                return outcome
            finally:
                self._flying = None
        return Outcome(GONE, reason=self._lost or "the request was cancelled")

    async def read_file(self, text: str, *, may_stop: bool) -> Outcome:
        """Make a `proc` request whose answer is whole, or says that it is not.

        The kernel sends without waiting, and drops what its send buffer cannot hold. The end of an
        answer can be among that, or can come though pieces before it are lost. While the kernel is
        stopped, its socket waits; so a long answer is then read again.

        may_stop: the guest runs, and may be stopped for the time of one read
        """
        unable = self.refusal(text)
        if unable is not None:
            return unable
        async with self._lock:
            outcome = await self._read(text)
            long = outcome.pieces > SURE_PIECES and len(outcome.data) < MAX_ANSWER_BYTES
            if not (long and may_stop and outcome.kind in (ANSWERED, TRUNCATED)):
                return outcome
            with self.mark.set():
                if not (await self._ask("stop")).ok:
                    return outcome
                try:
                    return await self._read(text)
                finally:
                    end = trio.current_time() + ASK_TIMEOUT
                    with trio.CancelScope(shield=True, deadline=end):
                        await self._resume()

    async def _read(self, text: str) -> Outcome:
        """Make a `proc` request; for a file of the guest's own, see whether it was cut."""
        sizes: list[int] = []
        outcome = await self._ask(
            text, renew=PIECE_TIMEOUT, each=lambda data: sizes.append(len(data))
        )
        if outcome.ok and is_guest_file(text.partition(" ")[2]) and is_cut(sizes, outcome.pieces):
            lost = "zero bytes, and what is behind them, are missing"
            return Outcome(TRUNCATED, 0, outcome.data, lost, outcome.pieces)
        return outcome

    def _is_held(self) -> bool:
        return bool(self._held())

    async def recover(self) -> bool:
        """Ask a kernel in trouble whether it is back; True if it is."""
        async with self._lock:
            if not self.trouble or self._lost:
                return True
            question = "help" if self.fragile else "version"
            answered = await self._ask(question, PROBE_TIMEOUT, probe=True)
            if not answered.ok:
                await self._unwedge()
                answered = await self._ask(question, PROBE_TIMEOUT, probe=True)
            if answered.ok:
                self.trouble = ""
                self._changed("")
            return answered.ok

    async def resume(self) -> Outcome:
        """Send `go`, even to a guest that is stuck in `stop` several times over."""
        async with self._lock:
            return await self._resume()

    async def _resume(self) -> Outcome:
        outcome = await self._ask("go", PROBE_TIMEOUT if self.trouble else ASK_TIMEOUT)
        for _ in range(MAX_WEDGES):
            await trio.sleep(SETTLE_TIMEOUT)
            if outcome.kind not in (ANSWERED, REFUSED) or not self._stopped():
                break
            freed = await self._unwedge()
            outcome = freed if freed.ok else outcome
        return outcome

    async def _unwedge(self) -> Outcome:
        """Free a kernel whose interrupt handler waits on its own socket.

        A request that sleeps while the guest is stopped can leave the handler so. An unknown
        command, its error awaited, and a `go` a little later free it (7 of 7). Both at once do not.
        A guest that is merely slow takes no harm from them.
        """
        unknown = await self._ask(QUIET_QUESTION, PROBE_TIMEOUT, probe=True)
        if unknown.kind == TIMED_OUT:
            return unknown
        await trio.sleep(0.1)
        return await self._ask("go", PROBE_TIMEOUT, probe=True)


async def _open(client: Client) -> None:
    """Open a client's socket; a descriptor or the like that is lacking now may be there soon.

    Raises: Unreachable; OSError
    """
    end = trio.current_time() + DESCRIPTOR_TIMEOUT
    while True:
        try:
            client.link.open()
        except Unreachable:
            raise
        except OSError:
            if trio.current_time() > end:
                raise
        else:
            return
        await trio.sleep(DESCRIPTOR_INTERVAL)


def _is_query(text: str) -> bool:
    """Whether a request changes nothing, so that it may be sent again."""
    name, _, argument = text.partition(" ")
    command = BY_NAME.get(name)
    return command is not None and command.is_query(argument)


def _never() -> bool:
    return False
