"""What clients ask a switch, and what it tells them, on its `control` socket: one JSON object a
packet.

    {"status": true}            which processes are connected, and what went through
    {"hold": PID}               send a duplicate of every connection of this process, now and
                                later: {"port": ID, "pid": PID} with the descriptor, and
                                {"gone": ID}; {"holding": PID} follows the present ones;
                                {"restarted": PROGRAM} when the uplink had to be restarted
    {"give": true, "pid": PID}  with a descriptor: take this connection as a port
    {"forget": PID}             close the connections of this process: its kernel begins anew
    {"capture": PID, "guest": UMID}
                                with a descriptor: send copies of the frames of this process there,
                                and of this guest's taps on the bridge, as
                                `umlctl.networks.captured` has them; 0: of all
    {"link": {"mac": MAC, "pid": PID, ...}}
                                have the link of a NIC be as `umlctl.networks.link` has it: delay,
                                jitter, loss, rate, down; without these, plain
    {"namespace": true}         have a bridge of the host's kernel beside the switch:
                                {"namespace": INODE} says in which network namespace it is
    {"tap": {"name": NAME, "mac": MAC, "guest": UMID, "namespace": INODE}}
                                have a tap on that bridge for a NIC of a kernel in that namespace;
                                a new one, unless "kept": true says that one that is there stays
    {"untap": NAME}             remove it
    {"names": true}             have a station on the network that answers guests which ask for
                                names and addresses, see `umlctl.networks.station`
    {"forward": "8080:80"}      forward a port of this host to the guest
    {"stay": true}              a client is about to connect: be alone for a while longer
    {"quit": true}              end, and tell the holders {"quit": true}

Each is answered: {"ok": true}, what was asked for, or {"error": "why not"}. Only this user and root
get here. Still the switch trusts no packet to be any of this, and gives up a client that does not
read.
"""

from __future__ import annotations

import array
import json
import os
import re
import select
import socket
from typing import TYPE_CHECKING, Final, Protocol

from umlctl.errors import UmlctlError
from umlctl.host import brand
from umlctl.networks import link
from umlctl.networks.capturing import MAX_CAPTURES
from umlctl.networks.forwarding import SEND_BUFFER_BYTES
from umlctl.networks.forwards import parse_forward

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from umlctl.networks.bridged import Bridged
    from umlctl.networks.capturing import Captures
    from umlctl.networks.forwarding import AddressTable, Port
    from umlctl.networks.links import Links
    from umlctl.networks.loop import Loop
    from umlctl.networks.slirp import Uplink
    from umlctl.networks.station import Station

    Message = dict[str, object]

_MAC: Final = re.compile("[0-9a-f]{2}(:[0-9a-f]{2}){5}")
MAX_REQUEST_BYTES: Final = 1 << 16
"""The longest request, bytes."""
MAX_PACKET_DESCRIPTORS: Final = 253
"""The most descriptors that can come with one packet. Source: SCM_MAX_FD"""
MAX_HOLDS: Final = 4096
"""The connections of how many processes one client may hold."""
MAX_LISTED_PORTS: Final = 256
MAX_LISTED_ADDRESSES: Final = 16
"""How many ports, and addresses of each, a status lists: it has to fit in one packet."""


class Controlled(Protocol):
    """What a control socket needs of its switch, see umlctl.networks.switchd."""

    name: str
    since: float
    loop: Loop
    table: AddressTable[Port]
    captures: Captures
    links: Links
    bridged: Bridged
    uplink: Uplink | None
    station: Station | None

    def serve_names(self) -> None: ...

    def guest_ports(self) -> Sequence[Port]: ...

    def add_port(self, connection: socket.socket, pid: int) -> Port: ...

    def close_port(self, port: Port) -> None: ...

    def renew(self) -> None: ...

    def apply_links(self) -> None: ...

    def save_options(self) -> None: ...

    def quit(self) -> None: ...


class ControlClient:
    """One connection to the control socket.

    Fields:
        holds: the processes whose connections the client holds
    """

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.holds: set[int] = set()


class Control:
    """The clients of a switch."""

    def __init__(self, switch: Controlled) -> None:
        self._switch = switch
        self._clients: dict[int, ControlClient] = {}

    def accept(self, connection: socket.socket) -> None:
        pid, uid = peer(connection)
        if uid not in (0, os.getuid()) or brand.is_on(pid):
            connection.close()
            return
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        client = ControlClient(connection)
        fd = connection.fileno()
        self._switch.loop.watch(fd, select.EPOLLIN, lambda _events: self._take(client))
        self._clients[fd] = client

    def holders(self) -> int:
        return sum(bool(client.holds) for client in self._clients.values())

    def tell_opened(self, port: Port) -> None:
        for client in list(self._clients.values()):
            if port.pid in client.holds:
                self._hand_over(client, port)

    def tell_closed(self, port: Port) -> None:
        for client in list(self._clients.values()):
            if port.pid in client.holds:
                self._send(client, {"gone": port.number})

    def tell_restarted(self, program: str) -> None:
        for client in list(self._clients.values()):
            if client.holds:
                self._send(client, {"restarted": program})

    def tell_quit(self) -> None:
        for client in list(self._clients.values()):
            if client.holds:
                self._send(client, {"quit": True})

    def _close(self, client: ControlClient) -> None:
        if self._clients.pop(client.connection.fileno(), None) is not None:
            self._switch.loop.unwatch(client.connection.fileno())
            client.connection.close()
            if client.holds:
                self._switch.renew()

    def _send(self, client: ControlClient, message: Message, fd: int = -1) -> None:
        data = json.dumps(message).encode()
        try:
            if fd < 0:
                client.connection.send(data)
            else:
                socket.send_fds(client.connection, [data], [fd])
        except OSError:
            self._close(client)

    def _hand_over(self, client: ControlClient, port: Port) -> None:
        self._send(client, {"port": port.number, "pid": port.pid}, port.fd)

    # Requests

    def _take(self, client: ControlClient) -> None:
        """Take one request, and answer it."""
        try:
            data, ancillary, flags, _ = client.connection.recvmsg(
                MAX_REQUEST_BYTES,
                socket.CMSG_SPACE(4 * MAX_PACKET_DESCRIPTORS),
                socket.MSG_CMSG_CLOEXEC,
            )
        except BlockingIOError:
            return
        except OSError:
            data, ancillary, flags = b"", [], 0
        given = [_as_socket(fd) for fd in descriptors(ancillary)]
        try:
            if not data:
                self._close(client)
                return
            if flags & socket.MSG_TRUNC:
                answer: Message | None = {
                    "error": f"a request has at most {MAX_REQUEST_BYTES} bytes"
                }
            else:
                answer = self._answer(client, data, given)
        except OSError as problem:
            answer = {"error": str(problem)}
        finally:
            for connection in given:
                if connection is not None:
                    connection.close()
        if answer is not None:
            self._send(client, answer)

    def _answer(  # noqa: C901, PLR0911, PLR0912 - a line a request
        self, client: ControlClient, data: bytes, given: list[socket.socket | None]
    ) -> Message | None:
        """Do what a client asks; None: it is answered later."""
        try:
            request = json.loads(data)
        except (ValueError, RecursionError):
            return {"error": "a request is a JSON object"}
        match request:
            case {"status": True}:
                return self._status()
            case {"hold": int(pid)} if type(pid) is int and pid > 0:
                return self._hold(client, pid)
            case {"give": True}:
                return self._adopt(given)
            case {"forget": int(pid)} if type(pid) is int:
                return self._forget(pid)
            case {"capture": int(pid), **rest} if type(pid) is int and pid >= 0:
                return self._capture(pid, str(rest.get("guest", "")), given)
            case {"link": {"mac": str(mac), "pid": int(pid), **values}} if type(pid) is int:
                return self._set_link(mac, pid, values)
            case {"namespace": True}:
                return self._namespace()
            case {
                "tap": {
                    "name": str(name),
                    "mac": str(mac),
                    "guest": str(guest),
                    "namespace": int(inode),
                    **rest,
                }
            }:
                return self._make_tap(name, mac, guest, inode, rest.get("kept") is True)
            case {"untap": str(name)}:
                self._switch.bridged.remove(name)
                self._switch.save_options()
                return {"ok": True}
            case {"names": True}:
                return self._serve_names()
            case {"forward": str(text)}:
                return self._forward(client, text)
            case {"stay": True}:
                self._switch.renew()
                return {"ok": True}
            case {"quit": True}:
                self._switch.quit()
                return {"ok": True}
        return {
            "error": "no such request; there are status, hold, give, forget, capture, link, "
            "namespace, tap, untap, names, forward, stay and quit"
        }

    def _forget(self, pid: int) -> Message:
        """Close the connections of a process: its kernel has begun anew, and knows nothing of
        them."""
        for port in list(self._switch.guest_ports()):
            if port.pid == pid:
                self._switch.close_port(port)
        return {"ok": True}

    def _hold(self, client: ControlClient, pid: int) -> Message:
        if len(client.holds) >= MAX_HOLDS:
            return {"error": f"a client can hold the connections of {MAX_HOLDS} processes"}
        if pid not in client.holds:
            client.holds.add(pid)
            for port in self._switch.guest_ports():
                if port.pid == pid:
                    self._hand_over(client, port)
        return {"holding": pid}

    def _adopt(self, given: list[socket.socket | None]) -> Message:
        """Make a port of a connection that an earlier switch had; a second holder may give it
        too."""
        connection = _only(given)
        if connection is None:
            return {"error": "give comes with one descriptor, a guest's connection"}
        inode = os.fstat(connection.fileno()).st_ino
        for port in self._switch.guest_ports():
            if port.inode == inode:
                return {"ok": True, "port": port.number}
        state = select.poll()
        state.register(connection.fileno(), select.POLLRDHUP)
        if state.poll(0):
            return {"error": "the connection has ended"}
        connection.getpeername()  # raises for a socket that never was connected
        port = self._switch.add_port(connection, peer(connection)[0])
        given.clear()
        return {"ok": True, "port": port.number}

    def _capture(self, pid: int, guest: str, given: list[socket.socket | None]) -> Message:
        connection = _only(given)
        if connection is None:
            return {"error": "capture comes with one descriptor, of a connected socket"}
        captures = self._switch.captures
        if len(captures) >= MAX_CAPTURES:
            return {"error": f"{MAX_CAPTURES} clients capture here already"}
        connection.getpeername()  # raises for a socket that never was connected
        guest = guest if pid else ""
        captures.add(connection, pid, self._switch.bridged.tapped(guest), guest)
        given.clear()
        return {"ok": True}

    def _set_link(self, mac: str, pid: int, values: Mapping[object, object]) -> Message:
        if not _MAC.fullmatch(mac):
            return {"error": f"no MAC address: {mac!r}"}
        try:
            self._switch.links.set(mac, pid, link.read(values))
        except UmlctlError as problem:
            return {"error": str(problem)}
        self._switch.apply_links()
        self._switch.save_options()
        return {"ok": True}

    def _namespace(self) -> Message:
        try:
            inode = self._switch.bridged.namespace()
        except UmlctlError as problem:
            return {"error": str(problem)}
        self._switch.save_options()
        self._switch.renew()
        return {"namespace": inode}

    def _serve_names(self) -> Message:
        try:
            self._switch.serve_names()
        except UmlctlError as problem:
            return {"error": str(problem)}
        return {"ok": True}

    def _make_tap(self, name: str, mac: str, guest: str, inode: int, kept: bool) -> Message:
        if not _MAC.fullmatch(mac):
            return {"error": f"no MAC address: {mac!r}"}
        try:
            self._switch.bridged.add(name, mac, guest, inode, kept)
        except UmlctlError as problem:
            return {"error": str(problem)}
        self._switch.apply_links()
        self._switch.save_options()
        self._switch.renew()
        return {"ok": True}

    def _forward(self, client: ControlClient, text: str) -> Message | None:
        if self._switch.uplink is None:
            return {"error": f"network {self._switch.name} has no way out to forward from"}
        try:
            forward = parse_forward(text)
        except UmlctlError as problem:
            return {"error": str(problem)}

        def done(error: str | None) -> None:
            try:
                self._switch.save_options()
            except OSError as problem:
                error = error or f"done, and not kept for later: {problem}"
            self._send(client, {"ok": True} if error is None else {"error": error})

        self._switch.uplink.forward(forward, done)
        return None

    def _status(self) -> Message:
        switch = self._switch
        ports, taps = switch.guest_ports(), switch.bridged.status()
        listed = [self._port_status(port) for port in ports[:MAX_LISTED_PORTS]] + taps
        return {
            "name": switch.name,
            "pid": os.getpid(),
            "since": switch.since,
            "uplink": None if switch.uplink is None else switch.uplink.status(),
            "forwards": [] if switch.uplink is None else switch.uplink.forwards_status(),
            "holders": self.holders(),
            "links": switch.links.all()[:MAX_LISTED_PORTS],
            "bridged": bool(switch.bridged),
            **({} if switch.station is None else switch.station.status()),
            "ports": listed[:MAX_LISTED_PORTS],
            "unlisted": max(len(ports) + len(taps) - MAX_LISTED_PORTS, 0),
        }

    def _port_status(self, port: Port) -> Message:
        addresses = self._switch.table.behind(port)[:MAX_LISTED_ADDRESSES]
        return {
            "id": port.number,
            "pid": port.pid,
            "macs": [address.hex(":") for address in addresses],
            **port.counters(),
        }


def peer(connection: socket.socket) -> tuple[int, int]:
    """The pid and uid of the process that connected."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid, uid, _ = memoryview(credentials).cast("i")
    return pid, uid


def descriptors(ancillary: list[tuple[int, int, bytes]]) -> array.array[int]:
    """The descriptors that came with a packet; the caller has to close them."""
    found = array.array("i")
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            found.frombytes(content[: len(content) - len(content) % found.itemsize])
    return found


def _only(given: list[socket.socket | None]) -> socket.socket | None:
    """The one socket that came with a request, for a frame a packet; None if there is none."""
    found = given[0] if len(given) == 1 else None
    if found is None or (found.family, found.type) != (socket.AF_UNIX, socket.SOCK_SEQPACKET):
        return None
    return found


def _as_socket(fd: int) -> socket.socket | None:
    """The socket that a descriptor is; a descriptor that is no socket is closed."""
    try:
        return socket.socket(fileno=fd)
    except OSError:
        os.close(fd)
        return None
