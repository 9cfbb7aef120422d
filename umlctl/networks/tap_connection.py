"""A tap that this process moves frames through, as a port of a switch."""

from __future__ import annotations

import os


class TapConnection:
    """A tap that this process moves frames through, with what a port's connection has of a
    socket."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        os.set_blocking(descriptor, False)

    def fileno(self) -> int:
        return self._descriptor

    def setblocking(self, blocking: bool) -> None:
        os.set_blocking(self._descriptor, blocking)

    def setsockopt(self, *_: object) -> None:
        """A tap has a queue of its own."""

    def send(self, frame: memoryview | bytes) -> int:
        return os.write(self._descriptor, frame)

    def recv_into(self, view: memoryview, _size: int, _flags: int) -> int:
        return os.readv(self._descriptor, [view])

    def close(self) -> None:
        os.close(self._descriptor)
