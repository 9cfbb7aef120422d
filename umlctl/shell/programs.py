"""Programs of this host that the prompt runs, and gives its terminal to."""

from __future__ import annotations

import os
import signal
import sys
import termios
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

import trio

from umlctl import exitcodes
from umlctl.host import processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STOP_TIMEOUT: Final = 0.5
STOP_INTERVAL: Final = 0.002
"""How long a program that is given up may take to stop, and between two looks, seconds."""


async def run(
    program: str,
    data: bytes | None = None,
    stdout: int | None = None,
    started: Callable[[int], object] = lambda _pid: None,
) -> int:
    """Run a line of the host's shell to its end; return its exit status.

    Afterwards the terminal is as it was.

    data: its input; None: the terminal. A script is never its input.
    stdout: a descriptor; None: that of this process
    started: called with its pid

    Raises: OSError
    """
    with terminal_kept(), _input(data) as stdin:
        process = await trio.lowlevel.open_process(  # noqa: S604
            program, shell=True, stdin=stdin, stdout=stdout
        )
        started(process.pid)
        try:
            code = await process.wait()
        finally:
            if process.returncode is None:
                with trio.CancelScope(shield=True):
                    await _end(process)
    return code if code >= 0 else exitcodes.SIGNALLED - code


@contextmanager
def _input(data: bytes | None) -> Iterator[int | None]:
    """The descriptor to read data from; None: the terminal."""
    if data is None and sys.stdin.isatty():
        yield None
        return
    with open(os.memfd_create("input"), "wb") as file:
        file.write(data or b"")
        file.seek(0)
        yield file.fileno()


async def _end(process: trio.Process) -> None:
    """End a program with all that it has started."""
    found = [process.pid]
    for pid in found:  # it grows: who is stopped starts no more while its children are looked for
        await _stop(pid)
        found += [each for each in processes.descendants(pid) if each not in found]
    for number in (signal.SIGTERM, signal.SIGCONT):
        for pid in found:
            _send(pid, number)
    with trio.move_on_after(1, shield=True):
        await process.wait()
    process.kill()


async def _stop(pid: int) -> None:
    """Stop a process; one that does not, as one that waits for its disk, is left to go on."""
    if not _send(pid, signal.SIGSTOP):
        return
    with trio.move_on_after(STOP_TIMEOUT, shield=True):
        while (  # noqa: ASYNC110 - nobody tells
            seen := processes.look(pid)
        ) and seen.state not in ("suspended", "traced", "dead"):
            await trio.sleep(STOP_INTERVAL)


def _send(pid: int, number: int) -> bool:
    """Send a signal; False: the process has ended, or is another user's."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
        return True
    return False


@contextmanager
def terminal_kept() -> Iterator[None]:
    """Restore the terminal afterwards, whatever happens."""
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
