from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from umlctl.networks import leasing
from umlctl.networks.address_plan import Lease, range_of

MAC = "02:00:00:00:00:01"
LAN, OUT = range_of("lan", uplink=False), range_of("out", uplink=True)
HAS = LAN.address(7)
LEASES = {MAC: Lease(guest="web", address=HAS)}
DISCOVER, OFFER, REQUEST, ACK, NAK, RELEASE, INFORM = 1, 2, 3, 5, 6, 7, 8
KIND, SERVER, WANTED = 53, 54, 50
NONE = bytes(4)


def request(kind: int, *options: tuple[int, bytes], mac: str = MAC, has: str = "0.0.0.0") -> bytes:
    head = struct.pack("!4BIHH4s12x", 1, 1, 6, 0, 0xCAFE, 3, 0x8000, socket.inet_aton(has))
    head += bytes.fromhex(mac.replace(":", "")).ljust(16, b"\0") + bytes(192)
    words = ((KIND, bytes([kind])), *options)
    said = b"".join(bytes([code, len(value)]) + value for code, value in words)
    return head + b"\x63\x82\x53\x63" + b"\0" + said + b"\xff"


def read(said: bytes | None) -> tuple[str, dict[int, bytes]]:
    """The address that is given, and the options."""
    assert said is not None
    assert len(said) >= 300
    op, hardware, size, _, number, _, flags = struct.unpack_from("!4BIHH", said)
    assert (op, hardware, size, number, flags) == (2, 1, 6, 0xCAFE, 0x8000)
    assert said[28:34].hex(":") == MAC
    return socket.inet_ntoa(said[16:20]), leasing._options(said[236:])


def test_address_of_the_plan_is_offered_and_given() -> None:
    own = socket.inet_aton(LAN.resolvers[0])
    wanted = ((SERVER, own), (WANTED, socket.inet_aton(HAS)))
    for asked, kind in ((request(DISCOVER), OFFER), (request(REQUEST, *wanted), ACK)):
        address, options = read(leasing.answer(asked, LEASES, LAN))
        assert address == HAS
        assert options == {
            KIND: bytes([kind]),
            SERVER: own,
            1: socket.inet_aton("255.255.252.0"),
            6: own,
            15: b"uml.internal",
            12: b"web",
            51: struct.pack("!I", 24 * 3600),
        }


def test_way_out_is_told() -> None:
    _, options = read(leasing.answer(request(DISCOVER), LEASES, OUT))
    assert options[3] == socket.inet_aton("10.0.2.2")
    assert options[6] == socket.inet_aton("10.0.2.1") + socket.inet_aton("10.0.2.3")


def test_address_is_renewed_by_who_has_it() -> None:
    address, options = read(leasing.answer(request(REQUEST, has=HAS), LEASES, LAN))
    assert (address, options[KIND]) == (HAS, bytes([ACK]))


def test_other_address_is_denied() -> None:
    """A guest may remember one of another network."""
    asked = request(REQUEST, (WANTED, socket.inet_aton("10.0.2.15")))
    address, options = read(leasing.answer(asked, LEASES, LAN))
    assert (address, set(options)) == ("0.0.0.0", {KIND, SERVER})
    assert options[KIND] == bytes([NAK])


def test_who_has_an_address_is_told_the_rest() -> None:
    address, options = read(leasing.answer(request(INFORM, has="10.9.9.9"), LEASES, LAN))
    assert (address, options[KIND]) == ("0.0.0.0", bytes([ACK]))
    assert 51 not in options
    assert 6 in options


@pytest.mark.parametrize(
    "asked",
    [
        request(DISCOVER, mac="02:00:00:00:00:02"),
        request(REQUEST, (SERVER, socket.inet_aton("10.0.2.2")), has=HAS),
        request(RELEASE, has=HAS),
        request(DISCOVER)[:239],
        request(DISCOVER)[:236] + bytes(80),
        b"\2" + request(DISCOVER)[1:],
        request(DISCOVER)[:-1] + b"\x0c\xff",
    ],
)
def test_nothing_is_said_to_others(asked: bytes) -> None:
    assert leasing.answer(asked, LEASES, LAN) is None


@given(st.binary(max_size=80))
@example(bytes([53]))
def test_any_options_may_come(options: bytes) -> None:
    asked = request(DISCOVER)[:240] + options
    said = leasing.answer(asked, LEASES, LAN)
    assert said is None or read(said)[1][SERVER] == socket.inet_aton(LAN.resolvers[0])
