"""Whether a guest is well: it answers, its clock moves, and nobody keeps it from running.

A guest that is stopped on purpose, or held by a debugger or a signal, is not hung. Nor is one that
nobody can ask, since its kernel's socket was removed.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import trio

from socketproto.exchange import GONE, REFUSED
from umlctl.supervisor.kernel import Unsent
from umlctl.supervisor.kernel_socket import is_open
from umlctl.supervisor.lifecycle import RUNNING, Hung, WellAgain

if TYPE_CHECKING:
    from umlctl.host.processes import Held
    from umlctl.supervisor.guest import Guest

LOOK: Final = 1.0
"""Between two looks at the host's side of a guest, seconds."""
CLOCK: Final = "proc uptime"
"""What only a guest that is well answers, and differently each time."""
ASKED: Final = 3
"""How often it is asked in the time after which it counts as hung."""
PATIENCE: Final = 10.0
"""The longest that one question waits, seconds."""


class Watcher:
    """Watches one life of a guest.

    Fields:
        unreachable: why its kernel cannot be asked, though it may be well; empty if it can
    """

    def __init__(self, guest: Guest) -> None:
        self.unreachable = ""
        self._guest = guest
        self._limit = guest.launched.definition.hang_after
        self._held: Held | None = None
        self._held_since = 0.0
        self._clock = ""
        self._unfed = False
        self._well = self._asked = trio.current_time()

    async def run(self) -> None:
        """Watch until cancelled: from the end of the first boot on, for which there is a limit; or
        from the beginning, where another supervisor has seen that."""
        if not self._guest.launched.adopted:
            await self._guest.ready.wait()
        self._is_well()
        while True:
            await trio.sleep(min(LOOK, self._limit / ASKED))
            await self.look()

    async def look(self) -> None:
        """Look once."""
        guest = self._guest
        guest.pauses.look()
        if self._is_kept():
            self._is_well()
            return
        now = trio.current_time()
        due = now - self._asked >= self._limit / ASKED
        if guest.state == "running" and due and not guest.kernel.trouble:
            self._asked = now
            outcome = await guest.kernel.ask(CLOCK, max(LOOK, min(self._limit / ASKED, PATIENCE)))
            if outcome.kind == REFUSED and isinstance(outcome, Unsent):
                self._is_well()  # as far as we can see
            elif outcome.kind == GONE and isinstance(outcome, Unsent) and self._lost_its_name():
                self.is_unreachable(outcome.reason)
                self._is_well()  # likewise
            elif outcome.ok and outcome.text != self._clock:
                self._clock = outcome.text
                self.is_unreachable("")
                self._is_well()
        if self._is_kept():  # since it was asked
            self._is_well()
            return
        patience = self._limit
        if guest.state == "rebooting" or (guest.state == "booting" and not guest.lifecycle.known):
            patience = max(patience, guest.launched.definition.timeout)
        if trio.current_time() - self._well > patience:
            why = guest.kernel.trouble or f"nothing of it has moved for {patience:g} seconds"
            if guest.state == "booting":
                why = f"it has not answered since it was adopted, {patience:g} seconds ago"
            self.is_hung(why)

    def since(self, held: Held) -> float:
        """When somebody began to hold it, seconds since 1970; seen just now, if not before."""
        self._note_held(held)
        return self._held_since

    def is_unreachable(self, why: str) -> None:
        """Its kernel's socket was removed, and nobody can ask it how it is; empty: it was."""
        if why and not self.unreachable:
            self._guest.history.add("unreachable", text=why)
        elif self.unreachable and not why:
            self._guest.history.add("reachable again")
        self.unreachable = why

    def _lost_its_name(self) -> bool:
        """Its kernel has its socket, but the name is gone that leads there."""
        if self._guest.kernel_socket.is_there():
            return False  # it cannot be asked, since it panicked or reboots
        return is_open(self._guest.launched.pid, self._guest.kernel.path)

    def is_unfed(self) -> None:
        """Its watchdog was not fed: what should feed it hangs, though its clock may move."""
        self._unfed = True
        self.is_hung("its watchdog was not fed")

    def begins_anew(self) -> None:
        """It reboots: that is the end of what hung."""
        self._unfed = False
        self._is_well()

    def is_hung(self, why: str) -> None:
        """It hangs: that is said once, and done what is to be done then."""
        if not self._guest.lifecycle.hung:
            self._guest.handle(Hung(why=why))

    def _is_kept(self) -> bool:
        """It is not to run: somebody holds it, or it is stopped, or dead."""
        self._note_held(self._guest.held())
        return self._held is not None or self._guest.state in ("stopped", "dead")

    def _is_well(self) -> None:
        self._well = trio.current_time()
        life = self._guest.lifecycle
        if life.hung and not self._unfed and life.state == RUNNING:
            self._guest.handle(WellAgain())

    def _note_held(self, held: Held | None) -> None:
        if (held is None) != (self._held is None):
            if held is not None:
                self._held_since = time.time()
                self._guest.history.add(held.state, text=held.by)
            else:
                self._guest.history.add("released")
        self._held = held
