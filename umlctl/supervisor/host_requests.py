"""What clients can ask of a background supervisor: `start`, `list`, `adopt`, `autostart`,
`quit`."""

from __future__ import annotations

import errno
import functools
import os
import signal
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from socketproto.listener import Call, ClientGone
from umlctl.errors import Refusal
from umlctl.guest import definition as definitions
from umlctl.host import daemonlog
from umlctl.host.starting import unfit
from umlctl.protocol.commands import HOST
from umlctl.protocol.guard import read
from umlctl.supervisor import access
from umlctl.supervisor.rate_limits import EventLimit
from umlctl.supervisor.readiness import patiently

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from umlctl.guest.definition import Definition
    from umlctl.protocol.starting import AutostartResult, Started
    from umlctl.supervisor.adoption import Adoption
    from umlctl.supervisor.guests import Guests

LEAVE: Final = "leave"
NO_WAIT: Final = "no-wait "
"""Before the file of `start`: the supervisor answers when the kernel is launched, not when the
guest is up."""


class HostRequests:
    """The requests of the supervisor's clients."""

    def __init__(
        self,
        guests: Guests,
        adoption: Adoption,
        start_enabled: Callable[[Callable[[AutostartResult], None]], Awaitable[None]],
    ) -> None:
        """start_enabled: starts what is enabled, and is given what to call with each result"""
        self._guests = guests
        self._adoption = adoption
        self._start_enabled = start_enabled
        self._strangers = EventLimit()

    async def handle(self, call: Call) -> None:
        """Answer one request."""
        try:
            self._check(call)
            line = read(call.data.decode("utf-8", "surrogateescape"))
            if line.command.served != HOST:
                raise Refusal(
                    f"`{line.command.name}` is for a guest's socket; this is the supervisor's",
                    -errno.EINVAL,
                )
            if line.command.name == "list":
                statuses = [guest.status() for guest in self._guests]
                await call.answer(msgspec.json.encode(statuses))
            elif line.command.name == "quit":
                await self._quit(call, line.argument)
            elif self._guests.quitting.is_set():
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
            said = daemonlog.failed(call.data.decode("utf-8", "backslashreplace"), problem)
            await call.answer(said, -errno.EIO)

    def _check(self, call: Call) -> None:
        """See that the client is the owner or root: no other user may start guests.

        Raises: Refusal
        """
        if call.uid in (0, os.geteuid()):
            access.check_is_free(call.pid)
            return
        if self._strangers.take(trio.current_time()) is not None:
            request = call.data[:80].decode("utf-8", "backslashreplace")
            daemonlog.note(f"client refused: uid {call.uid}, pid {call.pid}: {request}")
        raise Refusal(
            f"permission denied: this is the supervisor of uid {os.geteuid()}, and you are "
            f"uid {call.uid}",
            -errno.EPERM,
        )

    async def _quit(self, call: Call, argument: str) -> None:
        if argument == LEAVE:
            # SIGKILL leaves the guests as a crash does: a supervisor that may be killed at any
            # moment needs no other way to leave them.
            daemonlog.note(f"uid {call.uid}, pid {call.pid} has this end and leave the guests")
            os.kill(os.getpid(), signal.SIGKILL)
        if argument:
            raise Refusal(f"`quit` takes `{LEAVE}` or nothing, not {argument!r}", -errno.EINVAL)
        self._guests.quitting.set()
        await patiently(call, lambda: self._guests.stop_all("the supervisor was told to end"))
        await call.answer("")

    async def _adopt(self, call: Call, umids: list[str]) -> None:
        await patiently(call, functools.partial(self._adoption.answer, umids))
        await call.answer("")

    async def _start(self, call: Call, argument: str) -> None:
        path = argument.removeprefix(NO_WAIT)
        answers: list[Started] = []

        async def start() -> None:
            read_it = functools.partial(_read_definition, path)
            started = await self._guests.start(f"start {path}", read_it, wait=path == argument)
            answers.append(started)

        await patiently(call, start)
        await call.answer(msgspec.json.encode(answers[0]))

    async def _autostart(self, call: Call) -> None:
        """Start what is enabled; answer with a line for each guest, as it becomes known."""
        news = bytearray()

        async def start() -> None:
            await self._start_enabled(
                lambda result: news.extend(msgspec.json.encode(result) + b"\n")
            )

        await patiently(call, start, news)
        await call.answer(bytes(news))


def _read_definition(path: str) -> Definition:
    with unfit("the guest cannot be started"), open(path, "rb") as file:
        return definitions.decode(file.read())
