"""Who knows the guests of a network: a station on it that answers for names and addresses.

It is a port of the switch, and by the trunk on the bridge, too: so it is there on both, takes no
program of the host's, and comes again with the switch. It has one address, sends only what answers
a frame, and keeps nothing: what it knows is in the plan of addresses, which it looks at.

A guest may send anything, so what is not a whole packet is ignored.
"""

from __future__ import annotations

import select
import socket
import struct
from typing import TYPE_CHECKING, Final, Protocol

from umlctl.errors import UmlctlError
from umlctl.host import paths
from umlctl.networks import address_plan, leasing, macs, name_answers
from umlctl.networks.name_answers import Names
from umlctl.networks.silencing import CLIENT_PORT, SERVER_PORT

if TYPE_CHECKING:
    from umlctl.networks.address_plan import Lease
    from umlctl.networks.forwarding import Port
    from umlctl.networks.loop import Loop

MAX_BURST_FRAMES: Final = 8
"""How many frames are answered until others get their turn: this takes longer than moving them."""
MAX_FRAME_BYTES: Final = 2048
"""The longest frame that is looked at, bytes."""
NAMES_PORT: Final = 53
_BROADCAST_MAC: Final = b"\xff" * 6
_BROADCAST: Final = b"\xff" * 4
_ARP: Final = struct.Struct("!HHBBH6s4s6s4s")
_ARP_BEGINS: Final = (1, 0x0800, 6, 4)
_ARP_REQUEST: Final = 1
_ARP_REPLY: Final = 2
_IS_ARP: Final = b"\x08\x06"
_IS_IP: Final = b"\x08\x00"
_IP: Final = struct.Struct("!BBHHHBBH4s4s")
_UDP: Final = struct.Struct("!HHHH")
_UDP_NUMBER: Final = 17
_FRAGMENT: Final = 0x3FFF
_HEADER_BYTES: Final = 14
_TIME_TO_LIVE: Final = 64


class Stationed(Protocol):
    """What a station needs of the switch that it is at."""

    name: str
    loop: Loop

    def add_port(self, connection: socket.socket, pid: int, *, uplink: bool) -> Port: ...

    def deliver(self, port: Port, frame: memoryview) -> None: ...


class Station:
    """The one of a network.

    Fields:
        range: of the network's addresses
        port: of the switch, that it is behind
    """

    def __init__(self, switch: Stationed, *, uplink: bool) -> None:
        """Raises: OSError: there is no room for it"""
        self.range = address_plan.range_of(switch.name, uplink=uplink)
        self._address = socket.inet_aton(self.range.resolvers[0])
        mac = macs.mac_of(switch.name, 0, "station")
        self._mac = bytes.fromhex(mac.replace(":", ""))
        self._known = address_plan.Known(switch.name)
        self._named: dict[str, Lease] = {}
        self._names = Names(())
        self._deliver = switch.deliver
        self._own, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._own.setblocking(False)
        try:
            self.port = switch.add_port(other, 0, uplink=True)
        except OSError:
            self._own.close()
            other.close()
            raise
        switch.loop.watch(self._own.fileno(), select.EPOLLIN, self._ready)

    def status(self) -> dict[str, str]:
        return {"addresses": str(self.range), "names": self.range.resolvers[0]}

    def planned(self) -> list[str]:
        """The MAC addresses of the NICs that have an address of the network's."""
        return list(self._known.look())

    def _ready(self, _events: int) -> None:
        for _ in range(MAX_BURST_FRAMES):
            try:
                frame = self._own.recv(MAX_FRAME_BYTES)
            except OSError:  # no more
                return
            said = self.answer(frame)
            if said is not None:  # by the port's own queue it might be lost
                self._deliver(self.port, memoryview(said))

    def answer(self, frame: bytes) -> bytes | None:
        """The frame that answers one; None if none does."""
        if frame[:6] not in (self._mac, _BROADCAST_MAC):
            return None
        kind, body = frame[12:_HEADER_BYTES], frame[_HEADER_BYTES:]
        if kind == _IS_ARP:
            said = self._answer_arp(body)
        elif kind == _IS_IP:
            said = self._answer_ip(body)
        else:
            said = None
        return None if said is None else frame[6:12] + self._mac + kind + said

    def _answer_arp(self, body: bytes) -> bytes | None:
        if len(body) < _ARP.size:
            return None
        *begins, what, mac, address, _, wanted = _ARP.unpack_from(body)
        if tuple(begins) != _ARP_BEGINS or what != _ARP_REQUEST or wanted != self._address:
            return None
        return _ARP.pack(*_ARP_BEGINS, _ARP_REPLY, self._mac, self._address, mac, address)

    def _answer_ip(self, body: bytes) -> bytes | None:
        if len(body) < _IP.size:
            return None
        first, _, size, _, fragment, _, protocol, _, source, to = _IP.unpack_from(body)
        begins = (first & 0xF) * 4
        if first >> 4 != 4 or protocol != _UDP_NUMBER or fragment & _FRAGMENT:
            return None
        if not _IP.size + _UDP.size <= begins + _UDP.size <= size <= len(body):
            return None
        asks, port, length, _ = _UDP.unpack_from(body, begins)
        if not _UDP.size <= length <= size - begins:
            return None
        data = body[begins + _UDP.size : begins + length]
        known = self._known.look()
        if port == SERVER_PORT and to in (self._address, _BROADCAST):
            said = leasing.answer(data, known, self.range)
            source = source if source != bytes(4) else _BROADCAST
            asks = CLIENT_PORT
        elif port == NAMES_PORT and to == self._address:
            said = name_answers.answer(data, self._names_of(known), _is_there)
        else:
            return None
        return None if said is None else _datagram(self._address, source, (port, asks), said)

    def _names_of(self, known: dict[str, Lease]) -> Names:
        """The names in leases, which are other ones when the plan has changed."""
        if known is not self._named:
            hosts = ((each.guest, each.address) for each in reversed(known.values()))
            self._named, self._names = known, Names(hosts)
        return self._names


def _is_there(guest: str) -> bool:
    """Whether there is a guest still, be it one that has ended."""
    try:
        return paths.has_record(guest)
    except (UmlctlError, OSError):
        return True  # that cannot be known, and this process has to go on


def _datagram(source: bytes, to: bytes, ports: tuple[int, int], data: bytes) -> bytes:
    """A packet of UDP, which does without its checksum."""
    size = _IP.size + _UDP.size + len(data)
    words = (0x45, 0, size, 0, 0, _TIME_TO_LIVE, _UDP_NUMBER)
    checksum = _checksum(_IP.pack(*words, 0, source, to))
    return _IP.pack(*words, checksum, source, to) + _UDP.pack(*ports, size - _IP.size, 0) + data


def _checksum(header: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(header) // 2}H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF
