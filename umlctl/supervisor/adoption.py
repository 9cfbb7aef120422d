"""What killed supervisors have left. Guests that run on are adopted. Of guests that have died, the
ending is written down, and those whose policy is to restart are started again.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final

import trio

from umlctl.errors import GuestInUse, UmlctlError
from umlctl.host import daemonlog, limits
from umlctl.recovery import cleanup, discover
from umlctl.state import records, umid_lock
from umlctl.supervisor.launch.adopt import adopt

if TYPE_CHECKING:
    from collections.abc import Collection

    from umlctl.state.records import Record
    from umlctl.supervisor.guests import Guests

LOOK_INTERVAL: Final = 0.02
"""The time between two looks at what sends no notice, seconds."""
ANSWER_TIMEOUT: Final = 5.0
"""How long an adopted guest may take to answer, and a restarted guest to come up, seconds."""


class Adoption:
    """Takes over what all earlier supervisors of this user have left."""

    def __init__(self, nursery: trio.Nursery, guests: Guests) -> None:
        """nursery: where the guests run that are found

        guests: those of this supervisor
        """
        self._nursery = nursery
        self._guests = guests
        self._adopting = trio.Lock()
        self._answers_by = -math.inf

    async def answer(self, umids: Collection[str]) -> None:
        """Take over guests without a supervisor, and wait until those named answer; without names,
        all."""
        await self.adopt_all()
        with trio.move_on_at(self._answers_by):
            for guest in self._guests:
                named = not umids or guest.umid in umids
                if named and guest.launched.adopted:
                    await guest.life.answers()

    async def adopt_all(self) -> None:
        """Take over every guest that runs on without its supervisor."""

        async def take(record: Record) -> None:
            try:
                launched = await trio.to_thread.run_sync(adopt, record)
                await self._nursery.start(self._guests.run, launched)
            except GuestInUse:
                pass  # another supervisor has the guest, or it has ended
            except UmlctlError as problem:
                daemonlog.note(f"{record.definition.umid}: {limits.explained(problem)}")
            except Exception as problem:  # noqa: BLE001 - a broken record must not end the guests
                daemonlog.trace(f"adopt {record.definition.umid}", problem)

        async with self._adopting:
            for said in await trio.to_thread.run_sync(discover.set_dead_aside):
                daemonlog.note(said)
            async with trio.open_nursery() as nursery:
                for record in await trio.to_thread.run_sync(discover.without_supervisor):
                    nursery.start_soon(take, record)
                    self._answers_by = trio.current_time() + ANSWER_TIMEOUT
            await self._bring_back()

    async def _bring_back(self) -> None:
        """See to guests that have died unseen, and start those again whose policy is to restart."""

        async def start(record: Record) -> None:
            umid = record.definition.umid
            result = await self._guests.start(f"restart {umid}", lambda: record.definition)
            coming.discard(umid)  # also when it has failed
            if result.code:
                daemonlog.note(f"restart {umid}: {result.text}")

        wanted = await trio.to_thread.run_sync(_find_wanted)
        coming = {record.definition.umid for record in wanted}
        for record in wanted:
            self._nursery.start_soon(start, record)
        with trio.move_on_after(ANSWER_TIMEOUT):
            while any(umid not in self._guests for umid in coming):  # noqa: ASYNC110 - nobody tells
                await trio.sleep(LOOK_INTERVAL)


def _find_wanted() -> list[Record]:
    """Clean up after all guests that have died unseen; return those that are to be started again.

    The tiny parent of a guest that has just died may have yet to say how.
    """
    left = [record for record in records.load_all() if not _clean_up(record)]
    end = time.monotonic() + discover.SHIM_TIMEOUT
    while left and time.monotonic() < end:
        time.sleep(LOOK_INTERVAL)
        left = [record for record in left if not _clean_up(record)]
    return cleanup.wanted_back()


def _clean_up(record: Record) -> bool:
    """Clean up after a guest if it has died unseen; False if that is to be tried again soon."""
    umid = record.definition.umid
    try:
        for problem in cleanup.clean_up(record):
            daemonlog.note(f"{umid}: {problem}")
        if record.ending is not None or records.lives(record) or umid_lock.has_owner(umid):
            return True
        latest = records.load(umid)
    except OSError as problem:
        daemonlog.note(f"{umid}: {limits.explained(problem)}")
        return True
    return latest is None or latest.ending is not None
