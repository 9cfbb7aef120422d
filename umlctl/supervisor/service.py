"""What answers on a guest's public socket: the kernel's commands, guarded, and our own."""

from __future__ import annotations

import errno
import re
import traceback
from collections import defaultdict
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from socketproto.exchange import ANSWERED, GONE, REFUSED, TIMED_OUT, TRUNCATED, Outcome
from socketproto.listener import ClientGone
from socketproto.wire import MAX_TEXT
from umlctl import exitcodes
from umlctl.commands import COMMANDS, GUEST, KERNEL, OUTPUT, SHUTDOWN_TIMEOUT
from umlctl.errors import HostError, Refusal, UsageError
from umlctl.guard import Line, check, is_guest_file, is_query, read
from umlctl.guest.cmdline import CONSOLE
from umlctl.guest.grants import CONTROL
from umlctl.guest.plug import Disk, Nic, parse_disk, parse_nic
from umlctl.host import eventlog, scarce
from umlctl.host.attaching import config, console_name
from umlctl.supervisor import access
from umlctl.supervisor.devices import observing, plugging
from umlctl.supervisor.kernel import BETWEEN_PIECES, Unsent
from umlctl.supervisor.launch.preflight import check_reboot
from umlctl.supervisor.limits import (
    PRINTS,
    PRINTS_A_SECOND,
    PRINTS_LATE,
    SUBSCRIPTIONS,
    Bucket,
    Counted,
    Sparing,
)
from umlctl.supervisor.readiness import HEARTBEAT, Readiness
from umlctl.supervisor.report import devices_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from socketproto.listener import Answer, Call
    from umlctl.protocol.events import EventName
    from umlctl.protocol.status import Device
    from umlctl.supervisor.guest import Guest
    from umlctl.supervisor.history import By

PAST: Final = "past"
"""Asks `events` for what has been, and no more."""
POWER_OFF: Final = "o"
"""The SysRq that ends the kernel as `halt` does."""
RESET: Final = "b"
"""The SysRq that resets it, in the middle of an interrupt: what comes meanwhile is still blocked
and pending when the kernel begins anew, comes too early then, and it faults for ever. Of 12 guests
on a busy host, 10 never came up; after `reboot`, which does the same in its turn, 152 of 152 did.
Seen on 6.1.176"""
RESET_PATIENCE: Final = 2.0
"""How long it may take; then its worker is stuck, and an interrupt is the only way, seconds."""
_STAMP: Final = re.compile(rb"^\[ *\d+\.\d{6}\] ", re.MULTILINE)
NOTED: Final[dict[str, EventName]] = {"halt": "halt", "reboot": "reboot", "cad": "cad"}
"""Commands that are events, if the kernel takes them."""
MISTYPED: Final = (1, -errno.EINVAL)
"""Errors of a line that says nothing which could be done, rather than what must not be."""
LOG_PIECE: Final = MAX_TEXT - len("log ") - len("\n")

_ERRORS: Final = {
    TIMED_OUT: exitcodes.ETIMEDOUT,
    GONE: exitcodes.ECONNRESET,
}


class Service:
    """Answers the clients of one guest."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest
        self._access = access.of_guest(guest.launched.definition)
        self._sparing: defaultdict[str, Sparing] = defaultdict(Sparing)
        self._subscriptions = Counted(*SUBSCRIPTIONS)
        self._readiness = Readiness(guest.milestones, guest.launched.definition.timeout)
        self._prints: dict[int, Bucket] = {}
        self._own: dict[str, Callable[[Call, Line], Awaitable[None]]] = {
            "status": self._status,
            "events": self._events,
            "wait": self._wait_for_end,
            "shutdown": self._shutdown,
            "kill": self._kill,
            "plug": self._plug,
            "devices": self._devices,
        }

    def answer_at_once(self, call: Call) -> Answer | None:
        """Answer a plain question to a kernel that has nothing else to do, or leave it.

        To a stopped one no question is put that may be put again: should the first have to wait
        in the kernel, its interrupt handler takes the second, and keeps it until `go`.
        """
        if self._guest.lifecycle.state == "stopped":
            return None
        try:
            line = read(call.data.decode("utf-8", "surrogateescape"))
            if line.command.served != KERNEL or not is_query(line):
                return None
            if line.command.name == "proc" and is_guest_file(line.argument):
                return None  # whether such a file is whole is seen in `read_file` alone
            access.check(line, self._access.known(call.uid, call.gid) or "", call.uid)
            check(line)
            if line.command.prints and self._print_wait(call) != 0:
                return None
            outcome = self._guest.life.kernel.ask_at_once(line.text)
        except Exception:  # noqa: BLE001 - a refusal too: `handle` meets it again, and says so
            return None
        if outcome is None or outcome.kind not in (ANSWERED, REFUSED):
            return None
        return self._shown(line, outcome).data, outcome.error

    async def handle(self, call: Call) -> None:
        """Answer one request, whatever it is.

        Raises: ClientGone
        """
        guest = self._guest
        text = call.data.decode("utf-8", "surrogateescape")
        try:
            if not await self._allowed(call, text):
                return
            line = read(text)
            if line.command.served == KERNEL:
                check(line, stopped=guest.lifecycle.state == "stopped", release=guest.life.release)
                await self._check_reboot(line)
                if line.command.prints:
                    await self._print_slowly(call)
                outcome = await self._ask_when_ready(call, line)
                self._note(call, line, outcome)
                outcome = self._shown(line, outcome)
                if outcome.kind in (ANSWERED, REFUSED):
                    await call.answer(outcome.data, outcome.error)
                elif outcome.kind == TRUNCATED:
                    await call.answer(outcome.data, exitcodes.ENODATA)
                else:
                    await call.answer(str(outcome), _ERRORS[outcome.kind])
            elif line.command.served == GUEST:
                await self._own[line.command.name](call, line)
            else:
                name = line.command.name
                raise Refusal(f"`{name}` is for the supervisor's own socket", -errno.EINVAL)
        except Refusal as refusal:
            self._refused(call, text, refusal)
            await call.answer(str(refusal), refusal.error)
        except ClientGone:
            raise
        except Exception as problem:  # noqa: BLE001 - one request must not end a guest
            await self._has_failed(call, text, problem)

    async def _has_failed(self, call: Call, text: str, problem: Exception) -> None:
        """Tell who asked what went wrong here.

        Raises: ClientGone
        """
        if scarce.is_lacking(problem):
            said = f"not done: {scarce.explained(problem)}"
            self._note_sparingly(call, "failed", text, said)
            await call.answer(said, -errno.EAGAIN)
            return
        trace = "".join(traceback.format_exception(problem))
        self._guest.history.add("internal error", text=trace, request=text[:80], **by(call))
        await call.answer(f"internal error: {problem!r}; see `umlctl events`", -errno.EIO)

    async def _allowed(self, call: Call, text: str) -> bool:
        """See whether the client may ask this; if not, it is told so.

        Raises: ClientGone
        """
        level = self._access.known(call.uid, call.gid)
        if level is None:
            level = await trio.to_thread.run_sync(self._access.level, call.uid, call.gid)
        if level == CONTROL:
            return True
        try:
            access.check_text(text, level, call.uid)
        except Refusal as refusal:
            guest = self._guest
            guest.clients_refused += 1
            self._note_sparingly(call, "client refused", text, str(refusal))
            await call.answer(str(refusal), refusal.error)
            return False
        return True

    def _print_wait(self, call: Call) -> float | None:
        bucket = self._prints.get(call.uid)
        if bucket is None:
            bucket = self._prints[call.uid] = Bucket(PRINTS, PRINTS_A_SECOND, PRINTS_LATE)
        return bucket.take(trio.current_time())

    async def _print_slowly(self, call: Call) -> None:
        """Give who has the kernel print much a pace.

        Raises: Refusal
        """
        wait = self._print_wait(call)
        if wait is None:
            raise Refusal("too much is being printed on the console; try again", -errno.EBUSY)
        await trio.sleep(wait)

    def _refused(self, call: Call, text: str, refusal: Refusal) -> None:
        """Count a refusal, and note it: not a slip of the tongue, which is nobody's history, nor
        all of a flood, or the history would hold nothing else."""
        self._guest.refused += 1
        if refusal.error not in MISTYPED:
            self._note_sparingly(call, "refused", text, str(refusal))

    def _note_sparingly(self, call: Call, event: EventName, request: str, said: str) -> None:
        left_out = self._sparing[event].take(trio.current_time())
        if left_out is not None:
            self._guest.history.add(
                event, text=said, request=request[:80], left_out=left_out or None, **by(call)
            )

    async def _check_reboot(self, line: Line) -> None:
        """See that a guest that is to reboot will find again what it needs for that.

        Raises: Refusal
        """
        name, argument = line.command.name, line.argument
        reboots = name in ("reboot", "cad") or (name == "sysrq" and argument.startswith(RESET))
        if not reboots or line.forced or "noreboot" in self._guest.launched.command:
            return
        try:
            await trio.to_thread.run_sync(check_reboot, self._guest.launched)
        except HostError as problem:
            raise Refusal(
                f"refused: it would not come back: {problem}; "
                "insist with --force, or a leading '!'",
                -errno.EPERM,
            ) from None

    async def _ask_when_ready(self, call: Call, line: Line) -> Outcome:
        """Raises: ClientGone, Refusal"""
        deadline = trio.current_time() + self._readiness.patience
        while True:
            if not ends(line) and not await self._readiness.wait(call, deadline):
                why = f"the guest is {self._guest.lifecycle.state}, and was not ready within "
                return Outcome(TIMED_OUT, reason=f"{why}{self._readiness.patience:g} seconds")
            outcome = await self._ask_kernel(line, by(call))
            lost = outcome.kind == GONE and (isinstance(outcome, Unsent) or is_query(line))
            if not lost or ends(line) or not await self._readiness.comes_again():
                return outcome

    async def _ask_kernel(self, line: Line, by: By) -> Outcome:
        kernel, name = self._guest.life.kernel, line.command.name
        if name == "config" and "=" in line.argument:
            table = self._guest.life.devices
            outcome = await plugging.config(table, line.argument, by, force=line.forced)
            self._guest.life.process.find_helpers()
            self._guest.life.consoles.sync(self._guest.life.devices.entries)
            return outcome
        if name == "remove":
            outcome = await plugging.remove(self._guest.life.devices, line.argument, by)
            self._guest.life.consoles.sync(self._guest.life.devices.entries)
            return outcome
        if name == "stop":
            seconds = _seconds(line)
            async with self._guest.life.devices.talk:
                outcome = await kernel.ask(name)
            if outcome.ok:
                self._guest.life.pauses.note_stopped(seconds, **by)
            return outcome
        if name == "go":
            return await self._guest.life.pauses.resume(**by)
        if name == "reboot":
            return await self._guest.reboot()
        if name in ("halt", "sysrq"):
            return await self._act_at_once(line)
        return await self._ask_plainly(line)

    async def _ask_plainly(self, line: Line) -> Outcome:
        kernel, name = self._guest.life.kernel, line.command.name
        if name == "log":
            return await self._log(line.argument)
        if name == "proc":
            running = self._guest.lifecycle.state == "running"
            return await kernel.read_file(line.text, may_stop=running)
        return await kernel.ask(line.text)

    async def _act_at_once(self, line: Line) -> Outcome:
        """`halt`, and SysRq, which may do the same or reset the kernel."""
        guest = self._guest
        if ends(line):
            return await guest.life.shutdown.halt(line.text)
        resets = line.argument.startswith(RESET) and not line.forced
        if resets and guest.lifecycle.state == "running" and not guest.life.kernel.trouble:
            outcome = await guest.reboot(RESET_PATIENCE)
            if outcome.kind != TIMED_OUT:
                return outcome
        return await guest.life.kernel.ask(line.text, renew=BETWEEN_PIECES)

    async def _log(self, text: str) -> Outcome:
        """The kernel shows a line when it ends, so each piece is sent as a line of its own.

        uml_mconsole sends the end of a line by itself; it has been sent by then.
        """
        outcome = Outcome(ANSWERED)
        data = text.rstrip("\n").encode("utf-8", "surrogateescape")
        for start in range(0, len(data), LOG_PIECE):
            piece = data[start : start + LOG_PIECE].decode("utf-8", "surrogateescape")
            outcome = await self._guest.life.kernel.ask(f"log {piece}\n")
            if not outcome.ok:
                break
        return outcome

    def _note(self, call: Call, line: Line, outcome: Outcome) -> None:
        """What the answer means for the guest's state and history."""
        guest, name = self._guest, line.command.name
        if not outcome.ok:
            if not is_query(line):
                self._note_sparingly(call, "failed", line.text, str(outcome).strip())
        elif name in NOTED:
            guest.history.add(NOTED[name], **by(call))

    def _shown(self, line: Line, outcome: Outcome) -> Outcome:
        """What the kernel answers as clients get it: the descriptors that it has of us for a
        console are nobody else's, so they get the console's socket in their place."""
        if line.command.name == "help":
            return _with_our_help(outcome)
        name, consoles = line.argument, self._guest.life.consoles
        if line.command.name == "config" and name in consoles.by_name:
            ours = (CONSOLE if name == "con0" else config(name)).partition("=")[2]
            said = outcome.text.strip()
            if outcome.ok and said and f"{ours},".startswith(f"{said},"):
                data = f"unix:{consoles.socket_of(name)}".encode()
                return Outcome(ANSWERED, 0, data, "", outcome.pieces)
        return _unstamped(line, outcome)

    # Our own commands

    async def _status(self, call: Call, _line: Line) -> None:
        devices = await self._listing()
        status = msgspec.structs.replace(self._guest.status(), devices=devices)
        await call.answer(msgspec.json.encode(status))

    async def _listing(self) -> list[Device]:
        """The device table, with what serves each device on the host, and what is wrong there."""
        table = self._guest.life.devices
        hosts, notes = await observing.host_sides(table), await observing.notes(table)
        return [
            msgspec.structs.replace(
                each, host=hosts.get(each.name, {}), note=notes.get(each.name, "")
            )
            for each in devices_of(self._guest.life.devices, self._guest.life.consoles)
        ]

    async def _events(self, call: Call, line: Line) -> None:
        if line.argument not in ("", PAST):
            raise Refusal(f"`events` takes `{PAST}` or nothing", -errno.EINVAL)
        with self._subscribed(call):
            await self._tell_events(call, past_only=line.argument == PAST)

    @contextmanager
    def _subscribed(self, call: Call) -> Iterator[None]:
        """The answer goes on for as long as the guest likes, and other requests meanwhile.

        Raises: Refusal
        """
        keys = (call.uid, call.pid), call.uid, None
        if not self._subscriptions.take(keys):
            raise Refusal("too many of `events` and `wait` are open; try again", -errno.EBUSY)
        call.step_aside()
        try:
            yield
        finally:
            self._subscriptions.give_back(keys)

    async def _tell_events(self, call: Call, *, past_only: bool) -> None:
        past, subscription = self._guest.history.subscribe()
        try:
            await call.part(b"".join(eventlog.encode(event) for event in past))
            over = past_only
            while not over:
                data = b""
                with trio.move_on_after(HEARTBEAT):
                    event = await subscription.get()
                    over = event is None
                    data = b"" if event is None else eventlog.encode(event)
                # Out of the scope: a slow client must not lose the event that it is sent.
                await call.part(data)
        finally:
            subscription.close()
        await call.answer(b"")

    async def _wait_for_end(self, call: Call, _line: Line) -> None:
        with self._subscribed(call):
            await self._wait(call)

    async def _wait(self, call: Call) -> None:
        guest = self._guest
        while True:
            with trio.move_on_after(HEARTBEAT):
                await guest.milestones.over.wait()
                break
            await call.part()
        await call.answer(msgspec.json.encode(guest.ending))

    async def _shutdown(self, call: Call, line: Line) -> None:
        seconds = _seconds(line)
        seconds = SHUTDOWN_TIMEOUT if seconds is None else seconds
        call.step_aside()
        why = f"asked for by uid {call.uid}, pid {call.pid}"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(self._guest.shut_down, seconds, why, **by(call)))
            try:
                await self._wait(call)
            except ClientGone:
                await self._guest.milestones.over.wait()  # the shutdown that it asked for goes on

    async def _plug(self, call: Call, line: Line) -> None:
        kind, _, text = line.argument.partition(" ")
        guest = self._guest
        await self._readiness.wait(call, trio.current_time() + self._readiness.patience)
        try:
            if kind == "console":
                await self._plug_console(call, text.strip(), force=line.forced)
                return
            if kind == "disk":
                asked: Disk | Nic = parse_disk(text.strip())
            elif kind == "nic":
                asked = parse_nic(text.strip(), insist=line.forced)
            else:
                raise UsageError(f"`plug` takes `disk`, `nic` or `console`, not {kind!r}")
        except UsageError as problem:
            raise Refusal(str(problem), -errno.EINVAL) from None
        entry = await plugging.plug(guest.life.devices, asked, by(call), force=line.forced)
        await call.answer(msgspec.json.encode(entry))

    async def _plug_console(self, call: Call, text: str, *, force: bool) -> None:
        try:
            name = console_name(text)
        except ValueError as problem:
            raise Refusal(str(problem), -errno.EINVAL) from None
        guest = self._guest
        if name not in guest.life.consoles.by_name:
            await plugging.config(guest.life.devices, config(name), by(call), force=force)
            guest.life.consoles.sync(guest.life.devices.entries)
        found = next(each for each in guest.life.consoles.listing() if each.name == name)
        await call.answer(msgspec.json.encode(found))

    async def _devices(self, call: Call, _line: Line) -> None:
        if self._guest.lifecycle.state == "running" and not self._guest.life.process.held():
            await observing.observe(self._guest.life.devices)
        await call.answer(msgspec.json.encode(await self._listing()))

    async def _kill(self, call: Call, _line: Line) -> None:
        call.step_aside()
        self._guest.history.add("kill", **by(call))
        self._guest.kill(f"killed by uid {call.uid}, pid {call.pid}")
        await self._wait(call)


def ends(line: Line) -> bool:
    """It ends the kernel at once, in whatever state."""
    name = line.command.name
    return name == "halt" or (name == "sysrq" and line.argument.startswith(POWER_OFF))


def _seconds(line: Line) -> float | None:
    """The seconds that a command was given; None if it was given none.

    Raises: Refusal
    """
    if not line.argument:
        return None
    try:
        seconds = float(line.argument)
        if not 0 <= seconds < 1e6:
            raise ValueError
    except ValueError:
        raise Refusal(
            f"`{line.command.name}` takes a number of seconds, not {line.argument!r}",
            -errno.EINVAL,
        ) from None
    return seconds


def by(call: Call) -> By:
    """Whose doing an event is, as the history has it."""
    return {"uid": call.uid, "pid": call.pid}


def _unstamped(line: Line, outcome: Outcome) -> Outcome:
    """Without the times before the kernel's lines, which are for the console."""
    if line.command.prints != OUTPUT:
        return outcome
    data = _STAMP.sub(b"", outcome.data)
    return Outcome(outcome.kind, outcome.error, data, outcome.reason, outcome.pieces)


def _with_our_help(outcome: Outcome) -> Outcome:
    """The kernel's list, and what we add to it."""
    if not outcome.ok:
        return outcome
    ours = [
        f"    {command.name} {command.args} - {command.help}".replace("  -", " -")
        for command in COMMANDS
        if command.served == GUEST
    ]
    text = outcome.data.rstrip(b"\n") + b"\nFrom the supervisor: \n" + "\n".join(ours).encode()
    return Outcome(ANSWERED, 0, text + b"\n", "", outcome.pieces)
