"""The library for programs of trio: what `umlctl` has, with `await`.

What takes long can be cancelled: a command that runs is ended then. A guest that was started is
removed at the end of `async with`, whatever happens.
"""

from __future__ import annotations

from contextlib import aclosing, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, overload

import trio
from trio import to_thread

from umlctl.client.asynchronous import AsyncGuestClient
from umlctl.client.request import answered, deadline_of, decoded, explained
from umlctl.errors import GuestEnded, HostError, NoGuest, TimedOut
from umlctl.execution.running import Canceller
from umlctl.library import command, console, guest, many
from umlctl.library.console import EXPECT_TIMEOUT
from umlctl.library.guest import translated
from umlctl.protocol.commands import SHUTDOWN_TIMEOUT
from umlctl.protocol.status import read_device, read_devices, read_ending, read_status
from umlctl.testing import kept_runs
from umlctl.testing.expected import Expected
from umlctl.testing.runner import Runner as TestRunner

if TYPE_CHECKING:
    import os
    import re
    import subprocess
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
    from typing import Self, Unpack

    from umlctl.library.command import File, Word
    from umlctl.library.described import Options, Path
    from umlctl.protocol.events import Event
    from umlctl.protocol.status import Device, Ending, Status
    from umlctl.testing.result import Result

T = TypeVar("T")
LOOK_INTERVAL: Final = 0.25
"""The time between two looks of a thread at whether its task was cancelled, seconds."""


async def start(
    name: str | os.PathLike[str] | None = None,
    *,
    arguments: Sequence[str] = (),
    wait: bool = True,
    **options: Unpack[Options],
) -> Guest:
    """As `umlctl.start`."""
    started = partial(guest.start, name, arguments=arguments, wait=wait, **options)
    return Guest(await to_thread.run_sync(started))


async def attach(name: str | os.PathLike[str]) -> Guest:
    """As `umlctl.attach`."""
    return Guest(await to_thread.run_sync(guest.attach, name))


class Guest:
    """A guest, as `umlctl.Guest`.

    Fields:
        name: its name, or the path by which it was found
    """

    def __init__(self, of_threads: guest.Guest) -> None:
        self._guest = of_threads
        self.name = of_threads.name

    def __repr__(self) -> str:
        return f"<umlctl.trio.Guest {self.name}>"

    async def __aenter__(self) -> Self:
        self._guest.__enter__()  # without a checkpoint, at which it could be forgotten
        return self

    async def __aexit__(self, *_: object) -> None:
        with trio.CancelScope(shield=True):
            await to_thread.run_sync(self._guest.__exit__)

    def keep(self) -> None:
        """Have it stay at the end of `async with`."""
        self._guest.keep()

    # What it is asked

    async def request(
        self, text: str, timeout: float | None = None, *, force: bool = False
    ) -> bytes:
        """The answer to any command of mconsole(7), as of `umlctl.Guest`."""
        with translated(), explained(self.name, text), AsyncGuestClient(self.name) as asked:
            outcome = await asked.ask(text, deadline_of(timeout), force=force)
            return answered(self.name, text, outcome)

    async def status(self) -> Status:
        """What is known of it, also once it has ended."""
        with suppress(NoGuest, GuestEnded):
            return decoded(self.name, read_status, await self.request("status"))
        return await to_thread.run_sync(self._guest.status)

    async def wait(self, timeout: float | None = None) -> Ending:
        """Wait until it has ended; how it has."""
        return await self._end("wait", self._guest.wait, timeout)

    async def shutdown(self, seconds: float = SHUTDOWN_TIMEOUT) -> Ending:
        """Shut it down in order; how it has ended."""
        return await self._end(f"shutdown {seconds:g}", self._guest.wait)

    async def kill(self) -> Ending:
        """End it at once; how it has ended."""
        return await self._end("kill", self._guest.kill)

    async def remove(self) -> None:
        """End it at once if it runs, and remove all that it has left."""
        await to_thread.run_sync(self._guest.remove)

    async def _end(
        self, text: str, otherwise: Callable[[], Ending], timeout: float | None = None
    ) -> Ending:
        """otherwise: of a guest that nobody answers for"""
        with suppress(NoGuest, GuestEnded):
            return decoded(self.name, read_ending, await self.request(text, timeout))
        return await to_thread.run_sync(otherwise)

    # What is run in it

    @overload
    async def exec(
        self,
        words: Sequence[Word],
        *,
        input: bytes | None = None,
        stdin: File | None = None,
        stdout: File | None = None,
        stderr: File | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] = "/",
        timeout: float | None = None,
        check: bool = False,
        text: Literal[False] = False,
    ) -> subprocess.CompletedProcess[bytes]: ...

    @overload
    async def exec(
        self,
        words: Sequence[Word],
        *,
        input: str | None = None,
        stdin: File | None = None,
        stdout: File | None = None,
        stderr: File | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] = "/",
        timeout: float | None = None,
        check: bool = False,
        text: Literal[True],
    ) -> subprocess.CompletedProcess[str]: ...

    async def exec(self, words: Sequence[Word], **options: Any) -> subprocess.CompletedProcess[Any]:
        """Run a command in it, as root. Cancelled, it ends the command."""
        asked = command.Asked(words, **options)
        return await _cancellable(partial(command.run, self._guest.umid, asked))

    async def copy_in(self, source: Path, target: str) -> None:
        """Copy a file of this host into it, whole or not at all."""
        await _cancellable(partial(self._guest.copy_in, source, target))

    async def copy_out(self, source: str, target: Path) -> str:
        """Copy a file of the guest to this host; its path here."""
        return await _cancellable(partial(self._guest.copy_out, source, target))

    # What it has

    async def devices(self) -> list[Device]:
        """All its devices."""
        return decoded(self.name, read_devices, await self.request("devices"))

    async def add_disk(self, spec: str | os.PathLike[str], *, force: bool = False) -> Device:
        """Plug a disk in, in the words of `--disk`."""
        return await self._plug(guest.disk_request(spec), force=force)

    async def add_nic(self, spec: str, *, force: bool = False) -> Device:
        """Plug a network interface in, in the words of `--nic`."""
        return await self._plug(guest.nic_request(spec, force=force), force=force)

    async def remove_device(self, name: str) -> None:
        """Take a device out of it."""
        await self.request(f"remove {name}")

    async def _plug(self, text: str, *, force: bool) -> Device:
        return decoded(self.name, read_device, await self.request(text, force=force))

    # What it says

    async def console(
        self, name: str = "con0", *, past: bool = True, force: bool = False
    ) -> Console:
        """One of its consoles, to type on, and to wait for what is printed."""
        opened = partial(_CancellableConsole, self._guest.umid, name, past=past, force=force)
        return Console(await to_thread.run_sync(opened))

    async def console_tail(self, lines: int = 40) -> str:
        """The last lines of its first console, also once it has ended."""
        return await to_thread.run_sync(self._guest.console_tail, lines)

    async def events(self, *, follow: bool = False) -> AsyncGenerator[Event, None]:
        """What has happened to it; follow: and what happens, until it ends."""
        patience = _until_cancelled if follow else None
        found = await to_thread.run_sync(partial(self._guest.history, patience))
        while (event := await to_thread.run_sync(next, found, None)) is not None:
            yield event

    async def wait_for(self, event: str, timeout: float | None = None) -> Event:
        """Wait until something happens to it, or has happened."""
        with trio.move_on_after(float("inf") if timeout is None else timeout):
            async with aclosing(self.events(follow=True)) as events:
                async for found in events:
                    if found["event"] == event:
                        return found
            raise await to_thread.run_sync(self._guest.never, event)
        raise TimedOut(f"{self.name}: it was not {event!r} within {timeout:g} seconds")


class Console:
    """A console of a guest, as `umlctl.Console`."""

    def __init__(self, of_threads: console.Console) -> None:
        self._console = of_threads

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    @property
    def before(self) -> str:
        """What was printed before the last match."""
        return self._console.before

    @property
    def unread(self) -> str:
        """What was printed since, and has not been waited for."""
        return self._console.unread

    def close(self) -> None:
        """Look at it no more."""
        self._console.close()

    async def send(self, text: str) -> None:
        """Type something."""
        await trio.lowlevel.checkpoint()
        self._console.send(text)

    async def sendline(self, text: str = "") -> None:
        """Type a line."""
        await self.send(f"{text}\n")

    async def expect(
        self, pattern: str | re.Pattern[str], timeout: float = EXPECT_TIMEOUT
    ) -> re.Match[str]:
        """Wait until what was printed matches."""
        return await to_thread.run_sync(self._console.expect, pattern, timeout)


class Runner(many.Runner):
    """Runs commands, each in a fresh guest that is gone afterwards, as `umlctl.Runner`."""

    async def run(  # type: ignore[override]
        self, words: Sequence[str], *, repeat: int = 1, name: str | None = None
    ) -> list[Result]:
        """Run a command so many times; what became of the cases, in order."""
        return await self.run_all(many.named(words, name), repeat=repeat)

    async def run_all(  # type: ignore[override]
        self, commands: Mapping[str, Sequence[str]], *, repeat: int = 1
    ) -> list[Result]:
        """Run several, by their names; what became of the cases, in order."""
        trials = self.trials(commands, repeat)
        try:
            with kept_runs.a_run() as run:
                return await TestRunner(run, self._limits, Expected(), many.Unwatched()).run(trials)
        except OSError as problem:
            raise HostError(str(problem)) from problem


class _CancellableConsole(console.Console):
    """A console that a thread waits for, whose task may be cancelled."""

    def _wait(self, seconds: float) -> bool:
        while seconds > LOOK_INTERVAL:
            if super()._wait(LOOK_INTERVAL):
                return True
            trio.from_thread.check_cancelled()
            seconds -= LOOK_INTERVAL
        return super()._wait(seconds)


def _until_cancelled(descriptor: int, seconds: float) -> bool:
    trio.from_thread.check_cancelled()
    return guest.patient(descriptor, seconds)


async def _cancellable(run: Callable[[Canceller], T]) -> T:
    """Have a thread run a command, which is ended if this is cancelled."""
    canceller = Canceller()
    problem: Exception | None = None
    found: list[T] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_at_the_end, canceller)
        with trio.CancelScope(shield=True):
            try:
                found.append(await to_thread.run_sync(run, canceller))
            except Exception as caught:  # noqa: BLE001 - raised again, and not as one of a group
                problem = caught
        nursery.cancel_scope.cancel()
    await trio.lowlevel.checkpoint_if_cancelled()
    if problem is not None:
        raise problem
    return found[0]


async def _cancel_at_the_end(canceller: Canceller) -> None:
    try:
        await trio.sleep_forever()
    finally:
        canceller.cancel()
