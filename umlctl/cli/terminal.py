"""A person's terminal while a guest writes to it: what to keep from it, and what to undo."""

from __future__ import annotations

import re
from typing import Final

from umlctl.cli.noise import STAMP

_QUESTIONS: Final = re.compile(
    rb"\x1b\[[?>=]?[0-9;]*[cn]|\x1b\[\?u|\x1b\[\?[0-9;]*\$p|\x1bP[^\x1b]*\x1b\\"
    rb"|\x1b\]\d+;\?[^\x07\x1b]*(?:\x07|\x1b\\)|\x05"
)
"""What a terminal would answer: of the past, nobody waits for it any more."""
_MODES: Final = re.compile(rb"\x1b\[(\??)([0-9;]+)([hl])")
_KEYS: Final = re.compile(rb"\x1b\[([<>])(\d*)(?:;\d*)?u|\x1b\[=\d*(?:;\d*)?u|\x1b\[>4(?:;\d*)?m")
"""How keys are to be reported, of xterm's modifyOtherKeys and of the protocol of kitty."""
_CURSOR: Final = re.compile(rb"\x1b\[\d* q")
_OTHERS: Final = re.compile(rb"\x1b=|\x1b\[\d*;?\d*r|\x1b\([^B]|\x0e")
"""An application's keypad, a part of the screen that scrolls alone, another set of letters."""
_USUAL: Final = b"\x1b7\x1b[r\x1b8\x1b>\x1b(B\x0f"
"""What undoes all of these."""
_BEGUN: Final = re.compile(rb"\x1b(\[[0-9;?<>=: ]*|\()?")
_LONGEST: Final = 64
"""The most of a sequence that may come in the next packet, bytes."""
_SHOWN: Final = (b"?25", b"?7")
"""Modes that a terminal has on: the cursor, and wrapping."""
_REPORTED: Final = re.compile(
    rb"\x1b\[(\d+)(?::\d*)*;(\d+)(?::(\d))?(?:;[\d:]*)?u|\x1b\[27;(\d+);(\d+)~"
)
"""A key with its modifiers: CODE;MODIFIERS[:EVENT] u of kitty, 27;MODIFIERS;CODE ~ of xterm."""
_CONTROL: Final = 4
_IGNORED: Final = 1 | 64 | 128
"""Shift, which some keyboards need for the key, Caps Lock and Num Lock."""


class Screen:
    """What a guest's programs have done to a terminal, from what they wrote."""

    def __init__(self) -> None:
        self._modes: set[bytes] = set()
        self._others = self._cursor = self._keys = False
        self._pushed = 0
        self._begun = self._line = b""
        self._returns = self._has_terminal = False

    def note(self, data: bytes) -> None:
        """Remember what has to be undone at the end."""
        data = self._begun + data
        last = data.rfind(b"\x1b", max(0, len(data) - _LONGEST))
        # A sequence that has not ended counts when all of it is there.
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
        """What undoes the modes that the guest's programs have set."""
        undone = b""
        if self._keys:
            undone += b"\x1b[<%du" % self._pushed if self._pushed else b""
            undone += b"\x1b[=0u\x1b[>4m"
        for mode in sorted(self._modes):
            undone += b"\x1b[" + mode + (b"h" if mode in _SHOWN else b"l")
        if self._cursor:
            undone += b"\x1b[0 q"
        return undone + (_USUAL if self._others else b"") + b"\x1b[0m\r\n"

    def returned(self, data: bytes) -> bytes:
        """Begin the kernel's own lines at the left: no terminal of the guest's sees to that.

        A line of the kernel's has its time at the front; before there is a terminal, all are.
        """
        found = []
        for line in data.splitlines(keepends=True):
            begun = self._line + line[: _LONGEST - len(self._line)]
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


class Key:
    """A control key that is looked for in what is typed, however the terminal reports it."""

    def __init__(self, byte: bytes) -> None:
        """byte: as ^] is 0x1d; empty: there is none"""
        self.byte = byte
        self._codes = {byte[0] | 0x40, byte[0] | 0x60} if byte else set()
        self._before = b""

    def find(self, data: bytes) -> int:
        """Where it stands in what was typed next; -1 if it does not."""
        if not self.byte:
            return -1
        place = data.find(self.byte)
        known = len(self._before)
        text = self._before + data
        self._before = text[-_LONGEST:] if place < 0 else b""
        for found in _REPORTED.finditer(text):
            if found.end() > known and self._is_it(found):
                sequence = max(0, found.start() - known)
                return sequence if place < 0 else min(place, sequence)
        return place

    def only(self, data: bytes) -> bool:
        """Nothing else was typed."""
        rest = _REPORTED.sub(lambda found: b"" if self._is_it(found) else found[0], data)
        return not rest.replace(self.byte, b"")

    def _is_it(self, found: re.Match[bytes]) -> bool:
        code, modifiers = int(found[1] or found[5]), int(found[2] or found[4]) - 1
        return code in self._codes and modifiers & ~_IGNORED == _CONTROL
