"""A switch's side of capturing: who wants copies of frames, and of which."""

from __future__ import annotations

import select
import time
from typing import TYPE_CHECKING, Final

from umlctl.networks.captured import RECEIVED, SENT, encode
from umlctl.networks.forwarding import LISTEN_EVENTS, Port

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from umlctl.networks.loop import Loop

MAX_CAPTURES: Final = 16
"""How many capture at a switch at a time."""


class Captures:
    """Who captures at a switch.

    Fields:
        copy: takes a frame, the port that it has come from, and the one that it goes to (None: to
            all others); None while nobody captures, so that each frame costs a look
    """

    def __init__(self, loop: Loop) -> None:
        self.copy: Callable[[memoryview, Port, Port | None], None] | None = None
        self._loop = loop
        self._all: dict[int, tuple[Port, int]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def add(self, connection: socket.socket, pid: int) -> None:
        """Send copies of frames to a connection until its other end is closed.

        connection: sends a packet at a time
        pid: of the process whose frames are wanted; 0: each frame, as it comes in

        Raises: OSError: there is no room for it; the connection is still the caller's
        """
        # A port has what this takes: it keeps some of what the reader is slow to take, and counts
        # what it drops.
        to = Port(0, pid, connection, 0, self._loop.rearm)
        self._loop.watch(to.fd, LISTEN_EVENTS, lambda events: self._serve(to, events))
        self._all[to.fd] = (to, pid)
        self.copy = self._copy

    def _serve(self, to: Port, events: int) -> None:
        if events & ~select.EPOLLOUT:  # it has nothing to say but its end
            del self._all[to.fd]
            self._loop.unwatch(to.fd)
            to.connection.close()
            if not self._all:
                self.copy = None
            return
        to.drain()

    def _copy(self, frame: memoryview, source: Port, sink: Port | None) -> None:
        now = time.time_ns()
        for to, pid in list(self._all.values()):
            if not pid or source.pid == pid:
                direction = SENT
            elif sink is None or sink.pid == pid:
                direction = RECEIVED
            else:
                continue
            to.put(memoryview(encode(frame, now, source.number, to.dropped, direction)))
