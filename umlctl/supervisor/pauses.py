"""Pauses of a guest: for how long it is stopped, by whom, and how it goes on."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final

import trio

from umlctl.host import processes
from umlctl.supervisor.lifecycle import RUNNING, STOPPED, Resumed, Stopped
from umlctl.supervisor.process import RUNNING_CPU_SECONDS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from socketproto.exchange import Outcome
    from umlctl.state.records import Record
    from umlctl.supervisor.kernel import KernelClient
    from umlctl.supervisor.lifecycle import Event, Lifecycle

RESUME_INTERVAL: Final = 1.0
"""The time between two tries to resume a guest whose pause is over, seconds."""
RUNNING_SECONDS: Final = 0.1
"""How long a stopped guest may be seen to run before it counts as resumed, seconds."""


class Pauses:
    """The pauses in one life of a guest."""

    def __init__(
        self,
        lifecycle: Lifecycle,
        handle: Callable[[Event], None],
        kernel: KernelClient,
        record: Record,
        save: Callable[[], Awaitable[None]],
    ) -> None:
        """handle: takes what happens to the guest

        record: says when the guest is to be resumed; save: writes the record
        """
        self._lifecycle = lifecycle
        self._handle = handle
        self._kernel = kernel
        self._record = record
        self._save = save
        self._changed = trio.Event()
        self._seen_running: tuple[float, int, float] | None = None

    async def run(self, ready: trio.Event) -> None:
        """Resume the guest when a pause has lasted as long as it should.

        ready: set when the guest is ready for the first time
        """
        await ready.wait()
        saved = self._record.resume
        while True:
            self._changed = trio.Event()
            due = self._record.resume
            if due != saved:
                await self._save()  # for the supervisor that may have to adopt the guest
                saved = due
            with trio.move_on_after(max(0.0, due - time.time()) if due else math.inf):
                await self._changed.wait()
                continue
            if self._lifecycle.state != STOPPED:
                self._record.resume = 0.0
            elif not (await self.resume()).ok:
                await trio.sleep(RESUME_INTERVAL)

    async def resume(self, **by: int) -> Outcome:
        """Send `go`."""
        outcome = await self._kernel.resume()
        if outcome.ok:
            self.note_running(**by)
        return outcome

    def note_stopped(self, seconds: float | None = None, **by: int) -> None:
        """Note that the guest is stopped; `seconds` is how long at most."""
        if self._lifecycle.state == RUNNING:
            self._handle(Stopped(facts={"seconds": seconds, **by}))
        self._record.resume = 0.0 if seconds is None else time.time() + seconds
        self._changed.set()

    def note_running(self, **by: int) -> None:
        """Note that the guest goes on."""
        if self._lifecycle.state == STOPPED:
            self._handle(Resumed(facts={**by}))
            self._record.resume = 0.0
            self._changed.set()

    def look(self) -> None:
        """See whether the guest was stopped or resumed past the supervisor, on the kernel's own
        socket.

        A stopped kernel looks as if it ran for a moment after each request.
        """
        looks = None
        state = self._lifecycle.state
        if self._lifecycle.answers and not self._kernel.busy:
            looks = processes.looks_stopped(self._record.pid)
        if looks is None or looks == (state == STOPPED):
            self._seen_running = None
        elif looks:
            self.note_stopped()
        elif self._goes_on():
            self.note_running()

    def _goes_on(self) -> bool:
        """One that does not look stopped any more does not only stand still on its way from its
        last answer, as the host has it do."""
        pid, now = self._record.pid, trio.current_time()
        used = processes.cpu_seconds(pid) or 0.0
        if self._seen_running is None:
            self._seen_running = now, self._kernel.exchanges, used
        since, exchanges, before = self._seen_running
        if now - since <= RUNNING_SECONDS:
            return False
        if processes.rests_elsewhere(pid):
            return True
        if exchanges != self._kernel.exchanges:
            self._seen_running = now, self._kernel.exchanges, used
            return False
        return used - before >= RUNNING_CPU_SECONDS
