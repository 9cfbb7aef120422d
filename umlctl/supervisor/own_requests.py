"""The supervisor's own commands for a guest: `status`, `devices`, `plug`, `layer`, `events`,
`wait`, `shutdown`, `kill`. Their answers are JSON.
"""

from __future__ import annotations

import errno
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from socketproto.listener import ClientGone
from umlctl import exitcodes
from umlctl.errors import Refusal, UsageError
from umlctl.guest.specs import Disk, Nic, parse_disk, parse_nic
from umlctl.protocol.commands import SHUTDOWN_TIMEOUT
from umlctl.protocol.console_socket import config, console_name
from umlctl.protocol.guard import CommandLine, seconds_of
from umlctl.state import event_log
from umlctl.supervisor import snapshot
from umlctl.supervisor.devices import cow_upkeep, observing, plugging
from umlctl.supervisor.history import by
from umlctl.supervisor.lifecycle import RUNNING, STOPPED
from umlctl.supervisor.rate_limits import MAX_SUBSCRIPTIONS, KeyedCounter
from umlctl.supervisor.readiness import HEARTBEAT_INTERVAL, patiently
from umlctl.supervisor.report import devices_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from socketproto.listener import Call
    from umlctl.protocol.status import Device
    from umlctl.supervisor.guest import Guest
    from umlctl.supervisor.readiness import Readiness

PAST_WORD: Final = "past"
"""Asks `events` for the past events alone."""


class OwnRequests:
    """What clients ask of the supervisor of one guest."""

    def __init__(self, guest: Guest, readiness: Readiness) -> None:
        """readiness: holds requests until the guest is ready"""
        self._guest = guest
        self._readiness = readiness
        self._subscriptions = KeyedCounter(*MAX_SUBSCRIPTIONS)
        self._commands: dict[str, Callable[[Call, CommandLine], Awaitable[None]]] = {
            "status": self._status,
            "events": self._events,
            "wait": self._wait_for_end,
            "shutdown": self._shutdown,
            "sync": self._sync,
            "kill": self._kill,
            "plug": self._plug,
            "layer": self._layer,
            "devices": self._devices,
        }

    async def answer(self, call: Call, line: CommandLine) -> None:
        """Do what a line says, and answer its client.

        Raises: ClientGone, Refusal
        """
        await self._commands[line.command.name](call, line)

    async def _status(self, call: Call, _line: CommandLine) -> None:
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

    async def _events(self, call: Call, line: CommandLine) -> None:
        if line.argument not in ("", PAST_WORD):
            raise Refusal(f"`events` takes `{PAST_WORD}` or nothing", -errno.EINVAL)
        with self._subscribed(call):
            await self._tell_events(call, past_only=line.argument == PAST_WORD)

    @contextmanager
    def _subscribed(self, call: Call) -> Iterator[None]:
        """Count an answer that goes on as long as the guest does, and let other requests be served
        meanwhile.

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
            await call.part(b"".join(event_log.encode(event) for event in past))
            over = past_only
            while not over:
                data = b""
                with trio.move_on_after(HEARTBEAT_INTERVAL):
                    event = await subscription.get()
                    over = event is None
                    data = b"" if event is None else event_log.encode(event)
                # Outside the scope: an event must not get lost because a client is slow to take it.
                await call.part(data)
        finally:
            subscription.close()
        await call.answer(b"")

    async def _wait_for_end(self, call: Call, _line: CommandLine) -> None:
        with self._subscribed(call):
            await self._wait(call)

    async def _wait(self, call: Call) -> None:
        guest = self._guest
        while True:
            with trio.move_on_after(HEARTBEAT_INTERVAL):
                await guest.milestones.over.wait()
                break
            await call.part()
        await call.answer(msgspec.json.encode(guest.ending))

    async def _shutdown(self, call: Call, line: CommandLine) -> None:
        seconds = seconds_of(line)
        seconds = SHUTDOWN_TIMEOUT if seconds is None else seconds
        call.step_aside()
        why = f"asked for by uid {call.uid}, pid {call.pid}"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(self._guest.shut_down, seconds, why, **by(call)))
            try:
                await self._wait(call)
            except ClientGone:
                # The client is gone, and the shutdown that it asked for goes on.
                await self._guest.milestones.over.wait()

    async def _sync(self, call: Call, _line: CommandLine) -> None:
        guest, patience = self._guest, self._readiness.patience
        if guest.lifecycle.state == STOPPED:
            raise Refusal("the guest is paused, and writes nothing; send `go` first", -errno.EBUSY)
        if not await self._readiness.wait(call, trio.current_time() + patience):
            state = guest.lifecycle.state
            said = f"the guest is {state}, and was not ready within {patience:g} seconds"
            raise Refusal(said, exitcodes.ETIMEDOUT)
        lost = ""

        async def sync() -> None:
            nonlocal lost
            lost = await guest.life.shutdown.sync()

        await patiently(call, sync)
        if lost:
            raise Refusal(lost, -errno.EIO)
        await call.answer(b"")

    async def _plug(self, call: Call, line: CommandLine) -> None:
        kind, _, text = line.argument.partition(" ")
        guest = self._guest
        await self._readiness.wait(call, trio.current_time() + self._readiness.patience)
        try:
            if kind == "console":
                await self._plug_console(call, text.strip(), force=line.forced)
                return
            if kind == "share":
                await self._plug_share(call, text.strip())
                return
            if kind == "disk":
                asked: Disk | Nic = parse_disk(text.strip())
            elif kind == "nic":
                asked = parse_nic(text.strip(), insist=line.forced)
            else:
                raise UsageError(f"`plug` takes `disk`, `nic`, `share` or `console`, not {kind!r}")
        except UsageError as problem:
            raise Refusal(str(problem), -errno.EINVAL) from None
        entry = await plugging.plug(guest.life.devices, asked, by(call), force=line.forced)
        await call.answer(msgspec.json.encode(entry))

    async def _plug_share(self, call: Call, text: str) -> None:
        from umlctl.supervisor.devices import sharing  # which few guests need

        found: list[object] = []

        async def add() -> None:
            found.append(await sharing.add(self._guest.life.devices, text, by(call)))

        await patiently(call, add)
        await call.answer(msgspec.json.encode(found[0]))

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

    async def _layer(self, call: Call, line: CommandLine) -> None:
        """What is written to a guest's disks is merged, emptied or saved."""
        what, _, words = line.argument.partition(" ")
        life = self._guest.life
        works: dict[str, Callable[[], Awaitable[object]]] = {
            "commit": lambda: cow_upkeep.commit(life.devices, words, by(call)),
            "reset": lambda: cow_upkeep.empty(life.devices, words, by(call)),
            "save": lambda: snapshot.take(life, snapshot.read(words), by(call)),
        }
        if what not in works or not words:
            said = f"`layer` takes {line.command.args}, not {line.argument!r}"
            raise Refusal(said, -errno.EINVAL)
        await self._readiness.wait(call, trio.current_time() + self._readiness.patience)
        life = self._guest.life
        done: list[object] = []

        async def see_to_it() -> None:
            try:
                done.append(await works[what]())
            except UsageError as problem:
                raise Refusal(str(problem), -errno.EINVAL) from None

        await patiently(call, see_to_it)
        await call.answer(msgspec.json.encode(done[0]))

    async def _devices(self, call: Call, _line: CommandLine) -> None:
        if self._guest.lifecycle.state == RUNNING and not self._guest.life.process.held():
            await observing.observe(self._guest.life.devices)
        await call.answer(msgspec.json.encode(await self._listing()))

    async def _kill(self, call: Call, _line: CommandLine) -> None:
        call.step_aside()
        self._guest.history.add("kill", **by(call))
        self._guest.kill(f"killed by uid {call.uid}, pid {call.pid}")
        await self._wait(call)
