"""The prompt of a terminal that only prints, and of `--plain`: no paint, nothing moved.

The host kernel's own line editing is all there is. A script that drives the prompt gets what it
expects.
"""

from __future__ import annotations

import os
from typing import Final

import trio

from umlctl.shell.repl import Shell

STDIN: Final = 0
MAX_LINE_BYTES: Final = 4096
"""The longest line of a terminal, bytes."""


class PlainShell(Shell):
    """The prompt, read a line at a time."""

    def __init__(self, guest: str) -> None:
        super().__init__(guest, fancy=False)
        self._asking: trio.CancelScope | None = None
        self._rest = b""

    def begin(self, guest: str) -> None:
        pass

    async def ask_for_line(self) -> str | None:
        line = await self._read(self.prompt_text)
        if line is None:
            print(flush=True)
        return line

    def interrupted_ahead(self) -> bool:
        return False  # the terminal makes a signal of Ctrl-C at any time

    async def confirm(self, question: str) -> bool:
        said = await self._read(f"{question} [y/N] ")
        return said is not None and said.strip().lower() in ("y", "yes")

    async def _read(self, prompt: str) -> str | None:
        """Read a line; None if Ctrl-C or Ctrl-D came instead."""
        print(prompt, end="", flush=True)
        with trio.CancelScope() as self._asking:
            while b"\n" not in self._rest:
                await trio.lowlevel.wait_readable(STDIN)
                data = os.read(STDIN, MAX_LINE_BYTES)
                if not data:
                    self.session.leaving = True
                    break
                self._rest += data
        self._asking = None
        line, end, rest = self._rest.partition(b"\n")
        self._rest = rest if end else b""
        return line.decode("utf-8", "surrogateescape") if end else None

    def interrupt(self) -> None:
        if self._asking is not None:
            self._rest = b""
            self._asking.cancel()

    def leave(self) -> None:
        self.interrupt()

    def redraw(self) -> None:
        pass

    def tell(self, text: str) -> None:
        if self.running is not None:
            self.held.append(text)
            return
        print(f"\n* {text}" if self._asking is not None else f"* {text}", flush=True)
        if self._asking is not None:
            print(self.prompt_text, end="", flush=True)
