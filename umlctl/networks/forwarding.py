"""What a switch knows of Ethernet frames: which address is behind which port, and which frames
wait.

A guest is not trusted: it may send from any number of addresses, and take nothing. So the table of
addresses is bounded, in all and for each port, and so are the frames that wait for a port. What
does not fit is dropped and counted, as a switch of metal would.

This code runs for every frame, so it asks no clock: its owner calls `tick` now and then.
"""

from __future__ import annotations

import math
import select
import socket
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from umlctl.networks.link import Lane
    from umlctl.networks.tap_connection import TapConnection

HEADER_BYTES: Final = 14
"""The length of an Ethernet header, bytes; anything shorter is no frame."""
MAX_FRAME_BYTES: Final = 1 << 17
"""The longest frame, bytes: a kernel's MTU ends at 65535."""
TICK_INTERVAL: Final = 10.0
"""How often `tick` is to be called, seconds."""
MAX_AGE_TICKS: Final = 30
"""How many ticks without a frame from it until an address is forgotten: 300 seconds."""
MAX_ADDRESSES: Final = 4096
MAX_PORT_ADDRESSES: Final = 1024
"""How many addresses a switch knows, in all and behind one port."""
MAX_WAITING_FRAMES: Final = 512
MAX_WAITING_BYTES: Final = 1 << 20
"""How much may wait for a port that takes nothing, beyond its socket's own buffer: frames,
bytes."""
RATE_SECONDS: Final = 2.0
"""Over how long what a port moves is averaged, about; what was before counts less and less."""
SEND_BUFFER_BYTES: Final = 4 << 20
"""What a port asks for, bytes; the host's net.core.wmem_max bounds it."""
LISTEN_EVENTS: Final = select.EPOLLIN | select.EPOLLRDHUP
GONE_EVENTS: Final = select.EPOLLHUP | select.EPOLLRDHUP | select.EPOLLERR

PortT = TypeVar("PortT")


class AddressTable(Generic[PortT]):
    """Which port each address was last heard from."""

    def __init__(self, most: int = MAX_ADDRESSES, each: int = MAX_PORT_ADDRESSES) -> None:
        self._most = most
        self._each = each
        self._now = 0
        # Both are in the order in which addresses were last heard, to the tick.
        self._known: OrderedDict[bytes, tuple[PortT, int]] = OrderedDict()
        self._behind: dict[PortT, OrderedDict[bytes, None]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def route(self, header: bytes, port: PortT) -> PortT | None:
        """Learn where a frame came from; return where it goes.

        None: to all other ports; the port itself: nowhere, since the receiver is behind it
        """
        source = header[6:12]
        found = self._known.get(source)
        if found is None or found[0] is not port or found[1] != self._now:
            self._learn(source, port)
        found = self._known.get(header[:6])
        return None if found is None else found[0]

    def _learn(self, address: bytes, port: PortT) -> None:
        if address[0] & 1:
            # A group's address is no station's: it is never learned, so its frames go to all.
            return
        self._forget(address)
        behind = self._behind.setdefault(port, OrderedDict())
        if len(behind) >= self._each:
            self._forget(next(iter(behind)))
        elif len(self._known) >= self._most:
            self._forget(next(iter(self._known)))
        self._known[address] = (port, self._now)
        behind[address] = None

    def _forget(self, address: bytes) -> None:
        found = self._known.pop(address, None)
        if found is not None:
            del self._behind[found[0]][address]

    def remove(self, port: PortT) -> None:
        """Forget the addresses of a port that is gone."""
        for address in self._behind.pop(port, ()):
            del self._known[address]

    def tick(self) -> None:
        """Note that some time has passed: forget addresses that have been silent for long."""
        self._now += 1
        while self._known:
            address, (_, heard) = next(iter(self._known.items()))
            if heard > self._now - MAX_AGE_TICKS:
                return
            self._forget(address)

    def behind(self, port: PortT) -> list[bytes]:
        """The addresses of a port, the one heard last being the first."""
        return list(reversed(self._behind.get(port, ())))


class Port:
    """One connection that frames come from and go to.

    Fields:
        number: its name; never given twice by one switch
        pid: of the process that connected
        connection: SOCK_SEQPACKET, one frame a packet, non-blocking
        inode: tells whether two descriptors are one connection
        uplink: it leads out of the switch, and to no guest's kernel alone
        mac: of the one NIC that is known to be behind it; else empty
        in_frames, in_bytes, out_frames, out_bytes: what has come from there and gone there
        dropped: frames that could not go there, or were none
        in_rate, out_rate: what comes and goes now, bytes a second
        lanes: what frames pass that come from there, and go there; None if they just do
    """

    __slots__ = (
        *("_arm", "_measured", "_send", "_waiting", "_waiting_bytes", "connection", "dropped"),
        *("fd", "in_bytes", "in_frames", "in_rate", "inode", "lanes", "mac", "number"),
        *("out_bytes", "out_frames", "out_rate", "pid", "uplink"),
    )

    def __init__(
        self,
        number: int,
        pid: int,
        connection: socket.socket | TapConnection,
        inode: int,
        arm: Callable[[int, int], object],
        *,
        uplink: bool = False,
    ) -> None:
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self.number = number
        self.pid = pid
        self.connection = connection
        self.fd = connection.fileno()
        self.inode = inode
        self.uplink = uplink
        self.in_frames = self.in_bytes = self.out_frames = self.out_bytes = self.dropped = 0
        self.in_rate = self.out_rate = 0.0
        self.lanes: tuple[Lane, Lane] | None = None
        self.mac = ""
        self._measured = (0, 0)
        self._send = connection.send
        self._arm = arm
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0

    def put(self, frame: memoryview) -> None:
        """Have a frame take its way there."""
        if self.lanes is None:
            self.send(frame)
        elif not self.lanes[1].take(frame):
            self.dropped += 1

    def send(self, frame: memoryview) -> None:
        """Send a frame now or, if the reader is slow, later; or drop it."""
        if not self._waiting:
            try:
                self.out_bytes += self._send(frame)
            except BlockingIOError:
                self._arm(self.fd, LISTEN_EVENTS | select.EPOLLOUT)
            except OSError:  # the port is dead, which comes as an event of its own
                self.dropped += 1
                return
            else:
                self.out_frames += 1
                return
        if (
            len(self._waiting) >= MAX_WAITING_FRAMES
            or self._waiting_bytes + len(frame) > MAX_WAITING_BYTES
        ):
            self.dropped += 1
            return
        self._waiting.append(bytes(frame))
        self._waiting_bytes += len(frame)

    def drain(self) -> None:
        """Send the frames that wait, now that the socket has room again."""
        while self._waiting:
            try:
                size = self._send(self._waiting[0])
            except BlockingIOError:
                return
            except OSError:
                self.dropped += len(self._waiting)
                self._waiting.clear()
                break
            self._waiting.popleft()
            self._waiting_bytes -= size
            self.out_bytes += size
            self.out_frames += 1
        self._waiting_bytes = 0
        self._arm(self.fd, LISTEN_EVENTS)

    def measure(self, seconds: float) -> None:
        """Note what was moved in some time, seconds."""
        now = (self.in_bytes, self.out_bytes)
        self.in_rate = averaged(self.in_rate, now[0] - self._measured[0], seconds)
        self.out_rate = averaged(self.out_rate, now[1] - self._measured[1], seconds)
        self._measured = now

    def counters(self) -> dict[str, int]:
        names = ("in_frames", "in_bytes", "out_frames", "out_bytes", "dropped")
        rates = {name: round(getattr(self, name)) for name in ("in_rate", "out_rate")}
        return {name: getattr(self, name) for name in names} | rates


def averaged(rate: float, moved: int, seconds: float) -> float:
    """A rate that was so far, bytes a second, and is now that some bytes were moved."""
    return rate + (1 - math.exp(-seconds / RATE_SECONDS)) * (moved / seconds - rate)
