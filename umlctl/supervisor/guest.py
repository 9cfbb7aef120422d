"""One guest under supervision, from the launch of its kernel until nothing is left of it.

What leads from one state to the next, and what is to be done then, is in `lifecycle`. The parts of
one life are in `life`. A guest begins those parts, and obeys the instructions of its lifecycle.
"""

from __future__ import annotations

import signal
import time
from functools import partial
from typing import TYPE_CHECKING

import trio

from umlctl.supervisor import lifecycle, post_mortem
from umlctl.supervisor.boot import Boot
from umlctl.supervisor.devices.restoring import keep_sharing
from umlctl.supervisor.endurance import endure
from umlctl.supervisor.history import History
from umlctl.supervisor.kernel import ASK_TIMEOUT
from umlctl.supervisor.launch.place import make_again
from umlctl.supervisor.life import Life
from umlctl.supervisor.lifecycle import (
    RUNNING,
    EndWanted,
    GivenUp,
    KillWanted,
    Lifecycle,
    Relaunched,
    Resetting,
    Retried,
)
from umlctl.supervisor.notifications import Notifications
from umlctl.supervisor.readiness import Milestones
from umlctl.supervisor.report import status_of
from umlctl.supervisor.switch_links import keep_links

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from socketproto.exchange import Outcome
    from umlctl.protocol.events import Event, EventName
    from umlctl.protocol.status import Ending, Status
    from umlctl.supervisor.consoles.server import Consoles
    from umlctl.supervisor.launch.launched import Launched


class Guest:
    """A supervised guest.

    Fields:
        umid: its name
        lifecycle: its state, and what has led to that
        milestones: what clients and the supervisor can wait for
        history: what happened to the guest
        life: the parts of the life that the guest is in
        refused, clients_refused: how many requests, and clients, were refused
    """

    def __init__(
        self,
        launched: Launched,
        tell: Callable[[Event], None] | None = None,
        stop_others: Callable[[str], None] = lambda _why: None,
    ) -> None:
        """tell: called with every event

        stop_others: called to end all other guests, with the reason
        """
        self.umid = launched.definition.umid
        self.history = History(self.umid, tell, on_disk=True)
        if launched.adopted:
            self.history.load()
        self.milestones = Milestones()
        self.lifecycle = Lifecycle(
            launched.definition,
            launched.record.since,
            adopted=launched.adopted,
            known=_is_known(launched),
        )
        self.refused = self.clients_refused = 0
        self._stop_others = stop_others
        self._nursery: trio.Nursery
        self._begin_life(launched)

    @property
    def launched(self) -> Launched:
        return self.life.launched

    @property
    def ending(self) -> Ending | None:
        return self.lifecycle.ending

    def status(self) -> Status:
        """What `status` shows."""
        return status_of(self.life, self.refused, self.clients_refused)

    def begin(self, launched: Launched) -> None:
        """The guest is started again: another life begins."""
        self._obey_all(Relaunched(known=_is_known(launched)), launched.record.since)
        self.milestones.begin()
        self._begin_life(launched)

    def go_on(self, launched: Launched) -> None:
        """The guest has another kernel for the one that was lost as it rebooted."""
        self._obey_all(Relaunched(), launched.record.since)
        self._begin_life(launched, self.life.consoles)

    async def end_lost(self, why: str) -> None:
        """The guest has no other kernel for the one that was lost as it rebooted.

        why: empty: a user has ended it
        """
        await post_mortem.conclude_lost(self.life, self.handle, why)

    def _begin_life(self, launched: Launched, consoles: Consoles | None = None) -> None:
        self.life = Life(
            launched, self.lifecycle, self.milestones, self.history, self.handle, consoles
        )
        self._boot = Boot(self.life, self.handle)
        self._booting = trio.CancelScope()
        self._notifications = Notifications(self.life, self.handle)

    async def supervise(self) -> Ending | None:
        """Watch the guest until it has ended, and remove all that is left of it; None if its kernel
        is lost as it rebooted: the guest is to go on with another."""
        life, launched = self.life, self.launched
        gone = False
        booting = "the guest is still booting"
        silent = "the guest was adopted, and has not answered since; `kill` ends it"
        known = silent if self.lifecycle.known else booting
        life.kernel.mark_gone("the guest reboots" if launched.losses else known)
        if not launched.losses:  # "reboot repeated" says it
            what: EventName = "adopted" if launched.adopted else "started"
            self.history.add(what, pid=launched.pid, kernel=launched.definition.kernel)
        if launched.lost:
            self.history.add("record lost", text=launched.lost)
        if launched.unheld:
            self.history.add("less confined", text=launched.unheld)
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                self._tend(nursery)
                await endure(self.history, "end", life.process.await_end)
                gone = True
                nursery.cancel_scope.cancel()
        finally:
            life.kernel_socket.close()
            # A guest that lives on, though this supervisor ends, is for the next supervisor.
            if gone:
                with trio.CancelScope(shield=True):
                    await post_mortem.conclude_life(life, self._notifications, self.handle)
        return self.ending

    def _tend(self, nursery: trio.Nursery) -> None:
        """Begin all tasks of one life."""
        life, milestones = self.life, self.milestones
        adopted = self.launched.adopted
        waits_not = adopted or self.launched.losses > 0
        tasks: dict[str, Callable[[], Awaitable[None]]] = {
            "notifications": partial(self._notifications.hear, nursery),
            "recovery": life.recover_kernel,
            "boot id": self._boot.note_boots,
            "pauses": partial(life.pauses.run, milestones.ready),
            "watching": partial(life.watchdog.run, None if waits_not else milestones.ready),
            "shares": partial(keep_sharing, life.devices, milestones),
            "networks": partial(keep_links, life.devices, self.launched.pid, self.history),
        }
        for name, task in tasks.items():
            nursery.start_soon(endure, self.history, name, task)
        if adopted:
            nursery.start_soon(self._boot.await_ready, self._booting)
        elif not self.launched.losses:
            nursery.start_soon(self._boot.enforce_timeout)

    # What the lifecycle instructs

    def handle(self, event: lifecycle.Event) -> None:
        """Tell the lifecycle what has happened to the guest, or is wanted of it, and obey.

        Raises: IllegalStep
        """
        self._obey_all(event, time.time())

    def _obey_all(self, event: lifecycle.Event, now: float) -> None:
        for instruction in self.lifecycle.handle(event, now):
            self._obey(instruction)

    def _obey(self, instruction: lifecycle.Instruction) -> None:  # noqa: C901 - an arm for each
        life = self.life
        match instruction:
            case lifecycle.Tell(event, facts):
                self.history.add(event, **facts)
            case lifecycle.AnswerRequests():
                life.kernel.mark_back()
                self.milestones.ready.set()
            case lifecycle.HoldRequests(why):
                life.kernel.mark_gone(why)
                self.milestones.mark_rebooting()
            case lifecycle.RefuseRequests(why):
                life.kernel.mark_gone(why)
            case lifecycle.PrepareBoot():
                life.kernel.resets = False
                life.process.end_traced(None)
                make_again(life.launched.record, life.launched.claim.directory)
                self._boot.begin_reboot()
                life.consoles.note_boot()
            case lifecycle.AwaitReady():
                life.watchdog.reset()
                self._booting.cancel()
                self._booting = trio.CancelScope()
                self._nursery.start_soon(self._boot.await_ready, self._booting)
            case lifecycle.Terminate():
                life.process.signal(signal.SIGTERM)
            case lifecycle.FindHelpers():
                life.process.find_helpers()
            case lifecycle.Kill():
                life.process.kill()
            case lifecycle.StopOthers(why):
                self._stop_others(why)
            case lifecycle.CancelRestart():
                self.milestones.unwanted.set()

    # What clients and policies ask of the guest

    async def reboot(self, seconds: float = ASK_TIMEOUT) -> Outcome:
        """Have the kernel reset; from its answer on, requests wait until it is ready again.

        seconds: how long the kernel may take to answer
        """
        ready = self.milestones.ready
        outcome = await self.life.kernel.ask("reboot", seconds)
        # The kernel's notification may have come before this line: `handle` has then seen to it.
        if outcome.ok and self.milestones.ready is ready:
            self.life.process.end_traced(self.life.kernel_socket)
            if self.lifecycle.state == RUNNING:
                self.handle(Resetting())
        return outcome

    async def shut_down(self, seconds: float, why: str, **by: int) -> None:
        """End the guest in order, as a user wants, as far as it can be.

        seconds: how long the guest's own shutdown may take
        """
        self.handle(EndWanted())
        if not self.milestones.dead.is_set():
            self.history.add("shutdown", text=why, seconds=seconds, **by)
            await self.life.shutdown.run(seconds, why)

    def kill(self, why: str) -> None:
        """Kill the kernel and all its processes now, as a user wants."""
        self.handle(KillWanted(why=why))

    async def await_restart(self, seconds: float) -> bool:
        """Wait until the guest is to be started again; False if a user does not want that."""
        self.launched.record.again = True
        await self.life.save()  # for the next supervisor, should this one be killed meanwhile
        self.handle(Retried(seconds=seconds))
        with trio.move_on_after(seconds):
            await self.milestones.unwanted.wait()
        if self.lifecycle.unwanted:
            await self.give_up()
        return not self.lifecycle.unwanted

    async def give_up(self) -> None:
        """Do not start the guest again after all."""
        self.handle(GivenUp())
        self.launched.record.again = False
        await self.life.save()


def _is_known(launched: Launched) -> bool:
    """Whether the guest was ready once in this life, seen by the last supervisor.

    A guest whose record is lost counts as one that was.
    """
    return launched.adopted and bool(launched.record.guest_boot or launched.lost)
