"""Descriptors that a kernel shares with who started it.

A kernel sets those of its consoles not to block, to send signals, and terminals raw. It undoes that
only where it ends in order, and the first two never.
"""

from __future__ import annotations

import fcntl
import os
import stat
import termios
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

_MULTIPLEXER: Final = os.makedev(5, 2)
"""The device of the master ends of pseudo-terminals: to open it makes another one."""


class Terminal(NamedTuple):
    """A terminal, and how it was.

    Fields:
        descriptor: that leads to it
        modes: as termios(3) has them, in types that JSON has
    """

    descriptor: int
    modes: list[Any]


def look(numbers: Iterable[int]) -> list[Terminal]:
    """The terminals among descriptors, each once."""
    found: dict[int, Terminal] = {}
    for number in numbers:
        with suppress(OSError, termios.error):
            if os.isatty(number):
                *flags, letters = termios.tcgetattr(number)
                told = [each if isinstance(each, int) else each[0] for each in letters]
                device = os.fstat(number).st_rdev
                found.setdefault(device, Terminal(number, [*flags, told]))
    return list(found.values())


def restore(terminal: Terminal) -> None:
    """Have a terminal as it was, unless it is so already or is gone."""
    *flags, told = terminal.modes
    with suppress(OSError, termios.error):
        if look([terminal.descriptor]) != [terminal]:
            letters = [bytes([each]) for each in told]
            termios.tcsetattr(terminal.descriptor, termios.TCSANOW, [*flags, letters])


def separate(number: int) -> None:
    """Open anew what a descriptor leads to, where that can be done: what is set there then is not
    set for others. A file stays as it is, since its offset is everybody's."""
    with suppress(OSError):
        found = os.fstat(number)
        is_terminal = stat.S_ISCHR(found.st_mode) and found.st_rdev != _MULTIPLEXER
        if not (stat.S_ISFIFO(found.st_mode) or (is_terminal and os.isatty(number))):
            return
        flags = fcntl.fcntl(number, fcntl.F_GETFL)
        kept = flags & (os.O_ACCMODE | os.O_APPEND) | os.O_NOCTTY | os.O_CLOEXEC
        # Who opens a pipe to write would wait for a reader.
        fresh = os.open(f"/proc/self/fd/{number}", kept | os.O_NONBLOCK)
        try:
            fcntl.fcntl(fresh, fcntl.F_SETFL, flags)
            os.dup2(fresh, number)
        finally:
            os.close(fresh)
