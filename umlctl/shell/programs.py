"""Programs of this host that the prompt runs, and gives its terminal to."""

from __future__ import annotations

import os
import signal
import sys
import termios
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import trio

from umlctl import exitcodes
from umlctl.host import processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


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
    for pid in [process.pid, *processes.descendants(process.pid)]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    with trio.move_on_after(1, shield=True):
        await process.wait()
    process.kill()


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
