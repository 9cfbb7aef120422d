"""Whether a guest has answered all that a script has typed on its console; pure.

A console does not say when a command is over. But a shell shows its prompt again, the same as
before, once for each line that was typed. Where that cannot be seen, silence has to do.
"""

from __future__ import annotations

import re
from typing import Final

QUIET_TIMEOUT: Final = 0.5
"""How long a console that has answered all is silent before it is left, seconds."""
UNSEEN_QUIET_TIMEOUT: Final = 5.0
"""The same where it cannot be seen whether the console has answered all, seconds."""
_TAIL_BYTES: Final = 1024
"""How much of the output is looked at for the line that has not ended, bytes."""
_SEARCH_BYTES: Final = 65536
_SEQUENCE: Final = re.compile(rb"\x1b\[[?>=0-9;]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
"""Colours, titles and modes."""


class Answer:
    """What a console prints to what is typed.

    Fields:
        silence: how long the console may be silent, seconds; None: as long as it takes, see
            `patience`
        until: the text that it is to print; empty: nothing in particular
        found: it has printed that
    """

    def __init__(
        self, silence: float | None = None, until: bytes = b"", *, asked: bool = False
    ) -> None:
        """asked: something is to be printed, though nothing may be typed"""
        self.silence = silence
        self.until = until
        self.found = False
        self._asked = asked
        self._prompt = b""
        self._lines = self._prompts = 0
        self._tail = self._rest = self._searched = b""
        self._echoes: list[bytes] = []

    def begin(self, past: bytes) -> None:
        """Begin with what the console shows; once."""
        if self._tail:
            return
        self._prompt = open_line(past)
        self._tail = past[-_TAIL_BYTES:]

    def typed(self, data: bytes) -> None:
        """Note what is typed, which the console may echo."""
        self._asked = True
        self._lines += data.count(b"\n")
        if self.until:
            self._echoes += [line for line in data.splitlines() if self.until in line]

    def printed(self, data: bytes) -> None:
        """Note what is printed."""
        self._tail = (self._tail + data)[-_TAIL_BYTES:]
        if self._prompt:
            text = self._rest + _SEQUENCE.sub(b"", data)
            self._prompts += text.count(self._prompt)
            last = text.rpartition(self._prompt)[2]
            self._rest = last[max(0, len(last) - len(self._prompt) + 1) :]
        if self.until and not self.found:
            self._search(data)

    def _search(self, data: bytes) -> None:
        text = self._searched + data
        for echo in list(self._echoes):
            place = text.find(echo)
            if place >= 0:
                self._echoes.remove(echo)
                text = text[:place] + b"\n" + text[place + len(echo) :]
        place = text.find(self.until)
        self.found = place >= 0 and not any(
            text.endswith(echo[:size])
            for echo in self._echoes
            for size in range(len(text) - place, len(echo))
        )
        self._searched = text[-_SEARCH_BYTES:]

    @property
    def complete(self) -> bool:
        """Whether all that was typed is answered, as far as can be seen."""
        if self.until:
            return self.found
        if not self._asked:
            return True
        is_back = bool(self._prompt) and open_line(self._tail) == self._prompt
        return is_back and self._prompts >= self._lines > 0

    @property
    def patience(self) -> float | None:
        """How long the console may be silent now before it is left, seconds; None: for ever."""
        if self.until:
            return self.silence
        if self.complete:
            return QUIET_TIMEOUT if self.silence is None else min(QUIET_TIMEOUT, self.silence)
        return UNSEEN_QUIET_TIMEOUT if self.silence is None else self.silence


def open_line(text: bytes) -> bytes:
    """The line that has not ended, such as a prompt, without colours and blanks before it."""
    line = _SEQUENCE.sub(b"", text[-_TAIL_BYTES:].rpartition(b"\n")[2])
    return line.rpartition(b"\r")[2]
