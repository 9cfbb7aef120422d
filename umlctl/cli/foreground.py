"""`umlctl run`: one guest, supervised by this very process."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from umlctl import exitcodes, streams
from umlctl.cli.alongside import LOOK_INTERVAL, Copy, Tie
from umlctl.errors import GuestInUse, UsageError
from umlctl.guest import policy
from umlctl.host.paths import has_record
from umlctl.host.systemd import notify
from umlctl.output import say
from umlctl.protocol import events
from umlctl.protocol.commands import SHUTDOWN_TIMEOUT
from umlctl.state.umid_lock import claim
from umlctl.supervisor.launch.launch import launch
from umlctl.supervisor.passed_descriptors import kept_as_they_are

if TYPE_CHECKING:
    from collections.abc import Callable

    import trio

    from umlctl.errors import UmlctlError
    from umlctl.guest.definition import Definition
    from umlctl.protocol.events import Event, EventName
    from umlctl.protocol.status import Ending
    from umlctl.supervisor.guest import Guest
    from umlctl.supervisor.launch.launched import Launched

ENDING_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals that shut the guest down in order."""
LATE_SHUTDOWN_TIMEOUT: Final = 10.0
"""What it gets when the limit of the run has passed, seconds."""
INIT_BEGIN_TIMEOUT: Final = 5.0
"""How long the first process of a guest that is ready may take to say that it has begun."""
MAX_EVENTS_BEHIND: Final = 256
"""Events that a slow reader of standard error may be behind before it misses some."""
LAST_EVENTS_TIMEOUT: Final = 1.0
"""How long it may take to read the last of them, seconds."""


class ForegroundOptions(NamedTuple):
    """What is to be done beside the guest.

    Fields:
        console: have the terminal on its console meanwhile
        ready_fd: where a line is written once it is ready; then it is closed
        limit: how long all of it may take, seconds
        copy: the file that its console's log goes to
        tied: the guest is killed when this process is
    """

    console: bool = False
    ready_fd: int | None = None
    limit: float | None = None
    copy: Copy | None = None
    tied: bool = False


class Log:
    """What is said on standard error, in words or a line of JSON each.

    It is written by a thread: a reader that stalls must not stall the guest.

    Fields:
        attached: the guest's console is shown here, and need not be looked for
    """

    def __init__(self, umid: str, *, in_json: bool) -> None:
        self.umid = umid
        self.in_json = in_json
        self.attached = False
        self.quiet: Callable[[], bool] = lambda: False
        self.told = {name for name, row in events.TABLE.items() if row.run}
        self._missed = 0
        self._send: trio.MemorySendChannel[Event] | None = None
        self._written: trio.Event

    def put(self, event: Event) -> None:
        """Have an event written, or count it as missed."""
        import trio

        if (self.in_json or event["event"] in self.told) and self._send is not None:
            try:
                self._send.send_nowait(event)
            except trio.WouldBlock:
                self._missed += 1

    async def run(self, task_status: trio.TaskStatus[None]) -> None:
        """Write events until the log is closed and all are written."""
        import trio

        self._send, events = trio.open_memory_channel[dict[str, Any]](MAX_EVENTS_BEHIND)
        self._written = trio.Event()
        task_status.started()
        async for event in events:
            missed, self._missed = self._missed, 0
            if missed:
                await self._write_aside(self.event("missed", count=missed))
            if not self.quiet():  # else the screen is the guest's
                await self._write_aside(event)
        self._written.set()

    async def _write_aside(self, event: Event) -> None:
        import trio

        await trio.to_thread.run_sync(self.write, event, abandon_on_cancel=True)

    async def close(self) -> None:
        """Wait until all is written, but not for ever."""
        import trio

        assert self._send is not None
        self._send.close()
        with trio.move_on_after(LAST_EVENTS_TIMEOUT):
            await self._written.wait()

    def event(self, name: EventName, **facts: object) -> Event:
        return events.event(name, self.umid, time.time(), **facts)

    def write(self, event: Event) -> None:
        """Write one event now."""
        name, text = event["event"], str(event.get("text", ""))
        if name == "ready" and "after" in event:
            text = f"after {event['after']:.2f}s, kernel pid {event['pid']}"
            if not self.attached:
                text += f"; `umlctl console {self.umid}` is its console"
        elif name == "restarting":
            text = f"in {event['seconds']:g}s, try {event['tries']}"
        elif name == "missed":
            text = f"{event['count']} events, since nobody read them"
        if self.in_json:
            import msgspec

            _write(2, msgspec.json.encode(event) + b"\n")
        else:
            self.say(f"{name}: {text}" if text else name)

    def say(self, text: str) -> None:
        _write(2, f"umlctl: {self.umid}: {text}\n".encode("utf-8", "backslashreplace"))

    def fail(self, problem: UmlctlError) -> int:
        """Say, as JSON, why there is no guest; the exit code."""
        text = str(problem).encode("utf-8", "backslashreplace").decode()
        self.write(self.event("error", text=text, code=problem.code))
        return problem.code


def check_ready_descriptor(descriptor: int) -> None:
    """See that it can be told when the guest is ready.

    Raises: UsageError
    """
    try:
        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    except (OSError, ValueError, OverflowError):
        raise UsageError(
            f"--ready-fd {descriptor}: no such descriptor is open; "
            f"open it, as in `umlctl run --ready-fd {descriptor} {descriptor}>FILE`"
        ) from None
    if descriptor < 3:
        raise UsageError(
            f"--ready-fd {descriptor}: that is a standard descriptor, and it is closed "
            "when the guest is ready; take one from 3 on"
        )
    if flags & os.O_ACCMODE == os.O_RDONLY:
        raise UsageError(f"--ready-fd {descriptor}: it is not open for writing")
    os.set_inheritable(descriptor, False)


def supervise(definition: Definition, log: Log, wishes: ForegroundOptions) -> Ending:
    """Boot the guest and stay with it to its end: how that was, with the exit code.

    log: where it is said what happens
    """
    manager = notify.from_environment()
    terminal = Terminal(definition.umid) if wishes.console else None
    if terminal is not None:
        log.attached, log.quiet = True, terminal.has_screen
    if policy.on_panic(definition) != policy.RESTART:
        log.told.discard("panicked")  # the last word says so
    # What nohup(1), or a shell for a job in the background, has had ignored is left ignored.
    heeded = [number for number in ENDING_SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    # Held back until there is somebody to heed them: a kernel would be left behind.
    signal.pthread_sigmask(signal.SIG_BLOCK, heeded)
    try:
        ending = _boot(definition, Foreground(log, manager, heeded, wishes), terminal)
    finally:
        if terminal is not None:
            terminal.end()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, heeded)
    if wishes.copy is not None and wishes.copy.problem:
        log.write(log.event("warning", text=wishes.copy.problem))
    if not log.in_json:  # there it was an event
        trace = f"; `umlctl dmesg {log.umid}` has the trace"
        log.say(_describe(ending) + (trace if ending.code == exitcodes.PANIC else ""))
    return ending


class Terminal:
    """A process that has this terminal on the guest's console, from its first byte to its last.

    It ends by itself if this process is killed. Signals that shut the guest down are held back in
    it: what the guest prints on its way down is to be seen.
    """

    def __init__(self, umid: str) -> None:
        self._umid = umid
        self._process: subprocess.Popen[bytes] | None = None
        self._alive = -1
        self._is_screen = all(map(os.isatty, (0, 1, 2)))

    def attach(self) -> None:
        """Attach as soon as there is a console. The guest is not there yet, but its name is ours.

        Raises: OSError
        """
        from umlctl.cli.transcript import identity, log_path

        alive, self._alive = os.pipe()
        log = identity(log_path(self._umid, "con0")) or (0, 0)
        try:
            words = (self._umid, str(alive), *map(str, log))
            command = [*streams.PYTHON, "umlctl.cli.viewer", *words]
            self._process = subprocess.Popen(command, pass_fds=[alive])
        finally:
            os.close(alive)

    def has_screen(self) -> bool:
        """The screen is the guest's, and nobody else's to write on."""
        return self._is_screen and self._process is not None and self._process.poll() is None

    def end(self) -> None:
        """The guest is over: have the last words shown, and the terminal put right."""
        if self._process is not None:
            with suppress(OSError):  # its user has left
                os.write(self._alive, b"\0")
            self._process.wait()
            os.close(self._alive)


def _boot(definition: Definition, watch: Foreground, terminal: Terminal | None) -> Ending:
    tie = Tie(definition.umid) if watch.wishes.tied else None
    with kept_as_they_are(definition):
        return _supervise(definition, watch, tie, terminal)


def _supervise(
    definition: Definition, watch: Foreground, tie: Tie | None, terminal: Terminal | None
) -> Ending:
    try:
        launched = _launch(definition, terminal)
    except BaseException:
        if tie is not None:
            tie.loosen()
        raise
    # The kernel boots while this process imports what supervises it.
    import trio

    try:
        return trio.run(watch.run, launched)
    except ExceptionGroup as group:
        raise group.exceptions[0] from None  # what went wrong, not how trio wraps it
    finally:
        if tie is not None:
            tie.loosen()


def _launch(definition: Definition, terminal: Terminal | None) -> Launched:
    if has_record(definition.umid):
        from umlctl.recovery.cleanup import clean_up_last_life

        for problem in clean_up_last_life(definition.umid):
            say(f"{definition.umid}: {problem}", exitcodes.OK)
    try:
        held = claim(definition.umid, definition.home)
    except GuestInUse:
        launched = _take_over(definition)
        if launched is None:
            raise
        if terminal is not None:
            terminal.attach()
        return launched
    try:
        if terminal is not None:
            terminal.attach()
        return launch(definition, held, passes=True)
    except BaseException:
        held.release()
        raise


def _take_over(definition: Definition) -> Launched | None:
    """The very guest, where it runs on since its supervisor was killed: who starts its job again,
    as service managers do, goes on with it. None if it is another, or has a supervisor."""
    from umlctl.state import records
    from umlctl.state.umid_lock import has_owner
    from umlctl.supervisor.launch.adopt import adopt

    record = records.load(definition.umid)
    if record is None or record.definition != definition or not records.lives(record):
        return None
    return None if has_owner(definition.umid) else adopt(record)


class Foreground:
    """A guest in the foreground, and those who are told of it."""

    def __init__(
        self,
        log: Log,
        manager: notify.Manager,
        heeded: list[signal.Signals],
        wishes: ForegroundOptions,
    ) -> None:
        self.wishes = wishes
        self._began = time.monotonic()
        self._log = log
        self._manager = manager
        self._heeded = heeded
        self._caught = 0
        self._late = False

    async def run(self, launched: Launched) -> Ending:
        """Stay with the guest to its end."""
        import trio

        from umlctl.supervisor.guest_task import run_guest

        result: list[Ending] = []
        over = trio.Event()

        async def live(task_status: trio.TaskStatus[Guest]) -> None:
            result.append(await run_guest(launched, self._tell, task_status=task_status))
            over.set()

        if self.wishes.copy is not None:
            self.wishes.copy.begin(f"{launched.claim.records}/console.log")
        async with trio.open_nursery() as nursery:
            await nursery.start(self._log.run)
            nursery.start_soon(self._manager.beat)
            guest = await nursery.start(live)
            if self.wishes.limit is not None:
                nursery.start_soon(self._limit, guest, self.wishes.limit)
            if self.wishes.copy is not None:
                nursery.start_soon(self._copy, self.wishes.copy)
            if self._heeded:
                nursery.start_soon(self._heed, guest)
            nursery.start_soon(self._say_ready, guest)
            await over.wait()
            self._manager.stopping()
            await self._log.close()
            nursery.cancel_scope.cancel()
        if self.wishes.copy is not None:
            self.wishes.copy.finish()
        return self._known(result[0])

    def _tell(self, event: Event) -> None:
        """Something has happened; it may be that another life has begun, with a log of its own."""
        if self.wishes.copy is not None:
            self.wishes.copy.look()
        self._log.put(event)

    def _known(self, ending: Ending) -> Ending:
        """How it ended, as far as that was our own doing."""
        import msgspec

        if self._late:
            text = f"not over within {self.wishes.limit:g} seconds; {_describe(ending)}"
            code = exitcodes.LIMIT
            return msgspec.structs.replace(ending, cause="timed out", code=code, text=text)
        if self._caught and ending.code == exitcodes.OK:
            return msgspec.structs.replace(ending, code=exitcodes.SIGNALLED + self._caught)
        return ending

    async def _limit(self, guest: Guest, seconds: float) -> None:
        import trio

        await trio.sleep(max(0.0, self._began + seconds - time.monotonic()))
        if not (self._caught or guest.milestones.over.is_set()):
            self._late = True
            await guest.shut_down(
                LATE_SHUTDOWN_TIMEOUT, f"the limit of its run, {seconds:g} seconds, has passed"
            )

    async def _copy(self, copy: Copy) -> None:
        import trio

        while True:
            await trio.sleep(LOOK_INTERVAL)
            await trio.to_thread.run_sync(copy.step)

    async def _heed(self, guest: Guest) -> None:
        import trio

        async with trio.open_nursery() as nursery:
            with trio.open_signal_receiver(*self._heeded) as signals:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, self._heeded)
                async for number in signals:
                    if self._caught:
                        guest.kill("killed by a second signal")
                    else:
                        self._caught = number
                        self._manager.stopping()
                        name = signal.Signals(number).name
                        nursery.start_soon(
                            guest.shut_down, SHUTDOWN_TIMEOUT, f"{name} to the supervisor"
                        )

    async def _say_ready(self, guest: Guest) -> None:
        """Once: a guest that reboots is ready again, and its job has been all the while."""
        import trio

        await guest.milestones.ready.wait()
        with trio.move_on_after(INIT_BEGIN_TIMEOUT):
            await guest.milestones.up.wait()
        if guest.ending is not None:
            return  # who waits for the line sees the descriptor closed without one
        pid = guest.launched.pid
        self._manager.ready(f"{guest.umid} is ready, kernel pid {pid}")
        if self.wishes.ready_fd is not None:
            line = f"{guest.umid} {pid}\n".encode()
            await trio.to_thread.run_sync(
                _write_last, self.wishes.ready_fd, line, abandon_on_cancel=True
            )


def _describe(ending: Ending) -> str:
    from umlctl.state.endings import describe

    return describe(ending)


def _write(descriptor: int, data: bytes) -> None:
    with suppress(OSError, streams.ReaderGone):  # nobody reads it; the guest is not gone
        streams.write_all(descriptor, data)


def _write_last(descriptor: int, data: bytes) -> None:
    _write(descriptor, data)
    os.close(descriptor)
