"""A guest that is stopped: for how long, by whom, and how it goes on."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final

import trio

from umlctl.host import processes

if TYPE_CHECKING:
    from socketproto.exchange import Outcome
    from umlctl.host.records import Record
    from umlctl.supervisor.guest import Guest

AGAIN: Final = 1.0
"""Between two tries to resume a guest whose pause is over, seconds."""
MOMENT: Final = 0.1
"""A stopped guest that is seen to run for longer is stopped no more, seconds."""


class Pauses:
    """The pauses in one life of a guest.

    Fields:
        changed: set when it has been stopped or resumed
    """

    def __init__(self, guest: Guest, record: Record) -> None:
        self.changed = trio.Event()
        self._guest = guest
        self._record = record
        self._seen_running = math.inf

    async def run(self) -> None:
        """Resume the guest when a pause has lasted as long as it should."""
        await self._guest.ready.wait()
        saved = self._record.resume
        while True:
            self.changed = trio.Event()
            due = self._record.resume
            if due != saved:
                await self._guest.save()  # for who may have to adopt it
                saved = due
            with trio.move_on_after(max(0.0, due - time.time()) if due else math.inf):
                await self.changed.wait()
                continue
            if self._guest.state != "stopped":
                self._record.resume = 0.0
            elif not (await self.resume()).ok:
                await trio.sleep(AGAIN)

    async def resume(self, **by: int) -> Outcome:
        """`go`."""
        guest = self._guest
        outcome = await guest.kernel.resume()
        if outcome.ok:
            guest.note_running(**by)
        return outcome

    def look(self) -> None:
        """A client may have gone to the kernel's own socket, past us: believe the kernel.

        A stopped one looks as if it ran for a moment after each request.
        """
        guest = self._guest
        looks = None
        if guest.state in ("running", "stopped") and not guest.kernel.busy:
            looks = processes.looks_stopped(guest.launched.pid)
        if looks is None or looks == (guest.state == "stopped"):
            self._seen_running = math.inf
        elif looks:
            guest.note_stopped()
        elif trio.current_time() - self._seen_running > MOMENT:
            guest.note_running()
        else:
            self._seen_running = min(self._seen_running, trio.current_time())
