"""`linux`: a kernel as if it had been started by itself, and supervised meanwhile.

This process becomes the kernel. So its pid, its words in ps(1), its descriptors, its exit status
and what signals do to it are the kernel's, whoever sends them. Before that it writes down what a
supervisor has to know, and leaves a process beside itself that has the guest adopted as soon as it
can be asked (`umlctl.compat.attendant`). Nothing is said on the standard streams: they are the
guest's console.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import Final

from umlctl import exitcodes
from umlctl.errors import NoKernel, UmlctlError
from umlctl.guest.words import PRINTING_WORDS
from umlctl.kernels import find, kernel_file

_NO_RANDOMISATION: Final = 0x0040000
"""ADDR_NO_RANDOMIZE of personality(2)."""


def main(argv: list[str]) -> int:
    """Become a kernel with these words. Returns: only where there is none, an exit code."""
    _let_signals_be()
    line = argv[1:]
    try:
        kernel = _find()
    except UmlctlError as problem:
        sys.stderr.write(f"linux: {problem}\n")
        return exitcodes.NO_COMMAND
    if not any(word.startswith(PRINTING_WORDS) for word in line):
        line = _supervised(kernel, line)
    return _become(kernel, line)


def _supervised(kernel: str, line: list[str]) -> list[str]:
    """Have the guest supervised, and what it shares with others left as it is; the kernel's words.

    One that cannot be supervised runs as it would by itself.
    """
    from umlctl.compat import handing_over, terminals  # for what only prints, that is too much
    from umlctl.guest import kernel_line

    numbers = sorted({0, 1, 2, *kernel_line.descriptors(line)})
    with suppress(UmlctlError, OSError, ValueError):
        line = handing_over.supervise(kernel, line, terminals.look(numbers))
    for number in numbers:
        terminals.separate(number)
    _leave_addresses()
    return line


def _find() -> str:
    """Raises: NoKernel: there is none, or it is no kernel, as this very program is none"""
    kernel = find.find()
    flaw = kernel_file.flaw(kernel)
    if flaw:
        raise NoKernel(f"{kernel} is not a UML kernel: {flaw}; {find.ADVICE}")
    return kernel


def _become(kernel: str, line: list[str]) -> int:
    try:
        os.execv(kernel, [kernel, *line])  # noqa: S606
    except OSError as problem:
        sys.stderr.write(f"linux: cannot execute {kernel}: {problem.strerror}\n")
        return exitcodes.NOT_EXECUTED


def _let_signals_be() -> None:
    """Have signals do what they do to a program that sees to none: a kernel begins so."""
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # the interpreter ignores it
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)


def _leave_addresses() -> None:
    """Have the kernel's addresses not be random: that would take of the guest's memory."""
    import ctypes

    libc = ctypes.CDLL(None)
    libc.personality(libc.personality(0xFFFFFFFF) | _NO_RANDOMISATION)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
