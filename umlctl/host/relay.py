"""Datagrams that are handed on to another program's socket, which may be slow, or not be there."""

from __future__ import annotations

import socket
from collections import deque
from contextlib import suppress
from typing import Final

MAX_WAITING: Final = 1000
"""How many datagrams are kept for a program that does not take them; then the oldest are lost."""


class Relay:
    """The way to one socket. Whoever sends waits for nobody."""

    def __init__(self, path: str) -> None:
        """path: of a datagram socket; it is looked up again for each datagram"""
        self._path = path
        self._waiting: deque[bytes] = deque(maxlen=MAX_WAITING)

    def send(self, datagram: bytes) -> None:
        """Hand a datagram on, behind all that wait. Where nobody listens, it is lost."""
        self._waiting.append(datagram)
        self.flush()

    def flush(self) -> bool:
        """Hand on what waits; True if nothing waits any more."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
            while self._waiting:
                with suppress(OSError):
                    try:
                        sender.sendto(self._waiting[0], self._path)
                    except BlockingIOError:
                        return False
                self._waiting.popleft()
        return True
