"""A switch's side of capturing: who wants copies of frames, and of which."""

from __future__ import annotations

import select
import time
from functools import partial
from sys import byteorder
from typing import TYPE_CHECKING, Final, NamedTuple

from umlctl.networks.captured import RECEIVED, SENT, encode
from umlctl.networks.forwarding import LISTEN_EVENTS, MAX_FRAME_BYTES, Port

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from umlctl.networks.loop import Loop

MAX_CAPTURES: Final = 16
"""How many capture at a switch at a time."""
MAX_BURST_FRAMES: Final = 64
"""How many frames are taken of one interface before others get their turn."""
_SOL_PACKET: Final = 263
_PACKET_STATISTICS: Final = 6
_PACKET_OUTGOING: Final = 4


class Tapped(NamedTuple):
    """An interface whose frames are captured, beside those of the switch.

    Fields:
        frames: a packet socket, not blocking
        number: of the port that a frame came by, by the frame
    """

    frames: socket.socket
    number: Callable[[bytes], int]


class _Capture(NamedTuple):
    """One that captures.

    Fields:
        to: where copies go
        pid, guest: whose frames are wanted
        tapped: the interfaces that they are taken of, beside the switch
    """

    to: Port
    pid: int
    guest: str
    tapped: list[Tapped]


class Captures:
    """Who captures at a switch.

    Fields:
        copy: takes a frame, the port that it has come from, and the one that it goes to (None: to
            all others); None while nobody captures, so that each frame costs a look
        trunk: what passes this port is seen on the bridge behind it; None if there is none
    """

    def __init__(self, loop: Loop) -> None:
        self.copy: Callable[[memoryview, Port, Port | None], None] | None = None
        self._loop = loop
        self.trunk: Port | None = None
        self._all: dict[int, _Capture] = {}

    def __len__(self) -> int:
        return len(self._all)

    def add(
        self,
        connection: socket.socket,
        pid: int,
        tapped: Sequence[Tapped] = (),
        guest: str = "",
    ) -> None:
        """Send copies of frames to a connection until its other end is closed.

        All that is `tapped` is closed then, too.

        connection: sends a packet at a time
        pid, guest: of the process whose frames are wanted; 0: each frame, as it comes in

        Raises: OSError: there is no room for it; the connection is still the caller's
        """
        # A port has what this takes: it keeps some of what the reader is slow to take, and counts
        # what it drops.
        to = Port(0, pid, connection, 0, self._loop.rearm)
        self._loop.watch(to.fd, LISTEN_EVENTS, lambda events: self._serve(to, events))
        capture = self._all[to.fd] = _Capture(to, pid, guest, [])
        self.copy = self._copy
        for each in tapped:
            self._begin(capture, each)

    def follow(self, guest: str, opened: Callable[[], Tapped]) -> None:
        """Have whoever captures a guest get what one more interface of its passes.

        Raises: OSError
        """
        for capture in self._all.values():
            if capture.pid and capture.guest == guest:
                self._begin(capture, opened())

    def _begin(self, capture: _Capture, tapped: Tapped) -> None:
        capture.tapped.append(tapped)
        taken = partial(self._tap, capture, tapped)
        self._loop.watch(tapped.frames.fileno(), select.EPOLLIN, taken)

    def _end(self, tapped: Tapped) -> None:
        self._loop.unwatch(tapped.frames.fileno())
        tapped.frames.close()

    def _serve(self, to: Port, events: int) -> None:
        if events & ~select.EPOLLOUT:  # it has nothing to say but its end
            for each in self._all.pop(to.fd).tapped:
                self._end(each)
            self._loop.unwatch(to.fd)
            to.connection.close()
            if not self._all:
                self.copy = None
            return
        to.drain()

    def _copy(self, frame: memoryview, source: Port, sink: Port | None) -> None:
        now = time.time_ns()
        for to, pid, _, tapped in list(self._all.values()):
            if not pid and tapped and self.trunk in (source, sink, sink or self.trunk):
                continue
            if not pid or source.pid == pid:
                direction = SENT
            elif sink is None or sink.pid == pid:
                direction = RECEIVED
            else:
                continue
            to.put(memoryview(encode(frame, now, source.number, to.dropped, direction)))

    def _tap(self, capture: _Capture, tapped: Tapped, _events: int) -> None:
        """Take what an interface has passed."""
        to, frames = capture.to, tapped.frames
        for _ in range(MAX_BURST_FRAMES):
            try:
                frame, address = frames.recvfrom(MAX_FRAME_BYTES)
            except BlockingIOError:
                break
            except OSError:  # the interface is gone; there may be another, see `follow`
                capture.tapped.remove(tapped)
                self._end(tapped)
                return
            direction = RECEIVED if address[2] == _PACKET_OUTGOING else SENT
            number = tapped.number(frame)
            packet = encode(memoryview(frame), time.time_ns(), number, to.dropped, direction)
            to.put(memoryview(packet))
        lost = frames.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        to.dropped += int.from_bytes(lost[4:], byteorder)
