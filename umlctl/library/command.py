"""A command in a guest, as `subprocess.run` would have it."""

from __future__ import annotations

import os
import subprocess
from contextlib import ExitStack
from functools import partial
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

from umlctl import streams
from umlctl.errors import GuestEnded, HostError, TimedOut, UmlctlError, UsageError
from umlctl.execution import in_guest
from umlctl.execution.session import Streams
from umlctl.library import gone

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from umlctl.execution.running import Canceller

    Taker = Callable[[bytes], object]
    File = int | IO[Any]
    Word = str | bytes | os.PathLike[str]

DEVNULL: Final = subprocess.DEVNULL
STDOUT: Final = subprocess.STDOUT
_HOW_TEXT_IS_READ: Final = ("utf-8", "replace")


class CommandFailed(UmlctlError, subprocess.CalledProcessError):
    """A command ended with another status than 0, where `check` was asked for.

    Fields:
        returncode, cmd, stdout, stderr: as of `subprocess.CalledProcessError`
    """

    def __str__(self) -> str:
        return subprocess.CalledProcessError.__str__(self)


class CommandTimedOut(TimedOut, subprocess.TimeoutExpired):
    """A command was not over in its time, and was ended.

    Fields:
        timeout: seconds
        cmd, stdout, stderr: as of `subprocess.TimeoutExpired`
    """

    def __str__(self) -> str:
        return subprocess.TimeoutExpired.__str__(self)


class Asked(NamedTuple):
    """How a command is run.

    Fields:
        words: the command
        input: what it reads; None: what `stdin` has, or nothing
        stdin, stdout, stderr: descriptors or files, or DEVNULL; None: nothing to read, and what is
            written is captured. `stderr` may be STDOUT
        env: variables beside those that root has there
        cwd: where; timeout: seconds
        check: another status than 0 is an error
        text: what is written is text
    """

    words: Sequence[Word]
    input: bytes | str | None = None
    stdin: File | None = None
    stdout: File | None = None
    stderr: File | None = None
    env: Mapping[str, str] | None = None
    cwd: str | os.PathLike[str] = "/"
    timeout: float | None = None
    check: bool = False
    text: bool = False


def run(
    umid: str, asked: Asked, canceller: Canceller | None = None
) -> subprocess.CompletedProcess[Any]:
    """Run a command in a guest.

    Raises: UsageError, CommandFailed, CommandTimedOut, GuestEnded, and as `in_guest.run`
    """
    __tracebackhide__ = True
    words = [os.fsdecode(word) for word in asked.words]
    if isinstance(asked.words, str | bytes) or not words or not words[0]:
        raise UsageError(f'a command is a list of words, as ["uname", "-r"], not {asked.words!r}')
    written = bytearray(), bytearray()
    with ExitStack() as stack:
        source = _source(asked, stack)
        takers = _taker(asked.stdout, written[0]), _taker(asked.stderr, written[1])
        if asked.stderr == STDOUT:
            takers = takers[0], takers[0]
        try:
            code = in_guest.run(
                umid,
                words,
                Streams(source, takers),
                variables={**in_guest.environment(), **(asked.env or {})},
                directory=os.fspath(asked.cwd),
                limit=asked.timeout,
                canceller=canceller,
            )
        except TimedOut:
            assert asked.timeout is not None or canceller is not None
            output, error = _output(asked, written)
            raise CommandTimedOut(words, asked.timeout or 0.0, output, error) from None
        except GuestEnded as problem:
            raise gone.explained(problem, umid) from None
    output, error = _output(asked, written)
    if asked.check and code:
        raise CommandFailed(code, words, output, error)
    return subprocess.CompletedProcess(words, code, output, error)


def _source(asked: Asked, stack: ExitStack) -> int:
    """The descriptor of what a command reads.

    Raises: UsageError, HostError
    """
    if asked.input is None:
        if asked.stdin is None or asked.stdin == DEVNULL:
            return in_guest.NO_SOURCE
        return _descriptor(asked.stdin, "stdin")
    if asked.stdin is not None:
        raise UsageError("a command reads `input` or `stdin`: give one of them")
    data = asked.input.encode() if isinstance(asked.input, str) else asked.input
    try:
        file = os.memfd_create("umlctl-input", os.MFD_CLOEXEC)
        stack.callback(os.close, file)
        streams.write_all(file, data)
        os.lseek(file, 0, os.SEEK_SET)
    except OSError as problem:
        raise HostError(f"there is no room for what the command reads: {problem}") from problem
    return file


def _taker(file: File | None, written: bytearray) -> Taker:
    """Who takes what a command writes."""
    if file is None or file == STDOUT:
        return written.extend
    if file == DEVNULL:
        return len
    return partial(streams.write_all, _descriptor(file, "stdout or stderr"))


def _descriptor(file: File, name: str) -> int:
    """Raises: UsageError"""
    try:
        found = file if isinstance(file, int) else file.fileno()
    except (AttributeError, OSError, ValueError):
        found = -1
    if found < 0:
        raise UsageError(f"{name} is a descriptor or an open file, not {file!r}")
    if not isinstance(file, int) and file.writable():
        file.flush()
    return found


def _output(
    asked: Asked, written: tuple[bytearray, bytearray]
) -> tuple[bytes | str | None, bytes | str | None]:
    """What was captured of standard output and error."""
    found: list[bytes | str | None] = []
    for file, data in zip((asked.stdout, asked.stderr), written, strict=True):
        if file is not None:
            found.append(None)
        else:
            found.append(data.decode(*_HOW_TEXT_IS_READ) if asked.text else bytes(data))
    return found[0], found[1]
