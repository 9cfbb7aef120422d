"""Starting every guest that is enabled and does not run: in order, side by side where the order
allows, and on past those that fail.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import trio

from umlctl import exitcodes
from umlctl.client.asynchronous import AsyncGuestClient
from umlctl.definitions import current
from umlctl.errors import UmlctlError
from umlctl.guest.definition import DEFAULT_BOOT_TIMEOUT
from umlctl.guest.dependencies import in_order, starts
from umlctl.protocol.starting import AutostartResult
from umlctl.protocol.status import COMING_STATES, DEAD, read_status
from umlctl.state import umid_lock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from umlctl.guest.definition import Definition
    from umlctl.protocol.starting import Started
    from umlctl.protocol.status import State

LOOK_INTERVAL: Final = 0.05
"""The time between two looks at a guest that another supervisor boots, seconds."""


class Autostart:
    """One round of starting the guests that are enabled."""

    def __init__(
        self,
        start: Callable[[Definition], Awaitable[Started]],
        tell: Callable[[AutostartResult], None],
    ) -> None:
        """start: has a guest started; returns what the supervisor's `start` answers

        tell: called with each result
        """
        self._start = start
        self._tell = tell
        self._up: set[str] = set()
        self._wanted: dict[str, Definition] = {}
        self._problems: dict[str, str] = {}

    async def run(self) -> None:
        found = await trio.to_thread.run_sync(current.enabled_guests)
        self._wanted = {each.umid: each.definition for each in found if each.definition}
        order, never = starts({umid: each.after for umid, each in self._wanted.items()})
        self._problems = {each.umid: each.problem for each in found if each.problem} | never
        for umid, problem in sorted(self._problems.items()):
            if not await self._runs_already(umid):
                self._fail(umid, exitcodes.USAGE, problem)
        async with trio.open_nursery() as nursery:
            in_order(order, self._bring_up, nursery.start_soon)

    async def _bring_up(self, umid: str) -> None:
        if await self._runs_already(umid):
            return
        why = await self._missing(self._wanted[umid])
        if why:
            self._fail(umid, exitcodes.NEVER_STARTED, why)
            return
        answer = await self._start(self._wanted[umid])
        if answer.code:
            self._fail(umid, answer.code, answer.text)
            return
        self._up.add(umid)
        pid = None if answer.status is None else answer.status.pid
        self._tell(AutostartResult(umid=umid, up=True, outcome="started", pid=pid))

    async def _runs_already(self, umid: str) -> bool:
        if not await runs(umid):
            return False
        self._up.add(umid)
        self._tell(AutostartResult(umid=umid, up=True, outcome="ran already"))
        return True

    async def _missing(self, definition: Definition) -> str:
        """Why a guest cannot be started yet, by the guests that it comes after; empty if it can."""
        for name in definition.after:
            if name in self._up:
                continue
            if name in self._wanted or name in self._problems:
                return f"it comes after {name}, which was not started"
            if not await runs(name):
                return f"it comes after {name}, which is not enabled and does not run"
        return ""

    def _fail(self, umid: str, code: int, text: str) -> None:
        printable = text.encode("utf-8", "backslashreplace").decode()
        self._tell(
            AutostartResult(umid=umid, up=False, outcome="failed", code=code, text=printable)
        )


async def runs(umid: str) -> bool:
    """Whether a guest of this name is up under some supervisor; one that boots is waited for."""
    with trio.move_on_after(DEFAULT_BOOT_TIMEOUT):
        while umid_lock.has_owner(umid):
            state = await _state(umid)
            if state not in COMING_STATES:
                return state != DEAD
            await trio.sleep(LOOK_INTERVAL)
    return umid_lock.has_owner(umid)


async def _state(umid: str) -> State:
    try:
        with AsyncGuestClient(umid, looks=True) as guest:
            outcome = await guest.ask("status")
        return read_status(outcome.data).state
    except (OSError, UmlctlError, msgspec.DecodeError):
        return "booting"  # the guest's socket is not open yet, or it cannot say; it is asked again
