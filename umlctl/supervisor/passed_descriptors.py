"""Descriptors that a kernel's arguments name, such as `con1=fd:0,fd:1`. The caller of `umlctl run`
left them open, and the kernel gets them under the same numbers.

A guest in the background gets none: its supervisor has none that are a caller's.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import termios
from typing import TYPE_CHECKING, Final

from umlctl.errors import UsageError
from umlctl.guest import cmdline
from umlctl.host import processes
from umlctl.protocol import command_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from umlctl.guest.definition import Definition

OWN_DESCRIPTORS: Final = range(
    cmdline.CONSOLE_IN_DESCRIPTOR,
    command_lines.LAST_DESCRIPTOR + 1,
)
"""The descriptors of the kernel that are umlctl's own."""
_PLACE: Final = (
    "import os, sys\n"
    "for pair in sys.argv[1].split(','):\n"
    "    source, number = map(int, pair.split(':'))\n"
    "    os.dup2(source, number)\n"
    "    os.close(source)\n"
    "os.execvp(sys.argv[2], sys.argv[2:])\n"
)
"""A Python program that puts descriptors under other numbers, and executes a command. Some of
those numbers are in use before that."""


def check(definition: Definition, *, passes: bool) -> list[int]:
    """The descriptors of its starter that a kernel is to have.

    passes: the caller of this process may have left some open for the kernel

    Raises: UsageError
    """
    named = cmdline.descriptors(definition)
    for word, number in named:
        if not passes:
            raise UsageError(
                f"{word}: the kernel of a guest in the background has no descriptors of yours; "
                "`umlctl run` passes them on"
            )
        if number in OWN_DESCRIPTORS:
            raise UsageError(
                f"{word}: descriptors {OWN_DESCRIPTORS[0]} to {OWN_DESCRIPTORS[-1]} are umlctl's "
                "own in the kernel; open another"
            )
        if not processes.was_given(number):
            raise UsageError(f"{word}: descriptor {number} is not open in who starts the guest")
        if word.startswith("vec") and "noreboot" not in (
            *definition.append,
            *definition.arguments,
        ):
            raise UsageError(
                f"{word}: a NIC's descriptor does not survive a reboot; give the kernel argument "
                "`noreboot` too, and a reboot ends the guest"
            )
    return sorted({number for _, number in named})


@contextlib.contextmanager
def copied(numbers: list[int], above: int) -> Iterator[dict[int, int]]:
    """Copy descriptors while a kernel is started. Returns: the number of each, by its copy's.

    above: the least number that a copy may have

    Raises: OSError
    """
    copies: dict[int, int] = {}
    try:
        for number in numbers:
            copies[fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, above)] = number
        yield copies
    finally:
        for copy in copies:
            os.close(copy)


def placing(copies: dict[int, int]) -> list[str]:
    """The command that puts copies of descriptors under their own numbers, and executes the command
    that follows it.

    copies: the number of each, by its copy's
    """
    if not copies:
        return []
    pairs = ",".join(f"{copy}:{number}" for copy, number in copies.items())
    return [sys.executable, "-ISc", _PLACE, pairs]


@contextlib.contextmanager
def kept_as_they_are(definition: Definition) -> Iterator[None]:
    """Undo what a kernel does to descriptors that are the caller's too: the kernel sets them not to
    block, and terminals raw."""
    before = []
    for number in {number for _, number in cmdline.descriptors(definition)}:
        with contextlib.suppress(OSError):
            modes = termios.tcgetattr(number) if os.isatty(number) else None
            before.append((number, fcntl.fcntl(number, fcntl.F_GETFL), modes))
    try:
        yield
    finally:
        for number, flags, modes in before:
            with contextlib.suppress(OSError, termios.error):
                fcntl.fcntl(number, fcntl.F_SETFL, flags)
                if modes is not None:
                    termios.tcsetattr(number, termios.TCSADRAIN, modes)
