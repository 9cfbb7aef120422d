"""What a supervisor tells umlctl's init program in a guest, which reads lines from a FIFO."""

from __future__ import annotations

import os
from typing import Final

import msgspec

WITH_SHELL: Final = ("con1", "con2", "con3", "con4")
"""The consoles on which umlctl's init program starts a shell when asked; con0 always has one."""


class Agent:
    """umlctl's init program in a guest, as far as consoles go."""

    def __init__(self, directory: str, *, is_there: bool) -> None:
        """directory: of the running guest; is_there: False if its init program is another"""
        self._fifo = f"{directory}/agent.in"
        self._is_there = is_there

    def resize(self, console: str, data: bytes) -> bool:
        """Tell the init program a window's size; False if the guest has no such program to hear it.

        data: JSON, [ROWS, COLUMNS], as a viewer sends it
        """
        try:
            rows, columns = msgspec.json.decode(data, type=tuple[int, int])
        except msgspec.DecodeError:
            return False
        if not self._is_there or not (0 < rows < 10000 and 0 < columns < 10000):
            return False
        line = f"tty{'S' if console.startswith('ssl') else ''}{console[3:]}"
        return self._tell(f"size {line} {rows} {columns}\n")

    def want_shell(self, console: str) -> None:
        """Have the init program start a shell on a console for a viewer who types, unless a process
        has the console open."""
        if self._is_there and console in WITH_SHELL:
            self._tell(f"shell tty{console[3:]}\n")

    def _tell(self, line: str) -> bool:
        """Send a line to the init program; whether it will hear of it."""
        try:
            descriptor = os.open(self._fifo, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                os.write(descriptor, line.encode())
            finally:
                os.close(descriptor)
        except OSError:
            return False
        return True
