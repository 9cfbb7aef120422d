"""The background supervisor of a user: any number of guests in one trio run.

It is started when first needed, answers on a mconsole socket of its own (`start FILE`, `list`,
`quit`) and ends by itself a while after its last guest.

`python -m umlctl.supervisor.daemon` is how `umlctl start` starts it. With `--service`, as a
service manager does, it starts what is enabled, tells that manager how it is, and stays.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import math
import os
import signal
import sys
import time
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from socketproto.listener import Call, ClientGone
from umlctl import exitcodes
from umlctl.commands import HOST, SHUTDOWN_TIMEOUT
from umlctl.errors import GuestInUse, NeverStarted, Refusal, UmlctlError
from umlctl.guard import read
from umlctl.guest import definition as definitions
from umlctl.guest.order import ends, in_order
from umlctl.host import burial, claim, daemonlog, lost, paths, records, scarce
from umlctl.host.endings import describe
from umlctl.host.sdnotify import Manager, from_environment
from umlctl.protocol import events
from umlctl.supervisor.autostart import Autostart
from umlctl.supervisor.door import Door
from umlctl.supervisor.history import brief
from umlctl.supervisor.keeper import LOOK
from umlctl.supervisor.launch import adopt, launch
from umlctl.supervisor.limits import Sparing
from umlctl.supervisor.lock import Lock
from umlctl.supervisor.readiness import HEARTBEAT
from umlctl.supervisor.run import run_guest
from umlctl.supervisor.turn import Turn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from umlctl.guest.definition import Definition
    from umlctl.host.records import Record
    from umlctl.protocol.events import Event
    from umlctl.supervisor.autostart import Result
    from umlctl.supervisor.guest import Guest
    from umlctl.supervisor.launch import Launched

STARTS: Final = 4
"""Guests that may boot at once: with more, each takes longer than all one after another."""
PAUSE: Final = 0.02
"""Between two looks at whether all guests are gone, seconds."""
DIES: Final = 2.0
"""How long the tiny parent of a guest that has just died may take to write down how, seconds."""
LEAVE: Final = "leave"
NO_WAIT: Final = "no-wait "
"""Before the file of `start`: answered when the kernel is launched, not when the guest is up."""
LETS_GO: Final = 10.0
"""How long a guest that has ended may keep its name for its clean-up, seconds."""
WRITE_AGAIN: Final = 5.0
"""Between two tries to write down what a full disk did not take, seconds."""
UP: Final = 5.0
"""How long the first process of a guest that is ready may take to say that it has begun, and how
long those may take to answer that were adopted, or to come that are brought back, seconds."""
IDLE: Final = 10.0
"""How long it stays without a guest, seconds."""


class Daemon:
    """The background supervisor."""

    def __init__(
        self,
        listener: Door,
        manager: Manager | None = None,
        *,
        service: bool = False,
        start: bool = False,
    ) -> None:
        """manager: is told how we are

        service: stay, though there be nothing to do
        start: begin with what is enabled
        """
        self._listener = listener
        self._manager = manager or Manager()
        self._service = service
        self._start_first = start
        self._guests: dict[str, Guest] = {}
        self._starting = trio.CapacityLimiter(STARTS)
        self._adopting = trio.Lock()
        self._autostarting = trio.Lock()
        self._stopping = trio.Lock()
        self._answers_by = -math.inf
        self._busy = self._was_busy = 0
        self._quitting = trio.Event()
        self._strangers = Sparing()
        self._nursery: trio.Nursery

    async def run(self) -> None:
        """Serve until told to quit, or until nothing has been to do for a while."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._listener.serve, self._handle)
            nursery.start_soon(self._signals)
            await self._survive("adopt", self._adopt_all)
            nursery.start_soon(self._survive, "autostart", self._begin)
            while not self._quitting.is_set():
                with trio.move_on_after(IDLE):
                    await self._quitting.wait()
                if self._busy == self._was_busy == 0 and not self._service:
                    self._quitting.set()
                self._was_busy = self._busy
            self._manager.stopping()
            await self._stop_all("the supervisor ends")
            with trio.move_on_after(1):
                await self._listener.idle()
            nursery.cancel_scope.cancel()

    async def _begin(self) -> None:
        if self._start_first:
            await self.start_enabled(_log_result)
        if not self._quitting.is_set():
            self._manager.ready(self._summary())

    async def _survive(self, what: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do what nobody waits for; what goes wrong with it must not end the guests."""
        try:
            await work()
        except Exception as problem:  # noqa: BLE001
            _say_failure(what, problem)

    def _summary(self) -> str:
        count = len(self._guests)
        return f"{count} guest runs" if count == 1 else f"{count} guests run"

    async def _signals(self) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            async for _number in signals:
                self._quitting.set()

    async def _handle(self, call: Call) -> None:
        try:
            self._check(call)
            line = read(call.data.decode("utf-8", "surrogateescape"))
            if line.command.served != HOST:
                raise Refusal(
                    f"`{line.command.name}` is for a guest's socket; this is the supervisor's",
                    -errno.EINVAL,
                )
            if line.command.name == "list":
                statuses = [guest.status() for guest in self._guests.values()]
                await call.answer(msgspec.json.encode(statuses))
            elif line.command.name == "quit":
                await self._quit(call, line.argument)
            elif self._quitting.is_set():
                raise Refusal("the supervisor is ending; try again in a moment", -errno.EAGAIN)
            elif line.command.name == "adopt":
                await self._adopt(call, line.argument.split())
            elif line.command.name == "autostart":
                await self._autostart(call)
            else:
                await self._start(call, line.argument)
        except Refusal as refusal:
            await call.answer(str(refusal), refusal.error)
        except ClientGone:
            raise
        except Exception as problem:  # noqa: BLE001 - one request must not end the guests
            said = _say_failure(call.data.decode("utf-8", "backslashreplace"), problem)
            await call.answer(said, -errno.EIO)

    def _check(self, call: Call) -> None:
        """See that the client is the owner or root: what starts guests is nobody else's.

        Raises: Refusal
        """
        if call.uid in (0, os.geteuid()):
            return
        if self._strangers.take(trio.current_time()) is not None:
            request = call.data[:80].decode("utf-8", "backslashreplace")
            _say(f"client refused: uid {call.uid}, pid {call.pid}: {request}")
        raise Refusal(
            f"permission denied: this is the supervisor of uid {os.geteuid()}, and you are "
            f"uid {call.uid}",
            -errno.EPERM,
        )

    async def _quit(self, call: Call, argument: str) -> None:
        if argument == LEAVE:
            # As one that is killed leaves them: who can be at any moment need not know another way.
            _say(f"uid {call.uid}, pid {call.pid} has this end and leave the guests")
            os.kill(os.getpid(), signal.SIGKILL)
        if argument:
            raise Refusal(f"`quit` takes `{LEAVE}` or nothing, not {argument!r}", -errno.EINVAL)
        self._quitting.set()
        await self._patiently(call, lambda: self._stop_all("the supervisor was told to end"))
        await call.answer("")

    async def _adopt(self, call: Call, umids: list[str]) -> None:
        """Take over what has no supervisor, and see that the guests named answer; or all do."""

        async def adopt() -> None:
            await self._adopt_all()
            with trio.move_on_at(self._answers_by):
                for guest in list(self._guests.values()):
                    named = not umids or guest.umid in umids
                    if named and guest.launched.adopted:
                        await guest.life.answers()

        await self._patiently(call, adopt)
        await call.answer("")

    async def _adopt_all(self) -> None:
        """Take over every guest that runs on without its supervisor."""

        async def take(record: Record) -> None:
            try:
                launched = await trio.to_thread.run_sync(adopt, record)
                await self._nursery.start(self._run_guest, launched)
            except GuestInUse:
                pass  # somebody has it, or it is no more
            except UmlctlError as problem:
                _say(f"{record.definition.umid}: {scarce.explained(problem)}")
            except Exception as problem:  # noqa: BLE001 - a broken record must not end the guests
                _say_trace(f"adopt {record.definition.umid}", problem)

        async with self._adopting:
            for said in await trio.to_thread.run_sync(lost.set_dead_aside):
                _say(said)
            async with trio.open_nursery() as nursery:
                for record in await trio.to_thread.run_sync(lost.without_supervisor):
                    nursery.start_soon(take, record)
                    self._answers_by = trio.current_time() + UP
            await self._bring_back()

    async def _bring_back(self) -> None:
        """See to guests that have died unseen, and start those again whose policy is that."""

        async def start(record: Record) -> None:
            umid = record.definition.umid
            result = await self._attempt(f"restart {umid}", lambda: record.definition)
            coming.discard(umid)  # though it has failed
            if result["code"]:
                _say(f"restart {umid}: {result['text']}")

        wanted = await trio.to_thread.run_sync(_find_wanted)
        coming = {record.definition.umid for record in wanted}
        for record in wanted:
            self._nursery.start_soon(start, record)
        with trio.move_on_after(UP):
            while coming - self._guests.keys():  # noqa: ASYNC110 - nobody tells
                await trio.sleep(PAUSE)

    async def _start(self, call: Call, argument: str) -> None:
        path = argument.removeprefix(NO_WAIT)
        answer: dict[str, Any] = {}

        async def start() -> None:
            read_it = functools.partial(_read_definition, path)
            answer.update(await self._attempt(f"start {path}", read_it, wait=path == argument))

        await self._patiently(call, start)
        await call.answer(msgspec.json.encode(answer))

    async def _autostart(self, call: Call) -> None:
        """Start what is enabled; a line for each guest, as it becomes known."""
        news = bytearray()

        async def start() -> None:
            await self.start_enabled(
                lambda result: news.extend(msgspec.json.encode(result) + b"\n")
            )

        await self._patiently(call, start, news)
        await call.answer(bytes(news))

    async def start_enabled(self, tell: Callable[[Result], None]) -> None:
        """Start every guest that is enabled and does not run."""

        async def start(definition: Definition) -> dict[str, Any]:
            return await self._attempt(f"start {definition.umid}", lambda: definition)

        async with self._autostarting:
            await self._adopt_all()
            await Autostart(start, tell).run()

    async def _attempt(
        self, what: str, read: Callable[[], Definition], *, wait: bool = True
    ) -> dict[str, Any]:
        """Start a guest; its status, or why there is none.

        wait: until it is up
        """
        try:
            guest = await self._start_guest(read, wait=wait)
            return {"code": 0, "status": guest.status()}
        except UmlctlError as problem:
            return {"code": problem.code, "text": _printable(problem)}
        except Exception as problem:  # noqa: BLE001 - one start must not end the guests
            if not scarce.is_lacking(problem):
                _say_trace(what, problem)
            return {"code": exitcodes.FAILED, "text": _printable(problem)}

    async def _start_guest(self, read: Callable[[], Definition], *, wait: bool) -> Guest:
        self._busy += 1
        try:
            async with self._starting:
                definition = await trio.to_thread.run_sync(read)
                if self._quitting.is_set():
                    raise NeverStarted(f"{definition.umid}: the supervisor ends; start it again")
                await self._let_go(definition.umid)
                launched = await trio.to_thread.run_sync(_claim_and_launch, definition)
                guest: Guest = await self._nursery.start(self._run_guest, launched)
                if wait:
                    await guest.milestones.ready.wait()
                    with trio.move_on_after(UP):
                        await guest.milestones.up.wait()
        finally:
            self._busy -= 1
        if guest.ending is not None:
            raise NeverStarted(
                f"{guest.umid} {describe(guest.ending)}; "
                f"`umlctl logs {guest.umid}` shows its console"
            )
        return guest

    async def _let_go(self, umid: str) -> None:
        """Have a guest of ours that has ended, as whoever starts it again was told, let go of its
        name."""
        with trio.move_on_after(LETS_GO):
            while (  # noqa: ASYNC110 - nobody tells
                guest := self._guests.get(umid)
            ) is not None and guest.milestones.dead.is_set():
                await trio.sleep(PAUSE)

    async def _run_guest(
        self, launched: Launched, task_status: trio.TaskStatus[Guest] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """One broken guest must not break the others: what goes wrong here ends here.

        Raises: NeverStarted: to who started it
        """
        umid = launched.definition.umid
        guest = None
        self._busy += 1
        try:
            async with trio.open_nursery() as nursery:
                others = functools.partial(self._stop_others, umid)
                guest = await nursery.start(run_guest, launched, _log_event, others)
                self._guests[umid] = guest
                self._manager.status(self._summary())
                task_status.started(guest)
        except ExceptionGroup as group:
            problem = group.exceptions[0]
            if guest is None:
                raise NeverStarted(str(problem)) from problem
            _say_trace(umid, problem)
        finally:
            self._busy -= 1
            if guest is not None:
                self._is_over(guest)

    def _is_over(self, guest: Guest) -> None:
        if self._guests.get(guest.umid) is not guest:
            return
        del self._guests[guest.umid]
        self._manager.status(self._summary())
        self._nursery.start_soon(self._write_later, guest)

    async def _write_later(self, guest: Guest) -> None:
        """Write down what a full disk did not take of a guest that has ended, once it does; if we
        end before, the next supervisor sees to it."""
        while guest.milestones.dead.is_set() and not _is_written(guest):
            await trio.sleep(WRITE_AGAIN)
            if guest.umid in self._guests:
                return  # another life
            await self._survive(f"record {guest.umid}", functools.partial(_write, guest))

    async def _patiently(
        self, call: Call, work: Callable[[], Awaitable[None]], news: bytearray | None = None
    ) -> None:
        """Do the work to its end, giving the client signs of life as long as it is there.

        news: what the work has to say so far; what is sent is taken out
        """
        call.step_aside()
        said = bytearray() if news is None else news
        done = trio.Event()

        async def finish() -> None:
            await work()
            done.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(finish)
            gone = False
            while not done.is_set():
                with trio.move_on_after(HEARTBEAT):
                    await done.wait()
                if not done.is_set() and not gone:
                    part = bytes(said)
                    said.clear()
                    try:
                        await call.part(part)
                    except ClientGone:
                        gone = True

    def _stop_others(self, umid: str, why: str) -> None:
        """End all guests but one, in order."""
        for other in self._guests.values():
            if other.umid != umid:
                end = functools.partial(other.shut_down, SHUTDOWN_TIMEOUT, why)
                self._nursery.start_soon(self._survive, f"shutdown {other.umid}", end)

    async def _stop_all(self, why: str) -> None:
        """End all guests, those too that are being launched just now."""
        async with self._stopping:
            while self._busy:
                await self._stop_in_order(why)
                await trio.sleep(PAUSE)

    async def _stop_in_order(self, why: str) -> None:
        guests = dict(self._guests)
        after = {umid: guest.launched.definition.after for umid, guest in guests.items()}

        async def end(umid: str) -> None:
            shut_down = functools.partial(guests[umid].shut_down, SHUTDOWN_TIMEOUT, why)
            await self._survive(f"shutdown {umid}", shut_down)

        async with trio.open_nursery() as nursery:
            in_order(ends(after), end, nursery.start_soon)


def _is_written(guest: Guest) -> bool:
    """Nothing is left to be written, or somebody has removed its records meanwhile."""
    removed = not os.path.isdir(guest.launched.claim.records)
    return removed or (guest.history.flush() and not guest.life.unwritten)


async def _write(guest: Guest) -> None:
    await trio.to_thread.run_sync(burial.bury, guest.launched.record)
    guest.life.unwritten = records.is_unwritten(guest.umid)


def _find_wanted() -> list[Record]:
    """Guests that have died unseen and are to be started again; all that have died are buried.

    Of one that has just died its tiny parent has yet to say how.
    """
    left = [record for record in records.load_all() if not _bury(record)]
    end = time.monotonic() + DIES
    while left and time.monotonic() < end:
        time.sleep(PAUSE)
        left = [record for record in left if not _bury(record)]
    return burial.wanted_back()


def _bury(record: Record) -> bool:
    """See to a guest if it has died unseen; False if that is to be tried again soon."""
    umid = record.definition.umid
    try:
        for problem in burial.bury(record):
            _say(f"{umid}: {problem}")
        if record.ending is not None or records.lives(record) or claim.has_owner(umid):
            return True
        latest = records.load(umid)
    except OSError as problem:
        _say(f"{umid}: {scarce.explained(problem)}")
        return True
    return latest is None or latest.ending is not None


def _read_definition(path: str) -> Definition:
    try:
        with open(path, "rb") as file:
            return definitions.decode(file.read())
    except OSError as problem:
        raise NeverStarted(f"cannot read {path}: {problem.strerror}") from problem


def _claim_and_launch(definition: Definition) -> Launched:
    for problem in burial.bury_last(definition.umid):
        _say(f"{definition.umid}: {problem}")
    held = claim.claim(definition.umid, definition.home)
    try:
        return launch(definition, held)
    except BaseException:
        held.release()
        raise


def _printable(problem: Exception) -> str:
    """Names of files may be no UTF-8, and JSON is."""
    return scarce.explained(problem).encode("utf-8", "backslashreplace").decode()


def _log_event(event: Event) -> None:
    if events.row(event["event"]).log:
        _say(msgspec.json.encode(brief(event)).decode())


def _say_trace(what: str, problem: BaseException) -> None:
    _say(f"{what}: " + "".join(traceback.format_exception(problem)))


def _say_failure(request: str, problem: Exception) -> str:
    """Write down what went wrong with a request; what its client is told."""
    if scarce.is_lacking(problem):
        said = f"not done: {scarce.explained(problem)}"
        _say(f"{request}: {said}")
        return said
    _say_trace(request, problem)
    return f"internal error: {problem!r}"


def _say(message: str) -> None:
    daemonlog.say(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {message}\n")


def _log_result(result: Result) -> None:
    _say(f"{result.umid}: {result.outcome}{f': {result.text}' if result.text else ''}")


def _will_return(returns: bool) -> None:
    """Whether commands are to wait for this supervisor if it crashes: its service manager starts
    it again, and one that they started would keep it from its guests, with nobody to watch it."""
    try:
        if returns:
            os.close(os.open(paths.supervisor_returns(), os.O_WRONLY | os.O_CREAT, 0o600))
        else:
            os.unlink(paths.supervisor_returns())
    except OSError:
        pass  # they do not wait then, or once in vain


async def _serve(lock: Lock, manager: Manager, *, service: bool) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(manager.beat)
        start = service
        if not lock.take(fcntl.LOCK_NB):
            if not service:
                return  # somebody was faster
            turn = Turn(lambda: lock.take(0), manager)
            await turn.wait()
            if not turn.came:
                nursery.cancel_scope.cancel()
                return
            start = not turn.started
        _will_return(service)
        door = Door(paths.supervisor_socket())
        nursery.start_soon(_stay, lock, door, service)
        try:
            await Daemon(door, manager, service=service, start=start).run()
            _will_return(False)  # in order: nobody starts it again
        finally:
            door.close()
        nursery.cancel_scope.cancel()


async def _stay(lock: Lock, door: Door, returns: bool) -> None:
    """Be found though somebody removes the run directory, or a part of it."""
    while True:
        await trio.sleep(LOOK)
        with suppress(OSError):
            lock.stand()
            if door.stand():
                _will_return(returns)
                _say(f"{door.path} was removed, and is there again")


def main(arguments: list[str]) -> int:
    """Become the supervisor of this user, unless there is one; tell the starter when ready."""
    scarce.become_supervisor()
    manager = from_environment()
    service = arguments == ["--service"]
    lock = Lock()
    os.umask(0o077)
    os.chdir("/")
    # Whoever started us to serve a command, its service manager is not told of us.
    trio.run(functools.partial(_serve, lock, manager if service else Manager(), service=service))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
