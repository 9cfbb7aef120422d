"""Whether a guest is well: it answers, its clock moves, and nothing keeps it from running.

A guest that is stopped on purpose, or held by a debugger or a signal, is not hung. Nor is a guest
that cannot be asked because its kernel's socket was removed.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import trio

from socketproto.exchange import GONE, REFUSED, TIMED_OUT, Outcome
from umlctl.supervisor.kernel import Unsent
from umlctl.supervisor.lifecycle import BOOTING, DEAD, REBOOTING, RUNNING, STOPPED, Hung, WellAgain

if TYPE_CHECKING:
    from collections.abc import Callable

    from umlctl.guest.definition import Definition
    from umlctl.host.processes import Held
    from umlctl.supervisor.history import History
    from umlctl.supervisor.kernel import KernelClient
    from umlctl.supervisor.kernel_socket import KernelSocket
    from umlctl.supervisor.lifecycle import Event, Lifecycle
    from umlctl.supervisor.process import GuestProcesses

LOOK_INTERVAL: Final = 1.0
"""The time between two looks at the host's side of a guest, seconds."""
CLOCK_QUESTION: Final = "proc uptime"
"""A question that only a guest that is well answers, and differently each time."""
QUESTIONS_UNTIL_HUNG: Final = 3
"""How often the guest is asked in the time after which it counts as hung."""
QUESTION_TIMEOUT: Final = 10.0
"""The longest that one question may wait for its answer, seconds."""


class Watchdog:
    """Watches one life of a guest.

    Fields:
        unreachable: why the kernel cannot be asked, though it may be well; empty if it can
    """

    def __init__(
        self,
        definition: Definition,
        lifecycle: Lifecycle,
        handle: Callable[[Event], None],
        history: History,
        kernel: KernelClient,
        kernel_socket: KernelSocket,
        process: GuestProcesses,
        look: Callable[[], None],
    ) -> None:
        """handle: takes what happens to the guest

        look: sees whether the guest was stopped or resumed past the supervisor
        """
        self.unreachable = ""
        self._definition = definition
        self._lifecycle = lifecycle
        self._handle = handle
        self._history = history
        self._kernel = kernel
        self._kernel_socket = kernel_socket
        self._process = process
        self._look_for_pauses = look
        self._limit = definition.hang_after
        self._held: Held | None = None
        self._held_since = 0.0
        self._clock = ""
        self._unfed = False
        self._well = self._asked = trio.current_time()

    async def run(self, begin: trio.Event | None) -> None:
        """Watch until cancelled.

        begin: set at the end of the first boot, for which there is a limit; None: another
            supervisor has seen that
        """
        if begin is not None:
            await begin.wait()
        self._mark_well()
        while True:
            await trio.sleep(min(LOOK_INTERVAL, self._limit / QUESTIONS_UNTIL_HUNG))
            await self.look()

    async def look(self) -> None:
        """Look once."""
        life, kernel = self._lifecycle, self._kernel
        self._look_for_pauses()
        if self._is_kept():
            self._mark_well()
            return
        now = trio.current_time()
        due = now - self._asked >= self._limit / QUESTIONS_UNTIL_HUNG
        if life.state == RUNNING and due and not kernel.trouble:
            self._asked = now
            await self._ask_its_clock()
        if self._is_kept():  # it may be held since it was asked
            self._mark_well()
            return
        patience = self._limit
        if life.state == REBOOTING or (life.state == BOOTING and not life.known):
            patience = max(patience, self._definition.timeout)
        if trio.current_time() - self._well > patience:
            why = kernel.trouble or f"nothing of it has moved for {patience:g} seconds"
            if life.state == BOOTING:
                why = f"it has not answered since it was adopted, {patience:g} seconds ago"
            self._mark_hung(why)

    def since(self, held: Held) -> float:
        """When the guest began to be held, seconds since 1970; now, if that was not seen before."""
        self._note_held(held)
        return self._held_since

    def mark_unreachable(self, why: str) -> None:
        """Note that the kernel's socket was removed, so that it cannot be asked; empty: it can
        again."""
        if why and not self.unreachable:
            self._history.add("unreachable", text=why)
        elif self.unreachable and not why:
            self._history.add("reachable again")
        self.unreachable = why

    def mark_unfed(self) -> None:
        """Note that the guest's watchdog was not fed: what should feed it hangs, though the clock
        may move."""
        self._unfed = True
        self._mark_hung("its watchdog was not fed")

    def reset(self) -> None:
        """Note that the guest reboots: that is the end of what hung."""
        self._unfed = False
        self._mark_well()

    async def _ask_its_clock(self) -> None:
        seconds = max(LOOK_INTERVAL, min(self._limit / QUESTIONS_UNTIL_HUNG, QUESTION_TIMEOUT))
        outcome = Outcome(TIMED_OUT)
        with trio.move_on_after(
            seconds + LOOK_INTERVAL
        ):  # a kernel that is held answers once it is let go
            outcome = await self._kernel.ask(CLOCK_QUESTION, seconds)
        unsent = outcome.kind if isinstance(outcome, Unsent) else ""
        if unsent == REFUSED:
            self._mark_well()  # as far as the supervisor can see
        elif unsent == GONE and self._kernel_socket.is_nameless(self._process.pid):
            self.mark_unreachable(outcome.reason)
            self._mark_well()  # likewise
        elif outcome.ok and outcome.text != self._clock:
            self._clock = outcome.text
            self.mark_unreachable("")
            self._mark_well()

    def _is_kept(self) -> bool:
        """Whether the guest is not to run: it is held, or stopped, or dead."""
        self._note_held(self._process.held())
        return self._held is not None or self._lifecycle.state in (STOPPED, DEAD)

    def _mark_hung(self, why: str) -> None:
        if not self._lifecycle.hung:
            self._handle(Hung(why=why))

    def _mark_well(self) -> None:
        self._well = trio.current_time()
        if self._lifecycle.hung and not self._unfed and self._lifecycle.state == RUNNING:
            self._handle(WellAgain())

    def _note_held(self, held: Held | None) -> None:
        if (held is None) != (self._held is None):
            if held is not None:
                self._held_since = time.time()
                self._history.add(held.state, text=held.by)
            else:
                self._history.add("released")
        self._held = held
