"""What a guest writes, on its way to standard output, be that a terminal or not.

Some of it is kept from a person's terminal. What programs of the guest have set there is undone.
"""

from __future__ import annotations

import os
import re
import sys
from typing import Final

from umlctl import exitcodes, streams
from umlctl.cli.noise import STAMP, Quiet
from umlctl.output import say

_QUESTIONS: Final = re.compile(
    rb"\x1b\[[?>=]?[0-9;]*[cn]|\x1b\[\?u|\x1b\[\?[0-9;]*\$p|\x1bP[^\x1b]*\x1b\\"
    rb"|\x1b\]\d+;\?[^\x07\x1b]*(?:\x07|\x1b\\)|\x05"
)
"""Sequences that a terminal answers: those of the past are left out, as no program waits for the
answers."""
_MODES: Final = re.compile(rb"\x1b\[(\??)([0-9;]+)([hl])")
_KEYS: Final = re.compile(rb"\x1b\[([<>])(\d*)(?:;\d*)?u|\x1b\[=\d*(?:;\d*)?u|\x1b\[>4(?:;\d*)?m")
"""How keys are to be reported, of xterm's modifyOtherKeys and of the protocol of kitty."""
_CURSOR: Final = re.compile(rb"\x1b\[\d* q")
_OTHERS: Final = re.compile(rb"\x1b=|\x1b\[\d*;?\d*r|\x1b\([^B]|\x0e")
"""An application's keypad, a part of the screen that scrolls alone, another set of letters."""
_USUAL: Final = b"\x1b7\x1b[r\x1b8\x1b>\x1b(B\x0f"
"""The sequences that undo all of these."""
_BEGUN: Final = re.compile(rb"\x1b(\[[0-9;?<>=: ]*|\()?")
_MAX_SEQUENCE_BYTES: Final = 64
"""The longest beginning of a sequence whose end may come in the next packet, bytes."""
_SHOWN: Final = (b"?25", b"?7")
"""Modes that a terminal has on by itself: the cursor, and wrapping."""


class Screen:
    """Where a viewer shows a console.

    Fields:
        is_terminal: it is a person's terminal, on which that person types too
    """

    def __init__(self) -> None:
        self.is_terminal = sys.stdin.isatty() and sys.stdout.isatty()
        self._modes = Modes()
        self._lines = Lines()
        self._quiet = Quiet()

    def shown(self, data: bytes, *, past: bool) -> bytes:
        """What the guest has printed, as it is to be written here.

        past: the guest printed it some time ago, and it was shown before
        """
        data = self._quiet(data)
        if self.is_terminal:
            if past:
                data = without_questions(data)
            self._modes.note(data)
            data = self._lines.returned(data)
        return data

    def restoring(self) -> bytes:
        """The sequences that undo what programs of the guest have set."""
        return self._modes.restoring() if self.is_terminal else b""

    def size(self) -> tuple[int, int]:
        """Rows and columns of the window; 0 for a terminal that does not tell them."""
        try:
            found = os.get_terminal_size(streams.STDOUT)
        except OSError:
            return 0, 0
        return found.lines, found.columns

    def note(self, text: str) -> None:
        """Show a message of umlctl's in a line of its own."""
        if self.is_terminal:
            sys.stderr.write(f"\r\n\x1b[0m[umlctl: {text}]\r\n")
            sys.stderr.flush()
        else:
            say(text, exitcodes.OK)


class Modes:
    """What programs of a guest have set on a terminal, by what they wrote."""

    def __init__(self) -> None:
        self._modes: set[bytes] = set()
        self._others = self._cursor = self._keys = False
        self._pushed = 0
        self._begun = b""

    def note(self, data: bytes) -> None:
        """Remember what has to be undone at the end."""
        data = self._begun + data
        last = data.rfind(b"\x1b", max(0, len(data) - _MAX_SEQUENCE_BYTES))
        # A sequence that has not ended counts once all of it is there.
        self._begun = data[last:] if last >= 0 and _BEGUN.fullmatch(data, last) else b""
        data = data[: len(data) - len(self._begun)]
        for private, modes, switch in _MODES.findall(data):
            for number in modes.split(b";"):
                mode = private + number
                if (switch == b"h") != (mode in _SHOWN):
                    self._modes.add(mode)
                else:
                    self._modes.discard(mode)
        for way, count in _KEYS.findall(data):
            self._keys = True
            if way == b">":
                self._pushed += 1
            elif way == b"<":
                self._pushed = max(0, self._pushed - int(count or 1))
        self._cursor = self._cursor or _CURSOR.search(data) is not None
        self._others = self._others or _OTHERS.search(data) is not None

    def restoring(self) -> bytes:
        """The sequences that undo the modes which the guest's programs have set."""
        undone = b""
        if self._keys:
            undone += b"\x1b[<%du" % self._pushed if self._pushed else b""
            undone += b"\x1b[=0u\x1b[>4m"
        for mode in sorted(self._modes):
            undone += b"\x1b[" + mode + (b"h" if mode in _SHOWN else b"l")
        if self._cursor:
            undone += b"\x1b[0 q"
        return undone + (_USUAL if self._others else b"") + b"\x1b[0m\r\n"


class Lines:
    """Where the lines of a console begin."""

    def __init__(self) -> None:
        self._line = b""
        self._returns = self._has_terminal = False

    def returned(self, data: bytes) -> bytes:
        """Begin the kernel's own lines at the left: no terminal of the guest's sees to that.

        A line of the kernel's has its time at the front; before there is a terminal, all lines are.
        """
        found = []
        for line in data.splitlines(keepends=True):
            begun = self._line + line[: _MAX_SEQUENCE_BYTES - len(self._line)]
            self._line = b"" if line.endswith(b"\n") else begun
            if line.endswith(b"\r\n") or (line == b"\n" and self._returns):
                self._has_terminal = True
            elif line.endswith(b"\n") and (not self._has_terminal or STAMP.match(begun)):
                line = line[:-1] + b"\r\n"  # noqa: PLW2901
            self._returns = line.endswith(b"\r")
            found.append(line)
        return b"".join(found)


def without_questions(data: bytes) -> bytes:
    return _QUESTIONS.sub(b"", data)
