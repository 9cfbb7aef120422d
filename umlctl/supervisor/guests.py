"""The guests of one background supervisor, each from its start or its adoption to its end."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from umlctl import exitcodes
from umlctl.errors import NeverStarted, UmlctlError
from umlctl.guest.dependencies import ends, in_order
from umlctl.host import daemonlog, limits
from umlctl.host.starting import starting
from umlctl.protocol import events
from umlctl.protocol.commands import SHUTDOWN_TIMEOUT
from umlctl.protocol.starting import Started
from umlctl.recovery import cleanup
from umlctl.state import records, umid_lock
from umlctl.state.endings import describe
from umlctl.supervisor.guest_task import run_guest
from umlctl.supervisor.history import brief
from umlctl.supervisor.launch.launch import launch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from umlctl.guest.definition import Definition
    from umlctl.host.systemd.notify import Manager
    from umlctl.protocol.events import Event
    from umlctl.supervisor.guest import Guest
    from umlctl.supervisor.launch.launched import Launched

MAX_STARTS: Final = 4
"""How many guests may boot at once: with more, each takes longer than all one after another."""
LOOK_INTERVAL: Final = 0.02
"""The time between two looks at whether all guests are gone, seconds."""
NAME_RELEASE_TIMEOUT: Final = 10.0
"""How long a guest that has ended may keep its name for its clean-up, seconds."""
WRITE_INTERVAL: Final = 5.0
"""The time between two tries to write down what a full disk did not take, seconds."""
INIT_BEGIN_TIMEOUT: Final = 5.0
"""How long the first process of a ready guest may take to say that it has begun, seconds."""


class Guests:
    """The guests that run here.

    Fields:
        busy: how many guests run, are being started or are being ended
        quitting: set when no more guests are to be started
    """

    def __init__(self, nursery: trio.Nursery, manager: Manager) -> None:
        """nursery: where the guests run

        manager: is told how many run
        """
        self.busy = 0
        self.quitting = trio.Event()
        self._nursery = nursery
        self._manager = manager
        self._guests: dict[str, Guest] = {}
        self._starting = trio.CapacityLimiter(MAX_STARTS)
        self._stopping = trio.Lock()

    def __iter__(self) -> Iterator[Guest]:
        return iter(list(self._guests.values()))

    def __contains__(self, umid: str) -> bool:
        return umid in self._guests

    @property
    def count_text(self) -> str:
        """How many guests there are, in words."""
        count = len(self._guests)
        return f"{count} guest runs" if count == 1 else f"{count} guests run"

    # Beginnings

    async def start(
        self, what: str, read: Callable[[], Definition], *, wait: bool = True
    ) -> Started:
        """Start a guest; return its status, or why there is none.

        wait: until the guest is up
        """
        try:
            guest = await self._start(read, wait=wait)
            return Started(code=0, status=guest.status())
        except UmlctlError as problem:
            return Started(code=problem.code, text=_printable(problem))
        except Exception as problem:  # noqa: BLE001 - one start must not end the guests
            if not limits.is_lacking(problem):
                daemonlog.trace(what, problem)
            return Started(code=exitcodes.FAILED, text=_printable(problem))

    async def _start(self, read: Callable[[], Definition], *, wait: bool) -> Guest:
        self.busy += 1
        try:
            async with self._starting:
                definition = await trio.to_thread.run_sync(read)
                if self.quitting.is_set():
                    raise NeverStarted(f"{definition.umid}: the supervisor ends; start it again")
                await self._await_name_release(definition.umid)
                launched = await trio.to_thread.run_sync(_claim_and_launch, definition)
                guest: Guest = await self._nursery.start(self.run, launched)
                if wait:
                    await guest.milestones.ready.wait()
                    with trio.move_on_after(INIT_BEGIN_TIMEOUT):
                        await guest.milestones.up.wait()
        finally:
            self.busy -= 1
        if guest.ending is not None:
            raise NeverStarted(
                f"{guest.umid} {describe(guest.ending)}; "
                f"`umlctl logs {guest.umid}` shows its console"
            )
        return guest

    async def _await_name_release(self, umid: str) -> None:
        """Wait until a guest of this supervisor has let go of its name. It has ended, as the client
        that starts it again was told."""
        with trio.move_on_after(NAME_RELEASE_TIMEOUT):
            while (  # noqa: ASYNC110 - nobody tells
                guest := self._guests.get(umid)
            ) is not None and guest.milestones.dead.is_set():
                await trio.sleep(LOOK_INTERVAL)

    async def run(
        self, launched: Launched, task_status: trio.TaskStatus[Guest] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Supervise a guest to its end. A broken guest must not break the others, so its
        errors end here.

        Raises: NeverStarted: to the task that started the guest
        """
        umid = launched.definition.umid
        guest = None
        self.busy += 1
        try:
            async with trio.open_nursery() as nursery:
                others = functools.partial(self.stop_others, umid)
                guest = await nursery.start(run_guest, launched, _log_event, others)
                self._guests[umid] = guest
                self._manager.status(self.count_text)
                task_status.started(guest)
        except ExceptionGroup as group:
            problem = group.exceptions[0]
            if guest is None:
                raise NeverStarted(str(problem)) from problem
            daemonlog.trace(umid, problem)
        finally:
            self.busy -= 1
            if guest is not None:
                self._forget(guest)

    def _forget(self, guest: Guest) -> None:
        if self._guests.get(guest.umid) is not guest:
            return
        del self._guests[guest.umid]
        self._manager.status(self.count_text)
        self._nursery.start_soon(self._write_later, guest)

    async def _write_later(self, guest: Guest) -> None:
        """Write down what a full disk did not take of a guest that has ended, once the disk takes
        it. If this supervisor ends before that, the next one sees to it."""
        while guest.milestones.dead.is_set() and not _is_written(guest):
            await trio.sleep(WRITE_INTERVAL)
            if guest.umid in self._guests:
                return  # another life
            await run_guarded(f"record {guest.umid}", functools.partial(_write, guest))

    # Ends

    def stop_others(self, umid: str, why: str) -> None:
        """End all guests but one, in order."""
        for other in self._guests.values():
            if other.umid != umid:
                end = functools.partial(other.shut_down, SHUTDOWN_TIMEOUT, why)
                self._nursery.start_soon(run_guarded, f"shutdown {other.umid}", end)

    async def stop_all(self, why: str) -> None:
        """End all guests, also those that are being launched just now."""
        async with self._stopping:
            while self.busy:
                await self._stop_in_order(why)
                await trio.sleep(LOOK_INTERVAL)

    async def _stop_in_order(self, why: str) -> None:
        guests = dict(self._guests)
        after = {umid: guest.launched.definition.after for umid, guest in guests.items()}

        async def end(umid: str) -> None:
            shut_down = functools.partial(guests[umid].shut_down, SHUTDOWN_TIMEOUT, why)
            await run_guarded(f"shutdown {umid}", shut_down)

        async with trio.open_nursery() as nursery:
            in_order(ends(after), end, nursery.start_soon)


async def run_guarded(what: str, work: Callable[[], Awaitable[None]]) -> None:
    """Do work that no task waits for; its errors must not end the guests."""
    try:
        await work()
    except Exception as problem:  # noqa: BLE001
        daemonlog.failed(what, problem)


def _is_written(guest: Guest) -> bool:
    """Whether nothing is left to be written, as also when a user has removed the guest's
    records."""
    removed = not os.path.isdir(guest.launched.claim.records)
    return removed or (guest.history.flush() and not guest.life.unwritten)


async def _write(guest: Guest) -> None:
    await trio.to_thread.run_sync(cleanup.clean_up, guest.launched.record)
    guest.life.unwritten = records.is_unwritten(guest.umid)


def _claim_and_launch(definition: Definition) -> Launched:
    with starting(definition.umid):
        return _launch(definition)


def _launch(definition: Definition) -> Launched:
    """Raises: UmlctlError, OSError"""
    for problem in cleanup.clean_up_last_life(definition.umid):
        daemonlog.note(f"{definition.umid}: {problem}")
    held = umid_lock.claim(definition.umid, definition.home)
    try:
        return launch(definition, held)
    except BaseException:
        held.release()
        raise


def _printable(problem: Exception) -> str:
    """Names of files may be no UTF-8, and JSON is."""
    return limits.explained(problem).encode("utf-8", "backslashreplace").decode()


def _log_event(event: Event) -> None:
    if events.row(event["event"]).log:
        daemonlog.note(msgspec.json.encode(brief(event)).decode())
