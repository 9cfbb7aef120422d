"""What a supervisor says to our init program in a guest: it reads lines from a FIFO."""

from __future__ import annotations

import os
from typing import Final

import msgspec

WITH_SHELL: Final = ("con1", "con2", "con3", "con4")
"""Consoles on which our init program starts a shell; con0 has one always."""


class Agent:
    """Our init program, as far as consoles go."""

    def __init__(self, directory: str, *, is_there: bool) -> None:
        """directory: of the running guest; is_there: else its init program is another"""
        self._fifo = f"{directory}/agent.in"
        self._is_there = is_there

    def resize(self, console: str, data: bytes) -> bool:
        """Tell it a window's size; whether there is somebody in the guest to hear.

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
        """Somebody would type: it has a shell there, if nobody has opened it."""
        if self._is_there and console in WITH_SHELL:
            self._tell(f"shell tty{console[3:]}\n")

    def _tell(self, line: str) -> bool:
        """Say something to it; whether it will hear of it."""
        try:
            descriptor = os.open(self._fifo, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                os.write(descriptor, line.encode())
            finally:
                os.close(descriptor)
        except OSError:
            return False
        return True
