"""The terminal of this process, when it is that of a command in a guest: each byte is passed on."""

from __future__ import annotations

import os
import termios
import tty
from contextlib import suppress
from typing import Any, Final

from umlctl import streams

READ_BYTES: Final = 4096
"""The most that is read of it at once, bytes."""


class RawTerminal:
    """Standard input, a terminal, and where what is typed goes.

    Fields:
        typed: what the guest has not taken yet
        is_open: there may be more
    """

    def __init__(self, line: int) -> None:
        """line: a descriptor that does not block"""
        self.typed = b""
        self.is_open = True
        self._line = line
        self._modes: list[Any] | None = None

    def set_up(self) -> None:
        """Have it hand over each byte as it is."""
        with suppress(termios.error):
            self._modes = self._modes or termios.tcgetattr(streams.STDIN)
            tty.setraw(streams.STDIN, termios.TCSADRAIN)

    def restore(self) -> None:
        """Have it as it was."""
        if self._modes is not None:
            with suppress(termios.error):
                termios.tcsetattr(streams.STDIN, termios.TCSADRAIN, self._modes)

    def size(self) -> tuple[int, int]:
        """Rows and columns.

        Raises: OSError
        """
        found = os.get_terminal_size(streams.STDIN)
        return found.lines, found.columns

    def read(self) -> bytes:
        """Take what was typed, and pass it on; what that is."""
        typed = b""
        try:
            typed = os.read(streams.STDIN, READ_BYTES)
            self.typed += typed
            self.is_open = bool(self.typed)
        except BlockingIOError:
            pass
        except OSError:
            self.is_open = False
        self.pass_on()
        return typed

    def pass_on(self) -> None:
        """Pass on what was typed, as far as the guest takes it."""
        try:
            count = os.write(self._line, self.typed) if self.typed else 0
            self.typed = self.typed[count:]
        except BlockingIOError:
            pass
        except OSError:
            self.typed, self.is_open = b"", False
