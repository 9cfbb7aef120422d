"""Ending a guest in order, as far as the guest lets its supervisor."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Final

import trio

from socketproto.exchange import ANSWERED, REFUSED, Outcome
from umlctl.state.endings import NOT_SYNCED
from umlctl.supervisor.emergency import REMOUNT, SYNC, emergency, lost
from umlctl.supervisor.kernel import ASK_TIMEOUT, Unsent
from umlctl.supervisor.lifecycle import BOOTING, STOPPED, KillWanted

if TYPE_CHECKING:
    from collections.abc import Callable

    from umlctl.supervisor.kernel import KernelClient
    from umlctl.supervisor.lifecycle import Event, Lifecycle
    from umlctl.supervisor.pauses import Pauses
    from umlctl.supervisor.process import GuestProcesses
    from umlctl.supervisor.readiness import Milestones

ANSWER_TIMEOUT: Final = 2.0
"""How long the kernel may take for each request, seconds."""
CAD_TIMEOUT: Final = 10.0
"""How long the kernel may take to answer on a busy host, where the guest's own shutdown depends on
it, seconds: it may do what it was asked later, and must not be halted in the middle of that."""
HALT_TIMEOUT: Final = 2.0
"""How long a halt may take, seconds."""
TERM_TIMEOUT: Final = 2.0
"""How long a guest may take to end after SIGTERM, seconds."""
FIRST_ANSWER_TIMEOUT: Final = 2.0
"""How long a guest that was just adopted, or reboots, may take to answer first, seconds."""
NAMED_TIMEOUT: Final = 5.0
"""How long it may take until a kernel's socket that lost its name has one again, seconds."""
HELD_INTERVAL: Final = 0.1
"""The time between two looks at whether a debugger still holds the guest, seconds."""
FORCED_END_TIMEOUT: Final = 30.0
"""How long all steps of the end but the guest's own shutdown may take, seconds."""


class Shutdown:
    """Ends one life of a guest. What is seen of the end is written to its lifecycle."""

    def __init__(
        self,
        lifecycle: Lifecycle,
        handle: Callable[[Event], None],
        milestones: Milestones,
        kernel: KernelClient,
        process: GuestProcesses,
        pauses: Pauses,
        log: str,
    ) -> None:
        """handle: takes what is wanted of the guest

        log: of its console, which has what its kernel says
        """
        self._lifecycle = lifecycle
        self._handle = handle
        self._milestones = milestones
        self._kernel = kernel
        self._process = process
        self._pauses = pauses
        self._log = log

    async def run(self, seconds: float, why: str) -> None:
        """End the guest: its own shutdown, then sync and halt, then SIGTERM, then the group.

        seconds: how long the guest's own shutdown may take
        why: who wants it
        """
        life = self._lifecycle
        if life.comes:
            with trio.move_on_after(min(seconds, FIRST_ANSWER_TIMEOUT)):
                await self._milestones.ready.wait()
        life.asked_to_end = life.asked_to_end or why
        if life.state == BOOTING:
            if life.known:
                life.unsynced = lost("it has not answered since it was adopted")
            self._process.signal(signal.SIGTERM)
        else:
            await self._wait_until_let_go(seconds)
            # A request that waits for a kernel that is held meanwhile must not hold this up.
            with trio.move_on_after(seconds + FORCED_END_TIMEOUT):
                await self._end(seconds)
            if not self._is_dead():
                self._process.signal(signal.SIGTERM)
        await self._die()

    async def halt(self, request: str) -> Outcome:
        """End the guest at once, by the kernel's own means if it can be asked, with nothing synced.

        request: to the kernel
        """
        life = self._lifecycle
        if not self._process.held() and not self._is_dead():
            if life.state == STOPPED:
                await self._pauses.resume()  # a stopped kernel would abort
            life.halted = True  # the guest can have ended by the time of the answer
            outcome = await self._kernel.ask(request, ANSWER_TIMEOUT)
            if outcome.kind == REFUSED:
                life.halted = False
            if outcome.kind in (ANSWERED, REFUSED):
                return outcome
        life.halted = True
        life.asked_to_end = life.asked_to_end or "halted by a user"
        if life.state != BOOTING:
            life.unsynced = NOT_SYNCED
        self._process.signal(signal.SIGTERM)
        await self._die()
        return Outcome(ANSWERED)

    def _is_dead(self) -> bool:
        return self._milestones.dead.is_set()

    async def _die(self) -> None:
        """Wait for the end of the guest; kill it if it does not end by itself."""
        with trio.move_on_after(0.0 if self._process.held() else TERM_TIMEOUT):
            await self._milestones.dead.wait()
        if not self._is_dead():
            self._lifecycle.asked_to_end += "; it did not end by itself"
            self._kill()
            await self._milestones.dead.wait()

    def _kill(self) -> None:
        self._handle(KillWanted(why=self._lifecycle.asked_to_end))

    async def _wait_until_let_go(self, seconds: float) -> None:
        with trio.move_on_after(seconds) as patience:
            while self._process.held():  # noqa: ASYNC110 - nobody tells
                await trio.sleep(HELD_INTERVAL)
        if patience.cancelled_caught:
            held = self._process.held()
            self._lifecycle.unsynced = lost(held.by if held else "it was held")
            self._kill()

    async def _end(self, seconds: float) -> None:
        """Have the guest shut itself down, or save what can be saved and halt it.

        seconds: how long the guest's own shutdown may take
        """
        if self._is_dead():
            return
        life = self._lifecycle
        life.unsynced = lost("its kernel was not heard of in time")
        if life.state == STOPPED:
            await self._kernel.ask("go", ANSWER_TIMEOUT)
            self._pauses.note_running()
        patience = max(ANSWER_TIMEOUT, min(seconds, CAD_TIMEOUT))
        handled = await self._ask_again("proc sys/kernel/ctrl-alt-del", patience)
        if not handled.ok:
            # The kernel cannot be asked who handles Ctrl-Alt-Del. Where no process does, `cad`
            # resets the guest at once, so it is synced first.
            life.unsynced = await self.sync(ANSWER_TIMEOUT)
        late = ""
        if not handled.ok or handled.data.strip() == b"0":
            pressed = await self._kernel.ask("cad", patience)
            late = f"its kernel did not take Ctrl-Alt-Del ({pressed}), and was halted"
            if pressed.ok:
                if handled.ok:
                    life.unsynced = ""  # as far as the guest ends by itself
                with trio.move_on_after(seconds):
                    await self._milestones.dead.wait()
                    return
                late = f"it had not ended by itself within {seconds:g}s, and was halted"
                life.unsynced = lost("it did not end by itself in time")
        if self._is_dead():
            return
        # No process of the guest handles Ctrl-Alt-Del, or not in time: what can be saved, is.
        life.unsynced = await self.sync(ANSWER_TIMEOUT)
        await self._emergency(REMOUNT)
        if not life.unsynced:
            life.late = late
        await self._kernel.ask("halt", ANSWER_TIMEOUT)
        with trio.move_on_after(HALT_TIMEOUT):
            await self._milestones.dead.wait()

    async def _ask_again(self, question: str, timeout: float) -> Outcome:
        """Ask a question; ask it again while the kernel's socket is gone, which is soon put
        back."""
        outcome = await self._kernel.ask(question, timeout)
        with trio.move_on_after(NAMED_TIMEOUT):
            while isinstance(outcome, Unsent) and not self._is_dead():
                await trio.sleep(HELD_INTERVAL)
                outcome = await self._kernel.ask(question, timeout)
        return outcome

    async def sync(self, timeout: float = ASK_TIMEOUT) -> str:
        """Have the kernel write what it has.

        timeout: how long it may take to answer, seconds

        Returns: what may be lost; empty if it was seen to write
        """
        return await self._emergency(SYNC, timeout)

    async def _emergency(self, what: tuple[str, bytes], timeout: float = ANSWER_TIMEOUT) -> str:
        return await emergency(
            what, lambda text: self._kernel.ask(text, timeout), self._log, self._is_dead
        )
