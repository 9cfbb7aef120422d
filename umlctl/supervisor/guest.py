"""One guest under supervision, from the moment its kernel was launched until nothing is left.

What leads from one state to the next is in `lifecycle`; here it is seen, and obeyed.

SOCKET says only that the kernel has a socket. A disk added right then panics the kernel, so a
guest is ready when its root is mounted, which comes after all drivers have started; one with an
initramfs, when its block driver has.
"""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from socketproto.exchange import TIMED_OUT
from socketproto.wire import HANG, PANIC, SOCKET, USER, Notification, WireError
from umlctl.guest.cmdline import console_elsewhere, has_agent
from umlctl.host import consolelog, endings, kernels, processes, records, room, scarce, users
from umlctl.host.claim import kernel_socket
from umlctl.host.paths import kept_socket
from umlctl.supervisor import launch, lifecycle, looks, orderly
from umlctl.supervisor.consoles.server import Consoles
from umlctl.supervisor.devices import Devices
from umlctl.supervisor.endurance import endure
from umlctl.supervisor.history import History
from umlctl.supervisor.holding import hold_networks
from umlctl.supervisor.kernel import DEADLINE, FRAGILE, QUIET, Kernel
from umlctl.supervisor.kernel_socket import UNREACHABLE, KernelSocket
from umlctl.supervisor.lifecycle import (
    BOOTING,
    REBOOTING,
    RUNNING,
    STOPPED,
    Ended,
    EndWanted,
    GivenUp,
    HasSocket,
    KillWanted,
    Lifecycle,
    Panicked,
    Ready,
    ReadyStopped,
    RebootedUnseen,
    Relaunched,
    Resetting,
    Resumed,
    Retried,
    Stopped,
)
from umlctl.supervisor.limits import Hearing
from umlctl.supervisor.pauses import Pauses
from umlctl.supervisor.rediscover import UNTRACED, find_again
from umlctl.supervisor.showing import status_of
from umlctl.supervisor.watching import Watcher

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from socketproto.exchange import Outcome
    from umlctl.protocol.events import Event, EventName
    from umlctl.protocol.status import Ending, State, Status
    from umlctl.supervisor.launch import Launched

POLL: Final = 0.005
"""Between two looks at whether a booting guest is ready, seconds."""
ROOT_GRACE: Final = 2.0
"""How long a guest whose drivers are up may take to mount its root before it counts as ready."""
DYING: Final = 3.0
"""How long a panicking kernel may take to exit, seconds."""
TERM: Final = 2.0
"""How long SIGTERM may take, seconds."""
AT_ONCE: Final = 64
"""Notifications that are read in a row."""
TIME_TRAVEL: Final = "time-travel=ext"
"""The kernel's argument that puts its time into the hands of another program."""
BOOT_ID: Final = "proc sys/kernel/random/boot_id"
USERSPACE: Final = "userspace is up"
"""What our own init program notifies."""
HELD: Final = 0.1
"""Between two looks whether a debugger still holds it, seconds."""


class Guest:
    """A supervised guest.

    Fields:
        umid: its name
        lifecycle: its state, and what has led to it
        kernel: how to talk to it
        history: what happened to it
        devices: its device table
        ready: set while requests can be answered
        up: set once its first process has begun, as far as can be known
        dead: set when it has ended
        no_restart: set when a user has ended it
        over: set when it has ended for good, and is not started again
        watcher: whether it hangs
        pauses: who stops and resumes it
        release: the first two numbers of its kernel's version; zeros until they are known
        unwritten: its record could not be written; the copy beside its sockets has what it has
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
        self.stop_others = stop_others
        self.history = History(self.umid, tell, on_disk=True)
        if launched.adopted:
            self.history.load()
        self.over = trio.Event()
        self.no_restart = trio.Event()
        self.refused = self.clients_refused = 0
        self.lifecycle = Lifecycle(
            launched.definition,
            launched.record.since,
            adopted=launched.adopted,
            known=_is_known(launched),
        )
        self._begin_life(launched)

    def begin(self, launched: Launched) -> None:
        """Another life of the guest has begun."""
        self._handle(Relaunched(known=_is_known(launched)), launched.record.since)
        self._begin_life(launched)

    def _begin_life(self, launched: Launched) -> None:
        self.launched = launched
        self.ready = trio.Event()
        self.up = trio.Event()
        self.dead = trio.Event()
        self.kernel = Kernel(
            kernel_socket(launched.definition),
            self._trouble_changed,
            self.held,
            self.looks_stopped,
            f"{launched.claim.directory}/reading",
            users.owner(launched.definition.user),
        )
        if any(word.startswith(TIME_TRAVEL) for word in launched.command):
            self.kernel.fragile = FRAGILE
        kept = "" if launched.definition.user else kept_socket(self.umid)
        self.kernel_socket = KernelSocket(self.kernel.path, kept)
        self.log = f"{launched.claim.records}/console.log"
        self.release = (0, 0)
        self._heard = self.unwritten = False
        self._hearing = Hearing(self.history)
        self._main = -1
        self._held: processes.Held | None = None
        self._unheard: deque[Notification] = deque()
        self._outsiders: dict[int, int] = {}
        self._troubled = trio.Event()
        self._rebooting = trio.Event()
        self._boot = trio.CancelScope()
        self._nursery: trio.Nursery
        self._record = launched.record
        self.devices = Devices(
            self._record,
            launched.claim.records,
            self.kernel,
            self.history,
            self.log,
            lambda: self.state == STOPPED,
        )
        self.consoles = Consoles(
            launched.claim.directory,
            launched.claim.records,
            self.history,
            agent=has_agent(launched.definition),
            elsewhere=console_elsewhere(launched.definition),
        )
        self.watcher = Watcher(self)
        self.pauses = Pauses(self, self._record)

    @property
    def state(self) -> State:
        return self.lifecycle.state

    @property
    def ending(self) -> Ending | None:
        """How it has ended; None: not yet."""
        return self.lifecycle.ending

    async def supervise(self) -> Ending:
        """Watch the guest until it has ended, and remove all that is left of it."""
        gone = False
        booting = "the guest is still booting"
        silent = "the guest was adopted, and has not answered since; `kill` ends it"
        self.kernel.lose(silent if self.lifecycle.known else booting)
        what: EventName = "adopted" if self.launched.adopted else "started"
        self.history.add(what, pid=self.launched.pid, kernel=self.launched.definition.kernel)
        if self.launched.lost:
            self.history.add("record lost", text=self.launched.lost)
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                self._begin(nursery, "notifications", partial(self._hear, nursery))
                self._begin(nursery, "recovery", self._cure)
                self._begin(nursery, "boot id", self._note_boots)
                self._begin(nursery, "pauses", self.pauses.run)
                self._begin(nursery, "watching", self.watcher.run)
                if self.launched.adopted:
                    nursery.start_soon(self._await_ready, self._boot)
                else:
                    nursery.start_soon(self._limit_boot)
                hold = partial(hold_networks, self.devices, self.launched.pid, self.history)
                self._begin(nursery, "networks", hold)
                await endure(self.history, "end", self._main_gone)
                gone = True
                nursery.cancel_scope.cancel()
        finally:
            self.kernel_socket.close()
            # One that lives, though we end, is for the next supervisor.
            if gone:
                with trio.CancelScope(shield=True):
                    await self._bury()
        assert self.ending is not None
        return self.ending

    def _begin(self, nursery: trio.Nursery, name: str, task: Callable[[], Awaitable[None]]) -> None:
        nursery.start_soon(endure, self.history, name, task)

    async def _hear(self, nursery: trio.Nursery) -> None:
        """Take every notification at once: an unread one freezes the guest. But one whose root
        sends them without end may wait a little: that freezes nobody else."""
        while True:
            taken = self._read_notifications()
            reboots = 0
            while self._unheard:
                notification = self._unheard.popleft()
                if notification.kind == SOCKET:
                    reboots += 1
                    self._has_socket(os.fsdecode(notification.data))
                elif notification.kind == PANIC:
                    self._begin(nursery, "panic", self._see_it_die)
                    self._panicked(notification.data.decode("utf-8", "replace"))
                elif notification.kind == USER:
                    self._note_said(notification)
                elif notification.kind == HANG:
                    self.watcher.is_unfed()
            await trio.sleep(self._hearing.wait(trio.current_time(), taken, reboots))
            with suppress(trio.ClosedResourceError):  # another has taken its place
                await trio.lowlevel.wait_readable(self.launched.notify)

    def _note_said(self, notification: Notification) -> None:
        said = notification.data.decode("utf-8", "replace").strip()
        self._heard = True
        self._hearing.note(said, trio.current_time())
        if said == USERSPACE:
            self.up.set()

    def _read_notifications(self) -> int:
        """Take what they say, which may be nothing; how many datagrams there were."""
        for taken in range(AT_ONCE):
            try:
                datagram = self.launched.notify.recv(1024)
            except BlockingIOError:
                return taken
            with suppress(WireError):
                self._unheard.append(Notification.decode(datagram))
        return AT_ONCE

    def _has_socket(self, path: str) -> None:
        if path != self.kernel.path:
            # The kernel found the name in use after all and took a random one.
            self.lifecycle.had_socket = True
            self.kill(f"the kernel took another name: its socket is {path}", by_policy=True)
            return
        self.kernel_socket.hold()
        self.handle(HasSocket())

    async def _await_ready(self, boot: trio.CancelScope) -> None:
        lost = self.lifecycle.known and not self.kernel_socket.is_there()
        if lost and self.state == BOOTING:
            self._is_ready()
            self.kernel.lose(UNREACHABLE)
            self.watcher.is_unreachable(UNREACHABLE)
            return
        with boot:
            fragile = bool(self.kernel.fragile)
            get_ready = self._hear_of_init if fragile else self._get_ready
            await endure(self.history, "boot", get_ready)

    async def _hear_of_init(self) -> None:
        """A kernel that cannot be asked is ready when its init program is heard of."""
        while not (self.up.is_set() or endings.init_began(self.log)):  # noqa: ASYNC110 - the log
            await trio.sleep(HELD)
        self.consoles.sync(self.devices.entries)
        self._is_ready()

    async def _get_ready(self) -> None:
        kernel = Kernel(
            self.kernel.path,
            lambda _trouble: None,
            stopped=self.looks_stopped,
            owner=self.kernel.owner,
        )
        drivers_up = None
        again = self.state == REBOOTING
        if again:
            await self.devices.renew()
        while True:
            mounts = await kernel.ask("proc mounts", 1.0)
            if mounts.ok and looks.root_is_mounted(mounts.data):
                break
            if drivers_up is None:
                devices = await kernel.ask("proc devices", 1.0)
                if devices.ok and b" 98 ubd" in devices.data:
                    drivers_up = trio.current_time()
            elif self._has_initramfs() or trio.current_time() > drivers_up + ROOT_GRACE:
                break
            if mounts.kind == TIMED_OUT and not again:
                await self._adopt_wedged(kernel)
            kernel.found()
            await trio.sleep(POLL)
        if self.launched.adopted and not again:
            again = await self._catch_up(kernel)
        await self.devices.after_boot(kernel, again=again)
        self.consoles.sync(self.devices.entries)
        if not self.ready.is_set():
            self._is_ready()

    async def _adopt_wedged(self, kernel: Kernel) -> None:
        """A guest that was ready before its supervisor was killed is so still, though its kernel
        may be stuck: then that is its trouble, and what can be asked of it can be."""
        was_ready = self.launched.adopted and self._record.guest_boot and not self.ready.is_set()
        if was_ready and not self.held() and not await kernel.recover():
            self._is_ready()
            self.kernel.is_stuck(kernel.trouble)

    async def _catch_up(self, kernel: Kernel) -> bool:
        """See to what has become of a guest while nobody looked; whether it has rebooted."""
        if self.looks_stopped():
            # A request of the last supervisor's may wait in it, and has it keep the next one.
            await kernel.ask(QUIET, 1.0)
        boot = await kernel.ask(BOOT_ID, 1.0)
        known = self._record.guest_boot
        if boot.ok and known and boot.text.strip() != known:
            self.handle(RebootedUnseen())
            await self.devices.renew()
            return True
        if self.kernel.unmark() and self.looks_stopped():
            await kernel.ask("go")  # its supervisor was killed while it read a file
        if self.launched.lost:
            for name in await find_again(self._record, kernel):
                self.history.add("device lost", device=name, text=UNTRACED)
        return False

    async def _note_boots(self) -> None:
        """Write down which boot this is, for who may have to adopt the guest."""
        while True:
            ready = self.ready
            await ready.wait()
            boot = await self.kernel.ask(BOOT_ID)
            if boot.ok and boot.text.strip() != self._record.guest_boot:
                self._record.guest_boot = boot.text.strip()
                await self.save()
            said = (await self.kernel.ask("version")).text.split()
            self.release = kernels.release_of(said[2]) if len(said) > 2 else (0, 0)
            while self.ready is ready:
                await self._rebooting.wait()

    def _has_initramfs(self) -> bool:
        return any(word.startswith("initrd=") for word in self.launched.command)

    def _is_ready(self) -> None:
        event = ReadyStopped if self.looks_stopped() else Ready
        self.handle(event(facts={"pid": self.launched.pid}))
        if self.launched.adopted or not has_agent(self.launched.definition):
            self.up.set()

    def _panicked(self, text: str) -> None:
        self._record.last_panic = text
        self.handle(Panicked(text=text, facts={"console": consolelog.last_of(self.log)}))

    async def _see_it_die(self) -> None:
        await trio.sleep(DYING)
        self.kill("panicked and did not exit", by_policy=True)

    async def _limit_boot(self) -> None:
        limit = self.launched.definition.timeout
        while True:
            with trio.move_on_after(limit):
                await self.ready.wait()
                return
            if not self.held():
                break
        self.kill(f"not ready within {limit:g} seconds", by_policy=True)

    async def _main_gone(self) -> None:
        """Wait for the end of the main process, and kill at once whatever it leaves."""
        try:
            descriptor = os.pidfd_open(self.launched.pid)
        except ProcessLookupError:
            return
        try:
            if processes.alive(self.launched.pid, self.launched.started):
                self._main = descriptor
                await trio.lowlevel.wait_readable(descriptor)
        finally:
            self._main = -1
            os.close(descriptor)

    async def _bury(self) -> None:
        try:
            await endure(self.history, "end", self._take_stock, errors=False)
            await endure(self.history, "devices", self._release, errors=False)
        finally:
            self.launched.notify.close()
            self.ready.set()
            self.up.set()
            self.dead.set()

    async def _release(self) -> None:
        for problem in await self.devices.bury():
            self.history.add("failed", text=problem)

    async def _take_stock(self) -> None:
        """Find out how it ended, and write it down."""
        self._kill_processes()
        self._read_notifications()
        while self._unheard:
            notification = self._unheard.popleft()
            if notification.kind == PANIC:
                self._panicked(notification.data.decode("utf-8", "replace"))
            elif notification.kind == SOCKET:
                self.lifecycle.had_socket = True
            elif notification.kind == USER:
                self._note_said(notification)
        status = await self._exit_status()
        with trio.move_on_after(TERM):
            while not processes.reap_group(self.launched.pid):  # noqa: ASYNC110 - nobody tells
                await trio.sleep(POLL)
        if self.ending is None:
            ending = self._how_it_ended(status)
            self.handle(Ended(ending=ending, how=endings.describe(ending)))
        self._record.ending = self.ending
        await self.save()

    async def _exit_status(self) -> endings.Status:
        """What the tiny parent wrote down."""
        shim = self.launched.shim
        if not shim:
            return endings.Status(None, False)
        with trio.move_on_after(5 * TERM) as patience:  # it may have to wait for a busy host
            await _reaped(shim)
        if patience.cancelled_caught:
            with suppress(ProcessLookupError):
                os.killpg(shim, signal.SIGKILL)
            await _reaped(shim)
        return endings.read_status(self.launched.claim.directory)

    def _how_it_ended(self, status: endings.Status) -> Ending:
        tail = endings.tail_of(self.log)
        life = self.lifecycle
        if not (life.panic or life.answers or endings.is_orderly(tail)):
            # Before it could notify anybody; later, whatever the guest prints is no evidence.
            early = endings.early_panic(tail)
            if early:
                self._panicked(early)
        ending = endings.judge(
            endings.Evidence(
                status=status.code,
                starved=status.starved,
                tail=tail,
                was_ready=life.known,
                panic=life.panic,
                asked=life.asked_to_end,
                forced=life.forced,
                late=life.late,
                unsynced=life.unsynced,
                had_socket=life.had_socket,
                halted=life.halted,
                began=self._heard or (not life.known and endings.init_began(self.log)),
                left=os.path.isdir(os.path.dirname(self.kernel.path)),
                executes=endings.executed_again(self.launched.definition),
            )
        )
        doubt = ""
        if not (self.up.is_set() or life.asked_to_end) and ending.code:
            doubt = room.processes_doubt()
        return msgspec.structs.replace(ending, text="; ".join(filter(None, [ending.text, doubt])))

    def _trouble_changed(self, trouble: str) -> None:
        if trouble:
            self.history.add("wedged", text=trouble)
            self._troubled.set()
        else:
            self.history.add("recovered")

    async def _cure(self) -> None:
        while True:
            await self._troubled.wait()
            self._troubled = trio.Event()
            pause = 0.2
            while self.held() or not await self.kernel.recover():
                await trio.sleep(pause)
                pause = min(pause * 2, 5.0)
            await self.devices.settle()

    # What is asked of it

    def note_stopped(self, seconds: float | None = None, **by: int) -> None:
        """It is stopped; `seconds` is how long at most."""
        if self.state == RUNNING:
            self.handle(Stopped(facts={"seconds": seconds, **by}))
        self._record.resume = 0.0 if seconds is None else time.time() + seconds
        self.pauses.changed.set()

    def note_running(self, **by: int) -> None:
        if self.state == STOPPED:
            self.handle(Resumed(facts={**by}))
            self._record.resume = 0.0
            self.pauses.changed.set()

    async def halt(self, request: str) -> Outcome:
        """A user ends the kernel at once: it is not started again.

        request: by which it ends itself, if it can
        """
        return await orderly.halt(self, request)

    async def reboot(self, seconds: float = DEADLINE) -> Outcome:
        """Have the kernel reset; from its answer on, requests wait until it is ready again.

        seconds: for the answer
        """
        ready = self.ready
        outcome = await self.kernel.ask("reboot", seconds)
        # Its notification can have come before we are here; then all is seen to.
        if outcome.ok and self.ready is ready and self.state == RUNNING:
            self.handle(Resetting())
        return outcome

    def note_outsiders(self) -> None:
        """Remember the helpers that a signal to the group would miss: after the end of the main
        process nobody could tell whose they were."""
        with suppress(OSError):  # for want of a descriptor: there are few, and they rarely change
            self._outsiders.update(processes.outside_group(self.launched.pid))

    def _live_outsiders(self) -> list[int]:
        alive = []
        for pid, born in self._outsiders.items():
            with suppress(OSError):
                alive += [pid] if processes.alive(pid, born) else []
        return alive

    def _kill_processes(self) -> None:
        launched = self.launched
        processes.kill_guest(launched.pid, launched.started, self._live_outsiders())

    def signal(self, number: int) -> None:
        """Send a signal to the main process; never SIGKILL, see `kill`."""
        if self._main >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._main, number)

    def kill(self, why: str, *, by_policy: bool = False) -> None:
        """End the kernel and all its processes now.

        by_policy: no user wants it, and it may be started again
        """
        self.handle(KillWanted(why=why, by_policy=by_policy))

    async def await_restart(self, seconds: float) -> bool:
        """Wait to be started again; False if a user does not want that."""
        self._record.again = True
        await self.save()  # for the next supervisor, if this one is killed meanwhile
        self.handle(Retried(seconds=seconds))
        with trio.move_on_after(seconds):
            await self.no_restart.wait()
        if self.no_restart.is_set():
            await self.give_up()
        return not self.no_restart.is_set()

    async def give_up(self) -> None:
        """It is not started again after all."""
        self.handle(GivenUp())
        self._record.again = False
        await self.save()

    async def shut_down(self, seconds: float, why: str, **by: int) -> None:
        """A user ends it in order, as far as it can be.

        seconds: for the guest's own shutdown
        """
        self.handle(EndWanted())
        if not self.dead.is_set():
            self.history.add("shutdown", text=why, seconds=seconds, **by)
            await orderly.shut_down(self, seconds, why)

    # What is known of it

    async def answers(self) -> None:
        """Until it is ready, or dead, or held, as by a debugger: then it answers when let go."""
        while not (self.ready.is_set() or self.dead.is_set() or self.held()):
            with trio.move_on_after(HELD):
                await self.ready.wait()

    def held(self) -> processes.Held | None:
        """Who keeps its process from running, such as a debugger."""
        if self.dead.is_set():
            return None
        with suppress(OSError):  # then as it was seen last
            self._held = processes.held(self.launched.pid)
        return self._held

    def looks_stopped(self) -> bool:
        """The host sees the kernel wait in `stop`, whatever the kernel says."""
        return processes.looks_stopped(self.launched.pid) is True

    def status(self) -> Status:
        return status_of(self)

    # What its lifecycle has us do

    def handle(self, event: lifecycle.Event) -> None:
        """Something has happened to it, or is wanted of it: do what is to be done about that."""
        self._handle(event, time.time())

    def _handle(self, event: lifecycle.Event, now: float) -> None:
        for instruction in self.lifecycle.handle(event, now):
            self._obey(instruction)

    def _obey(self, instruction: lifecycle.Instruction) -> None:  # noqa: C901 - an arm for each
        match instruction:
            case lifecycle.Tell(event, facts):
                self.history.add(event, **facts)
            case lifecycle.AnswerRequests():
                self.kernel.found()
                self.ready.set()
            case lifecycle.HoldRequests(why):
                self.kernel.lose(why)
                self.ready = trio.Event()
            case lifecycle.RefuseRequests(why):
                self.kernel.lose(why)
            case lifecycle.PrepareBoot():
                launch.make_again(self.launched)
                self._rebooting.set()
                self._rebooting = trio.Event()
                self.consoles.note_boot()
            case lifecycle.AwaitReady():
                self.watcher.begins_anew()
                self._boot.cancel()
                self._boot = trio.CancelScope()
                self._nursery.start_soon(self._await_ready, self._boot)
            case lifecycle.Terminate():
                self.signal(signal.SIGTERM)
            case lifecycle.FindHelpers():
                self.note_outsiders()
            case lifecycle.Kill():
                self._kill_processes()
            case lifecycle.StopOthers(why):
                self.stop_others(why)
            case lifecycle.CancelRestart():
                self.no_restart.set()

    async def save(self) -> None:
        try:
            await trio.to_thread.run_sync(records.save, self._record)
            self.unwritten = False
        except (OSError, RuntimeError) as problem:
            self.unwritten = True
            self.history.add("not recorded", text=scarce.explained(problem))


def _is_known(launched: Launched) -> bool:
    """It was ready once in this life, seen by the supervisor before us."""
    return bool(launched.record.guest_boot or launched.lost)


async def _reaped(pid: int) -> None:
    """Wait for the end of a process, and reap it if it is a child of ours."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        await trio.lowlevel.wait_readable(descriptor)
    finally:
        os.close(descriptor)
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # noqa: ASYNC222 - it has ended
