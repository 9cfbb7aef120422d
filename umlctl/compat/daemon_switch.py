"""A switch for guests with `ethN=daemon`: each has a control connection, and frames come and go as
datagrams. A tap of this host, and a network of umlctl, may be ports too.

Who says by its control connection where its frames go is sent them there. So that nobody has this
process send to sockets of others, as of the system's log, a path is taken from processes of this
user alone; abstract addresses are anybody's.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Final

from umlctl.compat.switch_request import BadRequest, abstract, answer, decode
from umlctl.errors import HostError
from umlctl.networks import segments
from umlctl.networks.forwarding import (
    GONE_EVENTS,
    HEADER_BYTES,
    LISTEN_EVENTS,
    MAX_FRAME_BYTES,
    TICK_INTERVAL,
    AddressTable,
    Port,
)
from umlctl.networks.loop import Loop
from umlctl.streams import ReaderGone

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_BURST_FRAMES: Final = 64
"""How many frames are taken from one source before the others get their turn."""
MAX_STATIONS: Final = 1024
ACCEPT_INTERVAL: Final = 0.2
"""How long to wait for a descriptor that a connection needs, seconds."""
REJOIN_INTERVAL: Final = 1.0
"""The time between two tries to join a network whose switch has ended, seconds."""
_CREDENTIALS: Final = struct.Struct("3i")


class Tap:
    """A tap, with what a port wants of a socket."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def setblocking(self, _blocking: bool) -> None:
        os.set_blocking(self._descriptor, False)

    def setsockopt(self, *_: object) -> None:
        pass

    def send(self, frame: memoryview) -> int:
        return os.write(self._descriptor, frame)

    def recv_into(self, view: memoryview, *_: int) -> int:
        return os.readv(self._descriptor, [view])

    def close(self) -> None:
        os.close(self._descriptor)


class Switch:
    """The switch.

    Fields:
        loop: serves its descriptors
    """

    def __init__(self, listener: socket.socket, data: socket.socket, *, hub: bool) -> None:
        """listener: where guests connect
        data: where frames of guests come
        hub: send each frame to everybody
        """
        self.loop = Loop()
        self._listener = listener
        self._data = data
        self._hub = hub
        self._table: AddressTable[Port] = AddressTable()
        self._view = memoryview(bytearray(MAX_FRAME_BYTES))
        self._numbers = iter(range(1, sys.maxsize))
        self._ports: dict[int, Port] = {}
        self._stations: dict[bytes, Port] = {}
        self._asking: dict[int, tuple[socket.socket, bytearray]] = {}
        for sock, handler in ((listener, self._accept), (data, self._hear)):
            sock.setblocking(False)
            self.loop.watch(sock.fileno(), select.EPOLLIN, handler)
        self._tick()

    def _tick(self) -> None:
        self._table.tick()
        segments.reap()  # the switch of a network that was joined, if it was started here
        self.loop.after(TICK_INTERVAL, self._tick)

    # Guests

    def _accept(self, _events: int) -> None:
        number = self._listener.fileno()
        try:
            connection = self._listener.accept()[0]
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as problem:  # no descriptor is left, and this process must not spin
            say(f"accept: {problem.strerror}")
            self.loop.rearm(number, 0)
            self.loop.after(ACCEPT_INTERVAL, partial(self.loop.rearm, number, select.EPOLLIN))
            return
        if len(self._asking) >= MAX_STATIONS:
            connection.close()
            return
        connection.setblocking(False)
        self._asking[connection.fileno()] = connection, bytearray()
        self.loop.watch(
            connection.fileno(),
            LISTEN_EVENTS,
            partial(self._control, connection.fileno()),
        )

    def _control(self, number: int, _events: int) -> None:
        """Hear what a guest asks for; its end is that of its port."""
        connection, asked = self._asking[number]
        try:
            data = connection.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data or number in self._ports:
            if not data:
                self._end(number)
            return
        asked += data
        try:
            address = decode(bytes(asked))
            if address is not None:
                self._add_station(number, connection, address)
        except BadRequest as problem:
            say(str(problem))
            self._end(number)
        except OSError as problem:
            say(f"New connection: {problem.strerror}")
            self._end(number)

    def _add_station(self, number: int, connection: socket.socket, address: bytes) -> None:
        """Raises: BadRequest, OSError"""
        if address[0] and _uid(connection) != os.geteuid():
            raise BadRequest("Bad request: another user's guest names a path")
        if address in self._stations:
            raise BadRequest("Bad request: another guest has that address")
        sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            sender.connect(address)
        except OSError:
            sender.close()
            raise
        port = self._add_port(sender, lambda _events: port.drain(), number)
        self._stations[address] = port
        connection.sendall(answer(self._data_address()))
        say("New connection")

    def _data_address(self) -> bytes:
        name = self._data.getsockname()
        return name if isinstance(name, bytes) else os.fsencode(name)

    def _end(self, number: int) -> None:
        """A guest's control connection has ended."""
        self.loop.unwatch(number)
        self._asking.pop(number)[0].close()
        port = self._ports.get(number)
        if port is not None:
            self._close_port(port, number)

    def _hear(self, _events: int) -> None:
        """Take frames of guests."""
        for _ in range(MAX_BURST_FRAMES):
            try:
                size, address = self._data.recvfrom_into(self._view, 0, socket.MSG_TRUNC)
            except BlockingIOError:
                return
            key = address if isinstance(address, bytes) else os.fsencode(address or "")
            port = self._stations.get(key)
            if port is not None:  # else a guest that is gone, or none
                self._pass_on(size, port)

    # Other ports

    def add_tap(self, descriptor: int) -> None:
        """Have a tap of this host for a port."""
        self._add_reader(Tap(descriptor), lambda: say("the tap is gone"))

    def join(self, network: str) -> None:
        """Have a network of umlctl for a port, for good: should its switch end, it is joined again.

        Raises: UsageError; HostError
        """
        segment = segments.start(network)
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            connection.connect(segment.port_socket)
        except OSError as problem:
            connection.close()
            raise HostError(f"cannot join the network {network}: {problem}") from problem
        self._add_reader(connection, partial(self._rejoin, network))

    def _rejoin(self, network: str) -> None:
        try:
            self.join(network)
        except HostError as problem:
            say(str(problem))
            self.loop.after(REJOIN_INTERVAL, partial(self._rejoin, network))

    def _add_reader(self, source: socket.socket | Tap, gone: Callable[[], None]) -> None:
        """A port that frames are read from, too."""

        def serve(events: int) -> None:
            if events & select.EPOLLOUT:
                port.drain()
            for _ in range(MAX_BURST_FRAMES):
                try:
                    size = source.recv_into(self._view, MAX_FRAME_BYTES, socket.MSG_TRUNC)
                except BlockingIOError:
                    return
                except OSError:
                    size, events = 0, GONE_EVENTS
                if size == 0:
                    if events & GONE_EVENTS:
                        self._close_port(port, source.fileno())
                        gone()
                    return
                self._pass_on(size, port)

        port = self._add_port(source, serve, source.fileno())

    # All ports

    def _add_port(
        self, connection: socket.socket | Tap, serve: Callable[[int], None], key: int
    ) -> Port:
        number = next(self._numbers)
        # What a port does with a socket, a tap does too.
        port = Port(number, 0, connection, 0, self.loop.rearm)  # type: ignore[arg-type]
        self.loop.watch(port.fd, LISTEN_EVENTS, serve)
        self._ports[key] = port
        return port

    def _close_port(self, port: Port, key: int) -> None:
        del self._ports[key]
        self._stations = {each: its for each, its in self._stations.items() if its is not port}
        self._table.remove(port)
        self.loop.unwatch(port.fd)
        port.connection.close()

    def _pass_on(self, size: int, source: Port) -> None:
        if not HEADER_BYTES <= size <= MAX_FRAME_BYTES:
            source.dropped += 1
            return
        frame = self._view[:size]
        to = self._table.route(bytes(frame[:12]), source)
        if to is not None and not self._hub:
            if to is not source:
                to.put(frame)
            return
        for port in self._ports.values():
            if port is not source:
                port.put(frame)

    def close(self) -> None:
        for port in self._ports.values():
            port.connection.close()
        for connection, _ in self._asking.values():
            connection.close()
        self._listener.close()
        self._data.close()
        self.loop.close()


def data_socket(path: str) -> socket.socket:
    """Where frames come.

    path: empty: an address that only guests are told

    Raises: OSError
    """
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        made.bind(path or abstract(f"uml_switch-{os.getpid()}-{time.time_ns()}"))
    except OSError:
        made.close()
        raise
    return made


def _uid(connection: socket.socket) -> int:
    """Whose the other end is."""
    said = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    uid: int = _CREDENTIALS.unpack(said)[1]
    return uid


def say(text: str) -> None:
    """A line on standard output, as the original has them; where nobody reads, none."""
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except (OSError, ReaderGone):
        pass
