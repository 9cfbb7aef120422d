"""One guest under supervision, from the moment its kernel was launched until nothing is left.

What leads from one state to the next, and what is to be done then, is in `lifecycle`; the parts of
one life are in `life`. Here they are begun, and the instructions obeyed.
"""

from __future__ import annotations

import signal
import time
from functools import partial
from typing import TYPE_CHECKING

import trio

from umlctl.supervisor import lifecycle, post_mortem
from umlctl.supervisor.boot import Boot
from umlctl.supervisor.endurance import endure
from umlctl.supervisor.history import History
from umlctl.supervisor.kernel import DEADLINE
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
from umlctl.supervisor.switch_links import hold_networks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from socketproto.exchange import Outcome
    from umlctl.protocol.events import Event, EventName
    from umlctl.protocol.status import Ending, Status
    from umlctl.supervisor.launch.launched import Launched


class Guest:
    """A supervised guest.

    Fields:
        umid: its name
        lifecycle: its state, and what has led to it
        milestones: what can be waited for
        history: what happened to it
        life: the parts of the life that it is in
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
        """Another life of the guest has begun."""
        self._obey_all(Relaunched(known=_is_known(launched)), launched.record.since)
        self.milestones.begin()
        self._begin_life(launched)

    def _begin_life(self, launched: Launched) -> None:
        self.life = Life(launched, self.lifecycle, self.milestones, self.history, self.handle)
        self._boot = Boot(self.life, self.handle)
        self._booting = trio.CancelScope()
        self._notifications = Notifications(self.life, self.handle)

    async def supervise(self) -> Ending:
        """Watch the guest until it has ended, and remove all that is left of it."""
        life, launched = self.life, self.launched
        gone = False
        booting = "the guest is still booting"
        silent = "the guest was adopted, and has not answered since; `kill` ends it"
        life.kernel.lose(silent if self.lifecycle.known else booting)
        what: EventName = "adopted" if launched.adopted else "started"
        self.history.add(what, pid=launched.pid, kernel=launched.definition.kernel)
        if launched.lost:
            self.history.add("record lost", text=launched.lost)
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                self._tend(nursery)
                await endure(self.history, "end", life.process.ended)
                gone = True
                nursery.cancel_scope.cancel()
        finally:
            life.kernel_socket.close()
            # One that lives, though we end, is for the next supervisor.
            if gone:
                with trio.CancelScope(shield=True):
                    await post_mortem.bury(life, self._notifications, self.handle)
        assert self.ending is not None
        return self.ending

    def _tend(self, nursery: trio.Nursery) -> None:
        """Begin all that is done for one life."""
        life, milestones = self.life, self.milestones
        adopted = self.launched.adopted
        tasks: dict[str, Callable[[], Awaitable[None]]] = {
            "notifications": partial(self._notifications.hear, nursery),
            "recovery": life.cure,
            "boot id": self._boot.note_boots,
            "pauses": partial(life.pauses.run, milestones.ready),
            "watching": partial(life.watchdog.run, None if adopted else milestones.ready),
            "networks": partial(hold_networks, life.devices, self.launched.pid, self.history),
        }
        for name, task in tasks.items():
            nursery.start_soon(endure, self.history, name, task)
        if adopted:
            nursery.start_soon(self._boot.await_ready, self._booting)
        else:
            nursery.start_soon(self._boot.limit)

    # What its lifecycle has us do

    def handle(self, event: lifecycle.Event) -> None:
        """Something has happened to it, or is wanted of it: do what is to be done about that.

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
                life.kernel.found()
                self.milestones.ready.set()
            case lifecycle.HoldRequests(why):
                life.kernel.lose(why)
                self.milestones.reboots()
            case lifecycle.RefuseRequests(why):
                life.kernel.lose(why)
            case lifecycle.PrepareBoot():
                make_again(life.launched.definition, life.launched.claim.directory)
                self._boot.begins()
                life.consoles.note_boot()
            case lifecycle.AwaitReady():
                life.watchdog.begins_anew()
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

    # What is asked of it

    async def reboot(self, seconds: float = DEADLINE) -> Outcome:
        """Have the kernel reset; from its answer on, requests wait until it is ready again.

        seconds: for the answer
        """
        ready = self.milestones.ready
        outcome = await self.life.kernel.ask("reboot", seconds)
        # Its notification can have come before we are here; then all is seen to.
        untold = self.milestones.ready is ready and self.lifecycle.state == RUNNING
        if outcome.ok and untold:
            self.handle(Resetting())
        return outcome

    async def shut_down(self, seconds: float, why: str, **by: int) -> None:
        """A user ends it in order, as far as it can be.

        seconds: for the guest's own shutdown
        """
        self.handle(EndWanted())
        if not self.milestones.dead.is_set():
            self.history.add("shutdown", text=why, seconds=seconds, **by)
            await self.life.shutdown.run(seconds, why)

    def kill(self, why: str) -> None:
        """A user ends the kernel and all its processes now."""
        self.handle(KillWanted(why=why))

    async def await_restart(self, seconds: float) -> bool:
        """Wait to be started again; False if a user does not want that."""
        self.launched.record.again = True
        await self.life.save()  # for the next supervisor, if this one is killed meanwhile
        self.handle(Retried(seconds=seconds))
        with trio.move_on_after(seconds):
            await self.milestones.unwanted.wait()
        if self.lifecycle.unwanted:
            await self.give_up()
        return not self.lifecycle.unwanted

    async def give_up(self) -> None:
        """It is not started again after all."""
        self.handle(GivenUp())
        self.launched.record.again = False
        await self.life.save()


def _is_known(launched: Launched) -> bool:
    """It was ready once in this life, seen by the supervisor before us, or for all that we know."""
    return launched.adopted and bool(launched.record.guest_boot or launched.lost)
