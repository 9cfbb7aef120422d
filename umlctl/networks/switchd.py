"""The switch of a network segment: a process that moves frames between guests.

A guest's kernel connects to the segment's `port` (`vec0:transport=bess,dst=...`, SOCK_SEQPACKET,
one frame a packet); `control` is for umlctl. The loop is a bare epoll. For each frame it makes two
system calls and two look-ups: these bound the throughput between two guests.

A kernel whose connection breaks burns a CPU until a user cycles the link inside the guest. So
supervisors hold duplicates of the connections. If the switch is killed, nothing breaks, and the
next switch is given the connections. Only `quit` closes them; SIGTERM ends this process, which
holders may survive.

The switch ends by itself when it has had no port and no holder for a while.
"""

from __future__ import annotations

import argparse
import fcntl
import itertools
import json
import os
import resource
import select
import socket
import stat
import sys
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from umlctl.errors import UmlctlError
from umlctl.host import naming, paths, place
from umlctl.host.files import is_still_at, remove_tree
from umlctl.networks import link, slirp
from umlctl.networks.bridged import Bridged
from umlctl.networks.capturing import Captures
from umlctl.networks.forwarding import (
    GONE_EVENTS,
    HEADER_BYTES,
    LISTEN_EVENTS,
    MAX_FRAME_BYTES,
    TICK_INTERVAL,
    AddressTable,
    Port,
)
from umlctl.networks.forwards import check_address, parse_forward
from umlctl.networks.links import Links
from umlctl.networks.loop import Loop
from umlctl.networks.switch_protocol import Control, peer
from umlctl.state.checksum import seal

if TYPE_CHECKING:
    from collections.abc import Callable

    from umlctl.networks.station import Station
    from umlctl.networks.tap_connection import TapConnection

MAX_BURST_FRAMES: Final = 64
"""How many frames are taken from one port before the others get their turn."""
LISTEN_BACKLOG: Final = 1024
MAX_LOG_BYTES: Final = 1 << 20
"""A log that has grown to this is emptied, bytes."""
LOOK_INTERVAL: Final = 0.5
"""The time between two looks at whether the switch's sockets can be found, seconds."""
ACCEPT_INTERVAL: Final = 0.2
"""How long to wait for a descriptor before a connection is tried again that there was none for,
seconds."""


class Switch:
    """One segment: its ports, and the way that frames take between them.

    Fields:
        name: of the segment
        since: when the switch was started, seconds since 1970
        loop: serves its descriptors
        table: which address is behind which port
        captures: who wants copies of frames
        links: which NICs' frames are delayed, lost, slowed down or cut
        bridged: the part of the segment that the host's kernel moves frames in
        uplink: leads out of the segment; None if nothing does
        station: answers guests that ask for names and addresses; None if there is no plan of these
    """

    def __init__(self, name: str, options: argparse.Namespace, lock: int = -1) -> None:
        """lock: descriptor of the segment's lock"""
        self.name = name
        self.since = time.time()
        self.loop = Loop()
        self.table: AddressTable[Port] = AddressTable()
        self.captures = Captures(self.loop)
        self.links = Links(self.loop.after)
        for text in options.link:
            asked = json.loads(text)
            self.links.set(asked.pop("mac"), asked.pop("pid"), link.read(asked))
        self.uplink: slirp.Uplink | None = None
        self.station: Station | None = None
        if options.user:
            self.uplink = slirp.Uplink(
                self,
                paths.network_dir(name),
                guest=check_address(options.guest),
                host_loopback=options.host_loopback,
                forwards=map(parse_forward, options.forward),
            )
        self._options = options
        self._lock = lock
        self._port_numbers = itertools.count(1)
        self.bridged = Bridged(self)
        self._ports: dict[int, Port] = {}
        self._view = memoryview(bytearray(MAX_FRAME_BYTES))
        self._alone_since = 0.0
        self._measured = time.monotonic()
        self._counting = False
        self._for_good = False
        self._control = Control(self)
        self._leave_port: Callable[[], None] = self._listen_for_ports()
        _listen(self, paths.network_control(name), self._control.accept)
        if options.bridged:  # which is found by those who listen already
            self.bridged.begin([json.loads(text) for text in options.tap])
            self.apply_links()
        if options.names:
            self.serve_names()
        self._tick()
        self._stay()
        self.renew()
        self.save_options()

    def run(self) -> None:
        """Serve until told to end, or until there has been no port and no holder for a while."""
        if self.uplink is not None:
            self.uplink.start()
        self.loop.run()

    def say(self, text: str) -> None:
        try:
            sys.stderr.write(f"{time.strftime('%F %T')} {self.name}: {text}\n")
            sys.stderr.flush()
        except OSError:
            pass  # a full disk is no reason to stop switching

    def _tick(self) -> None:
        self.table.tick()
        log = os.fstat(2)
        if stat.S_ISREG(log.st_mode) and log.st_size > MAX_LOG_BYTES:
            os.ftruncate(2, 0)
        self.loop.after(TICK_INTERVAL, self._tick)

    def _stay(self) -> None:
        """Make the lock, the sockets and the options again when they are removed from the run
        directory; and see how much is moved now."""
        place.keep()
        try:
            self._restore()
        except OSError as problem:
            self.say(f"cannot be found any more: {problem}")
        now = time.monotonic()
        if self.links:  # most switches have none
            self.links.forget_ended(lambda pid: os.path.exists(f"/proc/{pid}"))
            self.apply_links()
        seconds = max(now - self._measured, 0.001)
        for port in self._ports.values():
            port.measure(seconds)
        self.bridged.measure(seconds)
        self._measured = now
        self.loop.after(LOOK_INTERVAL, self._stay)

    def _restore(self) -> None:
        """Make what is missing.

        Raises: OSError
        """
        path = lock_path(self.name)
        if self._lock >= 0 and not is_still_at(self._lock, path):
            paths.make_run_dir()
            fresh = _lock(self.name)
            if fresh < 0:
                raise FileExistsError(f"{path} was removed, and somebody else has it now")
            self.say(f"{os.path.dirname(path)} was removed, and is made anew")
            os.dup2(fresh, self._lock, inheritable=False)
            os.close(fresh)
        if not os.path.exists(paths.network_port(self.name)):
            self._leave_port = self._listen_for_ports()  # connected kernels stay connected
        if not os.path.exists(paths.network_control(self.name)):
            _listen(self, paths.network_control(self.name), self._control.accept)
        if not os.path.exists(paths.network_options(self.name)):
            self.save_options()

    def serve_names(self) -> None:
        """Have a station that knows the plan of addresses, as it is by now."""
        if self.station is None:
            from umlctl.networks.station import Station  # most switches need none

            self.station = Station(self, uplink=self.uplink is not None)
            self.save_options()
        if self.uplink is not None:
            self.uplink.keep_off(self.station.planned())

    # Ports

    def _listen_for_ports(self) -> Callable[[], None]:
        path = paths.network_port(self.name)
        return _listen(self, path, lambda made: self.add_port(made, peer(made)[0]))

    def add_port(
        self, connection: socket.socket | TapConnection, pid: int, *, uplink: bool = False
    ) -> Port:
        """Take a connection as a port.

        Raises: OSError: there is no room for it; the connection is still the caller's
        """
        inode = os.fstat(connection.fileno()).st_ino
        number = self.next_number()
        port = Port(number, pid, connection, inode, self.loop.rearm, uplink=uplink)
        self.loop.watch(port.fd, LISTEN_EVENTS, partial(self._serve, port))
        self._ports[port.fd] = port
        if not uplink:
            if self.links:
                self.apply_links()
            self._control.tell_opened(port)
        return port

    def next_number(self) -> int:
        return next(self._port_numbers)

    def close_port(self, port: Port) -> None:
        del self._ports[port.fd]
        self.table.remove(port)
        self.loop.unwatch(port.fd)
        port.connection.close()
        if self.uplink is not None and port is self.uplink.port:
            self.uplink.lost_port()
        elif port.uplink:
            self.bridged.lost_port(port)
        else:
            self._control.tell_closed(port)
            self.renew()

    def guest_ports(self) -> list[Port]:
        return [port for port in self._ports.values() if not port.uplink]

    def _serve(self, port: Port, events: int) -> None:
        if events & select.EPOLLOUT:
            port.drain()
        if events & ~select.EPOLLOUT:
            self._forward(port, events)

    def _forward(self, port: Port, events: int) -> None:
        """Take the frames that have come through a port, and pass them on. This is the hottest
        loop."""
        view = self._view
        receive = port.connection.recv_into
        deliver = self.deliver
        for _ in range(MAX_BURST_FRAMES):
            try:
                # MSG_TRUNC: the size of the whole frame, were it too long.
                size = receive(view, MAX_FRAME_BYTES, socket.MSG_TRUNC)
            except BlockingIOError:
                return
            except OSError:
                size, events = 0, GONE_EVENTS
            if size == 0:
                if events & GONE_EVENTS:
                    self.close_port(port)
                return
            if not HEADER_BYTES <= size <= MAX_FRAME_BYTES:
                port.dropped += 1
                continue
            port.in_frames += 1
            port.in_bytes += size
            if port.lanes is None:
                deliver(port, view[:size])
            elif not port.lanes[0].take(view[:size]):
                port.dropped += 1

    def deliver(self, port: Port, frame: memoryview) -> None:
        """Pass a frame on that has come through a port."""
        to = self.table.route(bytes(frame[:12]), port)
        if self.captures.copy is not None:
            self.captures.copy(frame, port, to)
        if to is None:
            self._flood(frame, port)
        elif to is not port:
            to.put(frame)

    def apply_links(self) -> None:
        """Have the ports do to frames what is asked of their links."""
        self.bridged.apply(self.links)
        self.links.apply(self._ports.values(), self.table, self._deliver_late)

    def _deliver_late(self, port: Port, frame: memoryview) -> None:
        if self._ports.get(port.fd) is port:  # it may be gone meanwhile
            self.deliver(port, frame)

    def _flood(self, frame: memoryview, source: Port) -> None:
        for port in self._ports.values():
            if port is not source:
                port.put(frame)

    # The end

    def renew(self) -> None:
        """Begin the idle time anew: a client went, or is about to come."""
        self._alone_since = time.monotonic()
        if not self._counting:
            self._counting = True
            self.loop.after(self._options.idle, self._end_if_alone)

    def _has_company(self) -> bool:
        return bool(self.guest_ports() or self._control.holders())

    def _end_if_alone(self) -> None:
        self._counting = False
        if self._has_company():
            return
        if self.bridged.is_used():  # nobody says when it is not
            self.renew()
            return
        remaining = self._alone_since + self._options.idle - time.monotonic()
        if remaining > 0:
            self._counting = True
            self.loop.after(remaining, self._end_if_alone)
            return
        # A kernel may be connecting just now: after this none can, and one that did is waiting.
        _unlink(paths.network_port(self.name))
        self._leave_port()
        if self._has_company():
            self._leave_port = self._listen_for_ports()
            # The old listener stays, for other kernels that connected by it.
        else:
            self.quit()

    def tell_restarted(self, program: str) -> None:
        """Tell holders that a program which serves the guests has ended, and was started again."""
        self._control.tell_restarted(program)

    def quit(self) -> None:
        """End for good: holders let the connections go too."""
        for port in list(self._ports.values()):
            self.close_port(port)
        self._control.tell_quit()
        self._for_good = True
        self.loop.end()

    def save_options(self) -> None:
        """Write down how to start this switch again, should it be killed."""
        if self.uplink is not None:
            self._options.forward = [str(forward) for forward in self.uplink.forwards()]
        self._options.link = [json.dumps(each) for each in self.links.all()]
        self._options.bridged = bool(self.bridged)
        self._options.names = self.station is not None
        self._options.tap = [json.dumps(each) for each in self.bridged.known()]
        path = paths.network_options(self.name)
        with open(path + "~", "wb") as file:
            file.write(seal(json.dumps(vars(self._options)).encode()))
        os.rename(path + "~", path)

    def close(self) -> None:
        """Remove the sockets, and end the programs that were started; after `quit` nothing is
        left."""
        _unlink(paths.network_port(self.name))
        with suppress(OSError):
            os.rmdir(os.path.dirname(paths.network_port(self.name)))
        _unlink(paths.network_control(self.name))
        if self.uplink is not None:
            self.uplink.close()
        self.bridged.close(for_good=self._for_good)
        if self._for_good:
            remove_tree(paths.network_dir(self.name))


def _listen(
    switch: Switch, path: str, accept: Callable[[socket.socket], object]
) -> Callable[[], None]:
    """Listen at a path, without a moment in which no socket or a dead one is there.

    Returns: a function that takes one connection, if one is waiting
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.setblocking(False)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    _unlink(path + "~")
    listener.bind(path + "~")
    listener.listen(LISTEN_BACKLOG)
    os.rename(path + "~", path)

    def ready(_events: int = 0) -> None:
        try:
            connection = listener.accept()[0]
        except (BlockingIOError, ConnectionAbortedError):
            return
        # No descriptor is left: the connection has to wait, and this process must not spin.
        except OSError as problem:
            switch.say(f"cannot accept a connection: {problem}")
            switch.loop.rearm(listener.fileno(), 0)
            switch.loop.after(
                ACCEPT_INTERVAL, lambda: switch.loop.rearm(listener.fileno(), select.EPOLLIN)
            )
            return
        try:
            accept(connection)
        except OSError as problem:
            switch.say(f"cannot take a connection: {problem}")
            connection.close()

    switch.loop.watch(listener.fileno(), select.EPOLLIN, ready)
    return ready


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser("python -m umlctl.networks.switchd")
    made.add_argument("name", metavar="NAME")
    made.add_argument("--idle", type=float, default=10.0, metavar="SECONDS")
    made.add_argument("--user", action="store_true", help="give it a way out by slirp4netns")
    made.add_argument("--forward", action="append", default=[], metavar="HOSTPORT:GUESTPORT")
    made.add_argument("--link", action="append", default=[], metavar="JSON", help="of one NIC")
    made.add_argument("--bridged", action="store_true", help="there is a bridge of the host's")
    made.add_argument("--names", action="store_true", help="guests ask for names and addresses")
    made.add_argument("--tap", action="append", default=[], metavar="JSON", help="on that bridge")
    made.add_argument(
        "--guest", default=slirp.GUEST_ADDRESS, metavar="ADDRESS", help="who is forwarded to"
    )
    made.add_argument(
        "--host-loopback",
        action="store_true",
        help="let guests reach, at 10.0.2.2, what listens on 127.0.0.1 here",
    )
    return made


def lock_path(name: str) -> str:
    return f"{paths.network_dir(name)}/lock"


def _lock(name: str) -> int:
    """The descriptor of the segment's lock; -1 if another switch has it.

    Raises: OSError
    """
    path = lock_path(name)
    while True:
        os.makedirs(paths.network_dir(name), exist_ok=True)
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # a switch that has ended removed the directory just now
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return -1
        if is_still_at(lock, path):
            break
        os.close(lock)
    if not os.fstat(lock).st_size and place.holder([path], os.getpid(), but=lock):
        os.close(lock)  # the holder of a lock that was removed will take this one soon
        return -1
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def main() -> int:
    """Become the switch of a segment, unless it has one."""
    options = parser().parse_args()
    name = naming.check_network(options.name)
    os.umask(0o077)
    paths.make_run_dir()
    lock = _lock(name)
    if lock < 0:
        return 0  # another switch was faster
    os.chdir("/")
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    switch = Switch(name, options, lock)
    try:
        switch.run()
    finally:
        switch.close()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (UmlctlError, ValueError, PermissionError) as problem:
        sys.exit(str(problem))
