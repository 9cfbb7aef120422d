"""Answers to guests that ask for their address, as DHCP has them: a datagram in, a datagram out.

Only a NIC that has an address in the plan of its network is answered, with that one: another
server, in a guest, may serve all others. For that of slirp4netns, see `umlctl.networks.silencing`.

Source: RFC 2131, RFC 2132
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Final

from umlctl.networks.address_plan import DOMAIN

if TYPE_CHECKING:
    from umlctl.networks.address_plan import Lease, Range

LEASE_SECONDS: Final = 24 * 3600
MAX_NAME_BYTES: Final = 63
_FIXED: Final = struct.Struct("!4BIHH4s4s4s4s6s10x192x")
"""What comes before the options: op, htype, hlen, hops, xid, secs, flags, ciaddr, yiaddr, siaddr,
giaddr, chaddr; the names of a server and a file are not used."""
_COOKIE: Final = b"\x63\x82\x53\x63"
_MIN_BYTES: Final = 300
"""What some clients take a reply to have at least. Source: RFC 1542, 2.1"""
_REQUEST: Final = 1
_REPLY: Final = 2
_ETHERNET: Final = 1
_MAC_BYTES: Final = 6
_DISCOVER: Final = 1
_OFFER: Final = 2
_ASKED_FOR: Final = 3
_ACK: Final = 5
_NAK: Final = 6
_INFORM: Final = 8
_MASK: Final = 1
_ROUTER: Final = 3
_NAME_SERVERS: Final = 6
_HOST_NAME: Final = 12
_DOMAIN_NAME: Final = 15
_WANTED_ADDRESS: Final = 50
_LEASE_TIME: Final = 51
_KIND: Final = 53
_SERVER: Final = 54
_END: Final = 255


def answer(request: bytes, leases: dict[str, Lease], of: Range) -> bytes | None:
    """The answer to a datagram, which is for all on the network; None if there is none.

    leases: by MAC address
    of: the addresses of the network
    """
    if len(request) < _FIXED.size + len(_COOKIE):
        return None
    kind, hardware, size, _, number, _, flags, has, _, _, relay, mac = _FIXED.unpack_from(request)
    lease = leases.get(mac.hex(":"))
    asked = _options(request[_FIXED.size :])
    if (kind, hardware, size) != (_REQUEST, _ETHERNET, _MAC_BYTES) or not asked or lease is None:
        return None
    own = socket.inet_aton(of.resolvers[0])
    if asked.get(_SERVER, own) != own:
        return None  # another server's address was taken
    said = _answer_to(asked, has, socket.inet_aton(lease.address))
    if not said:
        return None
    options = [(_KIND, bytes([said])), (_SERVER, own)]
    given = bytes(4)
    if said != _NAK:
        options += _told(lease.guest, of)
    if said != _NAK and asked[_KIND] != bytes([_INFORM]):
        given = socket.inet_aton(lease.address)
        options.append((_LEASE_TIME, struct.pack("!I", LEASE_SECONDS)))
    head = _FIXED.pack(
        *(
            _REPLY,
            _ETHERNET,
            _MAC_BYTES,
            0,
            number,
            0,
            flags,
            has if given != bytes(4) else bytes(4),
        ),
        *(given, own, relay, mac),
    )
    body = b"".join(bytes([code, len(value)]) + value for code, value in options)
    return (head + _COOKIE + body + bytes([_END])).ljust(_MIN_BYTES, b"\0")


def _answer_to(asked: dict[int, bytes], has: bytes, address: bytes) -> int:
    """What kind of message answers; 0 for none.

    has: the address that the guest says it has
    """
    kind = asked.get(_KIND)
    if kind == bytes([_DISCOVER]):
        return _OFFER
    if kind == bytes([_INFORM]):
        return _ACK
    if kind == bytes([_ASKED_FOR]):
        wanted = asked.get(_WANTED_ADDRESS, has)
        return _ACK if wanted == address else _NAK
    return 0


def _told(guest: str, of: Range) -> list[tuple[int, bytes]]:
    """What a guest is told with its address."""
    told = [
        (_MASK, socket.inet_aton(of.mask())),
        (_NAME_SERVERS, b"".join(map(socket.inet_aton, of.resolvers))),
        (_DOMAIN_NAME, DOMAIN.encode()),
        (_HOST_NAME, guest.encode()[:MAX_NAME_BYTES]),
    ]
    return [*told, (_ROUTER, socket.inet_aton(of.gateway))] if of.gateway else told


def _options(data: bytes) -> dict[int, bytes]:
    """The options by their codes; nothing if they are none. The first of a code counts."""
    if not data.startswith(_COOKIE):
        return {}
    found: dict[int, bytes] = {}
    at = len(_COOKIE)
    while at < len(data) and data[at] != _END:
        if data[at] == 0:
            at += 1
            continue
        if at + 1 >= len(data) or at + 2 + data[at + 1] > len(data):
            return {}
        found.setdefault(data[at], data[at + 2 : at + 2 + data[at + 1]])
        at += 2 + data[at + 1]
    return found
