"""gdb on a kernel that was started for a command, from its first instruction.

What is to become the kernel waits at a gate until gdb is attached to it.
"""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from umlctl.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from umlctl.guest.definition import Definition


class Gate(NamedTuple):
    """A pipe: who waits reads, who opens the gate writes."""

    reader: int
    writer: int


NO_GATE: Final = Gate(-1, -1)


@contextmanager
def gate() -> Iterator[Gate]:
    """A gate."""
    made = Gate(*os.pipe())
    try:
        os.fchmod(made.reader, 0o644)  # who waits opens it anew, and may be another user's by then
        yield made
    finally:
        for descriptor in made:
            os.close(descriptor)


@contextmanager
def debugging(definition: Definition, pid: int, gate: Gate) -> Iterator[None]:
    """Have gdb attached to what waits at a gate, if it does, and let that through; at the end, wait
    for gdb, which has the terminal.

    Raises: HostError: there is no gdb
    """
    if gate == NO_GATE:
        yield
        return
    import subprocess  # which a command without gdb does without

    from umlctl.cli import gdb

    path = f"/proc/{os.getpid()}/fd/{gate.writer}"
    command = gdb.command_of(definition.kernel, definition.user, pid, (), path)
    try:
        process = subprocess.Popen(command)
    except OSError as problem:
        raise HostError(f"cannot run {command[0]}: {problem}") from problem
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is gdb's
    try:
        yield
    finally:
        process.wait()
        signal.signal(signal.SIGINT, before)
