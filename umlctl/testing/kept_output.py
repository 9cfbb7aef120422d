"""What a guest says, in a file that does not grow for ever."""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

MAX_HEAD_BYTES: Final = 1 << 22
MAX_TAIL_BYTES: Final = 1 << 20
"""What is kept of the beginning, and of the end, bytes."""
SHOWN_BYTES: Final = 1 << 16
"""What of the end a result has, bytes."""


class KeptOutput:
    """A file with the beginning and the end of what was said.

    Fields:
        path: of the file
    """

    def __init__(self, path: str) -> None:
        """Raises: OSError"""
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._room = MAX_HEAD_BYTES
        self._tail: deque[bytes] = deque()
        self._held = 0
        self._left_out = 0
        self._last = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _problem: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        os.close(self._file)

    def add(self, data: bytes) -> None:
        """Raises: OSError"""
        self._last += data[-SHOWN_BYTES:]
        del self._last[:-SHOWN_BYTES]
        head, rest = data[: self._room], data[self._room :]
        self._write(head)
        self._room -= len(head)
        if rest:
            self._tail.append(rest[-MAX_TAIL_BYTES:])
            self._left_out += max(0, len(rest) - MAX_TAIL_BYTES)
            self._held += len(self._tail[-1])
        while self._held - len(self._tail[0] if self._tail else b"") >= MAX_TAIL_BYTES:
            gone = self._tail.popleft()
            self._held -= len(gone)
            self._left_out += len(gone)

    def finish(self) -> None:
        """Write down what is not written yet.

        Raises: OSError
        """
        if self._left_out:
            self._write(b"\n[%d bytes are left out]\n" % self._left_out)
        while self._tail:
            self._write(self._tail.popleft())
        self._held = self._left_out = 0

    def last(self) -> str:
        """The end of it."""
        return self._last.decode("utf-8", "backslashreplace")

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]
