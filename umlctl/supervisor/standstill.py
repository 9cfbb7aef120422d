"""Guests that are stopped for a moment: the supervisor's own, and others by their supervisors.

One that was stopped already is left so. One that has ended is kept from being started.
"""

from __future__ import annotations

import errno
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, Self

import msgspec
import trio

from socketproto.exchange import REFUSED
from umlctl.client.asynchronous import AsyncGuestClient
from umlctl.errors import HostError, Refusal, UmlctlError
from umlctl.host import paths
from umlctl.protocol.status import read_status
from umlctl.recovery import discover
from umlctl.state import leases, records, snapshot_ended
from umlctl.supervisor.emergency import SYNC, emergency
from umlctl.supervisor.lifecycle import RUNNING, STOPPED

if TYPE_CHECKING:
    from socketproto.exchange import Outcome
    from umlctl.protocol.status import Status
    from umlctl.state.leases import Use
    from umlctl.state.records import Record
    from umlctl.supervisor.history import By
    from umlctl.supervisor.life import Life


PAUSED: Final = "it was paused"
"""Why a guest was not synced."""


class Own:
    """The guest of this supervisor. Its fields are those of `Other`."""

    def __init__(self, life: Life, pause: float, by: By) -> None:
        self.record = life.launched.record
        self.umid = self.record.definition.umid
        self.runs = life.lifecycle.state == RUNNING
        self._life = life
        self._pause = pause
        self._by = by
        self._stopped = False
        self._due = 0.0

    async def sync(self) -> str:
        return await self._life.shutdown.sync() if self.runs else PAUSED

    async def stop(self) -> None:
        """Raises: Refusal"""
        life = self._life
        if self.runs:
            async with life.devices.talk:
                outcome = await life.kernel.ask("stop")
                if outcome.ok:
                    life.pauses.note_stopped(self._pause, **self._by)
            self._stopped = outcome.ok
            _check_stopped(self.umid, outcome)
        self._due = self.record.resume

    async def has_stood_still(self) -> bool:
        return (self._life.lifecycle.state, self.record.resume) == (STOPPED, self._due)

    async def resume(self) -> None:
        if self._stopped:
            await self._life.pauses.resume(**self._by)


def _check_stopped(umid: str, outcome: Outcome) -> None:
    """Raises: Refusal"""
    if not outcome.ok and (outcome.kind != REFUSED or "Already" not in outcome.text):
        raise Refusal(f"{umid}: it cannot be stopped: {outcome}", -errno.EAGAIN)


class Other:
    """A guest of another supervisor, or another guest of this one.

    Fields:
        umid: its name
        record: what is written down of it
        runs: it did when it was looked at
    """

    record: Record

    def __init__(self, umid: str, pause: float) -> None:
        """pause: how long it may be stopped, seconds"""
        self.umid = umid
        self.runs = False
        self._pause = pause
        self._client = AsyncGuestClient(umid)
        self._stopped = False
        self._due: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.__exit__()

    async def look(self) -> None:
        """See that it can be stopped, and what it has.

        Raises: Refusal
        """
        status = await self._status()
        if status.state not in (RUNNING, STOPPED):
            raise Refusal(f"{self.umid} is {status.state}; take it when it runs", -errno.EAGAIN)
        self.runs = status.state == RUNNING
        await self._read()

    async def _read(self) -> None:
        found = await trio.to_thread.run_sync(records.load, self.umid)
        if found is None:
            raise Refusal(f"{self.umid}: nobody knows its disks", -errno.ENOENT)
        self.record = found

    async def sync(self) -> str:
        """Have its kernel write what it has; return what may be lost."""
        if not self.runs:
            return PAUSED
        log = f"{paths.record_dir(self.umid)}/console.log"
        return await emergency(SYNC, self._ask, log)

    async def stop(self) -> None:
        """Stop it, if it runs.

        Raises: Refusal
        """
        if self.runs:
            outcome = await self._ask(f"stop {self._pause:g}")
            self._stopped = outcome.ok
            _check_stopped(self.umid, outcome)
        status = await self._status()
        if status.state != STOPPED:
            raise Refusal(f"{self.umid} is {status.state}, and was to be stopped", -errno.EAGAIN)
        self._due = status.resume
        await self._read()

    async def has_stood_still(self) -> bool:
        """Whether nobody has resumed it since.

        Raises: Refusal
        """
        status = await self._status()
        return (status.state, status.resume) == (STOPPED, self._due)

    async def resume(self) -> None:
        """Have it go on, if it was stopped here."""
        if self._stopped:
            await self._ask("go")

    async def _status(self) -> Status:
        outcome = await self._ask("status")
        try:
            return read_status(outcome.data)
        except msgspec.DecodeError:
            raise Refusal(f"{self.umid}: its status cannot be read: {outcome}", -1) from None

    async def _ask(self, text: str) -> Outcome:
        """Raises: Refusal"""
        try:
            return await self._client.ask(text)
        except (UmlctlError, OSError) as problem:
            raise Refusal(f"{self.umid}: {problem}", -errno.ESRCH) from HostError(str(problem))


class Ended:
    """A guest that has ended, and is not started meanwhile. Its fields are those of `Other`."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.umid = record.definition.umid
        self.runs = False
        self._held = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    async def sync(self) -> str:
        return ""

    async def stop(self) -> None:
        """Raises: HostError: somebody has one of its disks"""
        held = snapshot_ended.held(self.record, _users)
        await trio.to_thread.run_sync(self._held.enter_context, held)

    async def has_stood_still(self) -> bool:
        return True

    async def resume(self) -> None:
        self._held.close()


def _users() -> list[Use]:
    """The devices of all guests that run."""
    return leases.devices_of(discover.running())
