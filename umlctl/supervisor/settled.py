"""What a guest has in memory, brought to its disks before it is stopped for a snapshot: its file
systems are frozen where something in the guest does that, or else its kernel is told to sync.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import trio

from umlctl.errors import UmlctlError
from umlctl.execution.freezing import FROZEN_SECONDS, Frozen

if TYPE_CHECKING:
    from umlctl.supervisor.standstill import Ended, Other, Own

NOT_THAWED: Final = (
    "it has not said that its file systems are thawed; they are when it has run for a minute"
)


class Settled:
    """One guest.

    Fields:
        synced: why its kernel was not seen to write what it had; empty if it was
        is_frozen: all its file systems were frozen when it was stopped
        seconds: for how long they were
        note: what is wrong with it now; empty: nothing
    """

    def __init__(self, guest: Own | Other | Ended) -> None:
        self.synced = ""
        self.is_frozen = False
        self.seconds = 0.0
        self.note = ""
        self._guest = guest
        self._frozen: Frozen | None = None

    async def settle(self) -> None:
        """Have all written that is to be."""
        if self._guest.runs:
            try:
                self._frozen = await trio.to_thread.run_sync(Frozen, self._guest.umid)
            except (UmlctlError, OSError):
                pass  # most guests have nobody who could
            else:
                return
        self.synced = await self._guest.sync()

    def note_stopped(self) -> None:
        """The guest has been stopped."""
        frozen = self._frozen
        if frozen is not None and not frozen.missed:
            self.is_frozen = time.monotonic() - frozen.since < FROZEN_SECONDS

    async def thaw(self) -> None:
        """Have its file systems go on, if they are frozen."""
        frozen, self._frozen = self._frozen, None
        if frozen is not None:
            await trio.to_thread.run_sync(frozen.thaw)
            self.seconds = time.monotonic() - frozen.since
            self.note = NOT_THAWED if frozen.left else ""


async def settle_all(guests: list[Settled]) -> None:
    """Settle all at once."""
    async with trio.open_nursery() as nursery:
        for each in guests:
            nursery.start_soon(each.settle)


async def thaw_all(guests: list[Settled]) -> None:
    """Thaw all at once."""
    async with trio.open_nursery() as nursery:
        for each in guests:
            nursery.start_soon(each.thaw)
