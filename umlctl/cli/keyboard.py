"""What is typed for a console: the key that leaves it, and a terminal that sends all other keys
there."""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import termios
import tty
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from umlctl import streams
from umlctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

ESCAPE: Final = "^]"
REPEAT_TIMEOUT: Final = 0.3
"""How long the same key may follow itself, seconds: users of other programs are used to press it
thrice."""
_REPORTED: Final = re.compile(
    rb"\x1b\[(\d+)(?::\d*)*;(\d+)(?::(\d))?(?:;[\d:]*)?u|\x1b\[27;(\d+);(\d+)~"
)
"""A key with its modifiers: CODE;MODIFIERS[:EVENT] u of kitty, 27;MODIFIERS;CODE ~ of xterm."""
_CONTROL_BIT: Final = 4
_IGNORED_BITS: Final = 1 | 64 | 128
"""Modifiers that do not count: Shift, which some keyboards need for the key, Caps Lock and Num
Lock."""
_MAX_SEQUENCE_BYTES: Final = 64
"""The longest beginning of a sequence whose end may come in the next packet, bytes."""


class Keyboard:
    """Standard input, as it is typed on a console.

    Fields:
        is_over: the input has ended
        left: the user has pressed the key that leaves the console
    """

    def __init__(self, escape: bytes, *, is_terminal: bool) -> None:
        """escape: the key, as ^] is 0x1d; empty: no key leaves

        is_terminal: a person types; else a script does, and has no such key
        """
        self.is_over = False
        self.left = False
        self._key = Key(escape)
        self._is_terminal = is_terminal

    @property
    def leaving(self) -> str:
        """The key that leaves the console, for a person."""
        return f"^{chr(self._key.byte[0] | 0x40)}" if self._key.byte else "nothing"

    def read(self) -> bytes:
        """What was typed; empty if nothing was, see the fields.

        Raises: OSError
        """
        try:
            data = os.read(streams.STDIN, 4096)
        except BlockingIOError:
            return b""
        if not data:
            self.is_over = True
        elif self._is_terminal and (place := self._key.find(data)) >= 0:
            data = data[:place]
            self.left = True
        return data

    @contextmanager
    def raw(self) -> Iterator[None]:
        """Have every key go to the guest, and restore the terminal afterwards."""
        if not self._is_terminal:
            yield
            return
        before = termios.tcgetattr(sys.stdin)
        tty.setraw(sys.stdin, termios.TCSADRAIN)
        raw = termios.tcgetattr(sys.stdin)
        try:
            yield
        finally:
            self._swallow()
            # If `umlctl run` was killed, a shell has the terminal by now. It lets a process that
            # ignores this signal restore the modes. Modes that the shell itself has set are left
            # alone.
            signal.signal(signal.SIGTTOU, signal.SIG_IGN)
            with suppress(termios.error):  # there is no terminal any more
                if termios.tcgetattr(sys.stdin) == raw:
                    termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)

    def _swallow(self) -> None:
        """Swallow more of the key that leaves: a user may be used to press it thrice, and the shell
        must not get the rest."""
        if self.left:
            while select.select([sys.stdin], [], [], REPEAT_TIMEOUT)[0]:
                data = os.read(streams.STDIN, 64)
                if not data or not self._key.only(data):
                    break


def escape_key(text: str) -> bytes:
    """The byte of a control key such as ^] or ^A; no byte for `none`.

    Raises: UsageError
    """
    if text == "none":
        return b""
    if len(text) == 2 and text[0] == "^" and "@" < text[1].upper() <= "_":
        return bytes([ord(text[1].upper()) & 0x1F])
    raise UsageError(f"an escape key is ^A to ^_ or `none`, not {text!r}")


class Key:
    """A control key that is looked for in what is typed, however the terminal reports it."""

    def __init__(self, byte: bytes) -> None:
        """byte: as ^] is 0x1d; empty: there is no key"""
        self.byte = byte
        self._codes = {byte[0] | 0x40, byte[0] | 0x60} if byte else set()
        self._before = b""

    def find(self, data: bytes) -> int:
        """Where the key stands in what was typed next; -1 if it does not."""
        if not self.byte:
            return -1
        place = data.find(self.byte)
        known = len(self._before)
        text = self._before + data
        self._before = text[-_MAX_SEQUENCE_BYTES:] if place < 0 else b""
        for found in _REPORTED.finditer(text):
            if found.end() > known and self._is_it(found):
                sequence = max(0, found.start() - known)
                return sequence if place < 0 else min(place, sequence)
        return place

    def only(self, data: bytes) -> bool:
        """Whether nothing but the key was typed."""
        rest = _REPORTED.sub(lambda found: b"" if self._is_it(found) else found[0], data)
        return not rest.replace(self.byte, b"")

    def _is_it(self, found: re.Match[bytes]) -> bool:
        code, modifiers = int(found[1] or found[5]), int(found[2] or found[4]) - 1
        return code in self._codes and modifiers & ~_IGNORED_BITS == _CONTROL_BIT
