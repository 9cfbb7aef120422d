"""What a kernel complains of because of umlctl's arguments, which a user who looks need not see.

A guest has no more lines than it needs. `con=none ssl=none` makes it boot a tenth of a second
sooner than lines that lead nowhere, and an image's init finds no lines to wait at. For each missing
line the kernel prints an error, at a level that `quiet` leaves. The log keeps all of it.
"""

from __future__ import annotations

import re
from typing import Final

STAMP: Final = re.compile(rb"\[ *\d+\.\d{6}\] ")
"""What the kernel puts before each line of its own, see umlctl.guest.cmdline."""
_SAID: Final = {
    b"setup_one_line failed for device ": rb"\d+ : configured as 'none'",
    b"read_cow_header - short header": rb"",  # ubd0 is /dev/null where a guest has none
    b"epollctl add err fd ": rb"\d+, Operation not permitted",  # a console's output is a file
}
"""How such lines begin, and how they go on."""
_LINES: Final = re.compile(
    STAMP.pattern
    + b"(?:"
    + b"|".join(re.escape(begin) + rest for begin, rest in _SAID.items())
    + rb")\r?\n"
)
_BEGUN: Final = re.compile(STAMP.pattern + rb"([^\n]*)\Z")


def is_noise(line: bytes) -> bool:
    """Whether a line of the kernel's, from its time on, is of no use to a reader."""
    return _LINES.fullmatch(line) is not None


class Quiet:
    """Leaves noise out of what a console prints, piece by piece."""

    def __init__(self) -> None:
        self._kept = b""

    def __call__(self, data: bytes) -> bytes:
        """The piece without noise. What may be the beginning of a noisy line comes with the next
        piece."""
        data = _LINES.sub(b"", self._kept + data)
        self._kept = b""
        begun = _BEGUN.search(data, data.rfind(b"\n") + 1)
        if begun is not None and _may_become_noise(begun[1]):
            self._kept = data[begun.start() :]
            data = data[: begun.start()]
        return data


def _may_become_noise(text: bytes) -> bool:
    return bool(text) and any(
        begin.startswith(text) or (text.startswith(begin) and len(text) < len(begin) + 40)
        for begin in _SAID
    )
