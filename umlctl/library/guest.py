"""A guest, for a program: started or found, asked, and ended."""

from __future__ import annotations

import itertools
import logging
import os
import select
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, Literal, overload

from umlctl import exitcodes, streams
from umlctl.checks import boot_warnings
from umlctl.client import dependencies, history, unsupervised
from umlctl.client.forget import forget
from umlctl.client.request import deadline_of, decoded, request
from umlctl.client.start import start as start_there
from umlctl.client.target import Target
from umlctl.errors import (
    GuestEnded,
    GuestInUse,
    HostError,
    NeverStarted,
    NoGuest,
    Refused,
    TimedOut,
    UsageError,
)
from umlctl.execution import copying
from umlctl.execution.if_killed import if_killed
from umlctl.guest.specs import parse_disk, parse_nic
from umlctl.host import naming, paths
from umlctl.host.starting import starting
from umlctl.library import command, gone
from umlctl.library.console import Console
from umlctl.library.described import Options, described
from umlctl.protocol.commands import SHUTDOWN_TIMEOUT
from umlctl.protocol.status import read_device, read_devices, read_ending, read_status
from umlctl.state import event_log, umid_lock

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Self, Unpack

    from umlctl.execution.running import Canceller
    from umlctl.library.command import File, Word
    from umlctl.library.described import Path
    from umlctl.protocol.events import Event
    from umlctl.protocol.status import Device, Ending, Status

REMOVED_TIMEOUT: Final = 10.0
"""How long what a guest leaves may take to be gone on a busy host, seconds."""
LOOK_INTERVAL: Final = 0.02
"""The time between two looks at whether it is, seconds."""
_REMOVE: Final = '{ name=$1; shift; "$@" kill "$name"; exec "$@" rm "$name"; }'
_log: Final = logging.getLogger("umlctl")
_numbers: Final = itertools.count(1)


def start(
    name: str | os.PathLike[str] | None = None,
    *,
    arguments: Sequence[str] = (),
    wait: bool = True,
    **options: Unpack[Options],
) -> Guest:
    """Boot a guest in the background, as `umlctl start` does.

    name: its name, or the path of a file that it is defined in; without, it gets one
    arguments: for its kernel
    wait: come back when it is ready; else when its kernel is launched

    Raises: UsageError, NoKernel, GuestInUse, NeverStarted, NoGuest, Refused, HostError
    """
    word = naming.of_program(os.getpid(), next(_numbers)) if name is None else os.fspath(name)
    with starting(word):
        definition = described(word, dict(options), arguments)
        if umid_lock.has_owner(definition.umid):
            raise GuestInUse(f"{definition.umid} is the name of a running guest; take another name")
        dependencies.await_earlier(definition)
        for warning in boot_warnings.of_start(definition):
            _log.warning("%s: %s", definition.umid, warning)
        answer = start_there(definition, wait=wait)
    if answer.status is None:
        if answer.code == exitcodes.NEVER_STARTED:
            raise _never_started(answer.text, Guest(definition.umid, is_own=True), name)
        raise Refused(answer.text, answer.code)
    return Guest(definition.umid, is_own=True)


def _never_started(text: str, guest: Guest, name: object) -> NeverStarted:
    """The error of a guest that has not started; of one without a name nothing is left but that."""
    problem = NeverStarted(text)
    if tail := guest.console_tail():
        problem.add_note(f"the end of its console:\n{tail}")
    if name is None:
        guest.remove()
    return problem


def attach(name: str | os.PathLike[str]) -> Guest:
    """A guest that runs, whoever has started it. At the end of `with` it runs on.

    name: its name, or the path of its socket

    Raises: NoGuest
    """
    word = os.fspath(name)
    if not Target(word).is_there() and not unsupervised.ask_to_adopt(word):
        said = unsupervised.epitaph(word)
        raise NoGuest(said or f"no guest {word!r}; `umlctl list` shows the guests")
    return Guest(word, is_own=False)


class Guest:
    """A guest. One that was started is removed at the end of `with`, with all it has left.

    Fields:
        name: its name, or the path by which it was found
        umid: its name
    """

    def __init__(self, name: str, *, is_own: bool) -> None:
        """is_own: it is removed at the end of `with`"""
        self.name = name
        self.umid = paths.umid_of(name)
        self._is_own = is_own
        self._is_kept = False
        self._stack = ExitStack()

    def __repr__(self) -> str:
        return f"<umlctl.Guest {self.name}>"

    def __enter__(self) -> Self:
        if self._is_own:
            self._stack.callback(self._leave)
            self._stack.enter_context(
                if_killed(_REMOVE, self.umid, *streams.PYTHON, "umlctl")  # and this with it
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def keep(self) -> None:
        """Have it stay at the end of `with`: it runs on then, or its logs are there."""
        self._is_kept = True

    def _leave(self) -> None:
        if not self._is_kept:
            self.remove()

    # What it is asked

    def request(self, text: str, timeout: float | None = None, *, force: bool = False) -> bytes:
        """The answer to any command of mconsole(7), such as `version` or `proc meminfo`.

        timeout: seconds; None: as long as its supervisor gives signs of life
        force: send what is refused as dangerous

        Raises: NoGuest, Refused, TimedOut, GuestEnded, UsageError, HostError
        """
        with translated():
            return request(self.name, text, deadline_of(timeout), force=force)

    def status(self) -> Status:
        """What is known of it, also once it has ended."""
        try:
            return decoded(self.name, read_status, self.request("status"))
        except (NoGuest, GuestEnded):
            return status_of_ended(self.umid)

    def wait(self, timeout: float | None = None) -> Ending:
        """Wait until it has ended; how it has.

        timeout: seconds; None: for ever

        Raises: TimedOut, NoGuest
        """
        return self._end("wait", timeout)

    def shutdown(self, seconds: float = SHUTDOWN_TIMEOUT) -> Ending:
        """Shut it down in order; how it has ended. seconds: what it gets for that, until it is
        killed."""
        return self._end(f"shutdown {seconds:g}")

    def kill(self) -> Ending:
        """End it at once; how it has ended."""
        return self._end("kill")

    def remove(self) -> None:
        """End it at once if it runs, and remove all that it has left: its records and logs.

        Raises: HostError, GuestInUse
        """
        with suppress(NoGuest, GuestEnded):
            self.kill()
        end = time.monotonic() + REMOVED_TIMEOUT
        while True:
            try:
                return forget(self.umid)
            except NoGuest:
                return None
            except (GuestInUse, HostError):
                if time.monotonic() >= end:
                    raise
            time.sleep(LOOK_INTERVAL)

    def _end(self, text: str, timeout: float | None = None) -> Ending:
        try:
            return decoded(self.name, read_ending, self.request(text, timeout))
        except (NoGuest, GuestEnded):
            found = unsupervised.ended(self.umid)
            if found is None:
                raise
            return found

    # What is run in it

    @overload
    def exec(
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
    def exec(
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

    def exec(self, words: Sequence[Word], **options: Any) -> subprocess.CompletedProcess[Any]:
        """Run a command in it, as root; see `umlctl.library.command.Asked` for what there is.

        Its `returncode` is what it exited with, or -N where signal N has ended it.

        Raises: UsageError, CommandFailed, CommandTimedOut, NotExecuted, GuestEnded, NoGuest,
        Refused, NeverStarted, HostError
        """
        __tracebackhide__ = True  # of pytest, which shows the line that has called this
        return command.run(self.umid, command.Asked(words, **options))

    def copy_in(self, source: Path, target: str, canceller: Canceller | None = None) -> None:
        """Copy a file of this host into it, as it is, and whole or not at all.

        target: a path there, or that of a directory
        canceller: may have it end, from another thread

        Raises: HostError, Refused, GuestEnded, NoGuest
        """
        with self._explained():
            copying.put(self.umid, os.fspath(source), target, canceller)

    def copy_out(self, source: str, target: Path, canceller: Canceller | None = None) -> str:
        """Copy a file of the guest to this host; its path here.

        target: a path here, or that of a directory
        canceller: may have it end, from another thread

        Raises: HostError, Refused, GuestEnded, NoGuest
        """
        with self._explained():
            return copying.get(self.umid, source, os.fspath(target), canceller=canceller)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except GuestEnded as problem:
            raise gone.explained(problem, self.umid) from None

    # What it has

    def devices(self) -> list[Device]:
        """All its devices: what was asked for, and what the guest says of each."""
        return decoded(self.name, read_devices, self.request("devices"))

    def add_disk(self, spec: str | os.PathLike[str], *, force: bool = False) -> Device:
        """Plug a disk in, in the words of `--disk`: FILE[,OPTION]...

        Raises: UsageError, Refused
        """
        return self._plug(disk_request(spec), force=force)

    def add_nic(self, spec: str, *, force: bool = False) -> Device:
        """Plug a network interface in, in the words of `--nic`: user, switch=NAME, tap=NAME.

        Raises: UsageError, Refused
        """
        return self._plug(nic_request(spec, force=force), force=force)

    def remove_device(self, name: str) -> None:
        """Take a device out of it. name: as ubd1 or vec0"""
        self.request(f"remove {name}")

    def _plug(self, text: str, *, force: bool) -> Device:
        return decoded(self.name, read_device, self.request(text, force=force))

    # What it says

    def console(self, name: str = "con0", *, past: bool = True, force: bool = False) -> Console:
        """One of its consoles, to type on, and to wait for what is printed.

        past: begin with all that was printed, and not with what comes
        force: take the keyboard from who has it

        Raises: UsageError, NoGuest, HostError
        """
        return Console(self.umid, name, past=past, force=force)

    def console_tail(self, lines: int = gone.MAX_LINES) -> str:
        """The last lines of its first console, also once it has ended."""
        return gone.last_lines(self.umid, lines)

    def events(self, *, follow: bool = False, timeout: float | None = None) -> Iterator[Event]:
        """What has happened to it, each a dict with `time`, `umid` and `event`, see mconsole(7).

        follow: go on with what happens, until it ends
        timeout: how long, seconds; None: for ever

        Raises: TimedOut
        """
        return self.history(_patience(self.name, timeout) if follow else None)

    def history(self, wait: Callable[[int, float], bool] | None) -> Iterator[Event]:
        """The same. wait: for more, see `umlctl.client.history`; None: what has happened is all"""
        readers = {self.umid: event_log.Reader(self.umid)}
        if wait is None:
            return history.merged(readers)
        unsupervised.ask_to_adopt(self.umid)  # without a supervisor, nothing is written down
        return history.following(readers, self.umid, wait)

    def wait_for(self, event: str, timeout: float | None = None) -> Event:
        """Wait until something happens to it, or has happened: the first event of that name.

        timeout: seconds; None: for ever

        Raises: TimedOut, GuestEnded
        """
        for found in self.events(follow=True, timeout=timeout):
            if found["event"] == event:
                return found
        raise self.never(event)

    def never(self, event: str) -> GuestEnded:
        """The error that it has ended, and something has not happened to it."""
        problem = GuestEnded(f"{self.name} has ended, and was never {event!r}")
        return gone.explained(problem, self.umid)


def disk_request(spec: str | os.PathLike[str]) -> str:
    """What plugs a disk in. Raises: UsageError"""
    return f"plug disk {parse_disk(os.fspath(spec), os.getcwd())}"


def nic_request(spec: str, *, force: bool) -> str:
    """What plugs a network interface in. Raises: UsageError"""
    return f"plug nic {parse_nic(spec, insist=force)}"


def status_of_ended(umid: str) -> Status:
    """Raises: NoGuest: nothing is known of it"""
    from umlctl.recovery import discover

    record = discover.find(umid)
    if record is None:
        raise NoGuest(f"no guest {umid!r}; `umlctl list` shows the guests")
    return unsupervised.unsupervised_status(record)


@contextmanager
def translated() -> Iterator[None]:
    """Have answers that came too late, or never, be errors of their own.

    Raises: TimedOut, GuestEnded, HostError
    """
    try:
        yield
    except Refused as problem:
        if problem.code == exitcodes.TIMED_OUT:
            raise TimedOut(str(problem)) from None
        if problem.code == exitcodes.GONE:
            raise GuestEnded(str(problem)) from None
        raise
    except OSError as problem:
        raise HostError(str(problem)) from problem


def patient(descriptor: int, seconds: float) -> bool:
    """Wait until a descriptor can be read, -1 for none, or so many seconds; whether it can."""
    poll = select.poll()
    if descriptor >= 0:
        poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _patience(name: str, timeout: float | None) -> Callable[[int, float], bool]:
    """What waits for events until the time is up."""
    if timeout is not None and timeout < 0:
        raise UsageError(f"a timeout is at least 0 seconds, not {timeout:g}")
    end = None if timeout is None else time.monotonic() + timeout

    def wait(descriptor: int, seconds: float) -> bool:
        left = seconds if end is None else min(seconds, end - time.monotonic())
        if left <= 0:
            raise TimedOut(f"{name}: it has not happened within {timeout:g} seconds")
        return patient(descriptor, left)

    return wait
