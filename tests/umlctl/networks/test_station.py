from __future__ import annotations

import shutil
import socket
import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.switches import BROADCAST, Guest, Running, kill, mac, make, place
from tests.umlctl.networks.test_address_plan import recorded
from tests.umlctl.networks.test_leasing import DISCOVER, request
from tests.umlctl.networks.test_name_answers import question
from umlctl.host import paths
from umlctl.networks import address_plan, segments, station
from umlctl.networks.name_answers import Names
from umlctl.networks.station import Station

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["make", "place"]

LAN = address_plan.range_of("lan", uplink=False)
NAMES = socket.inet_aton(LAN.resolvers[0])
OWN = mac(1)


class Nothing:
    """A switch that no station hears of."""

    name = "lan"

    def __init__(self) -> None:
        self.loop = self
        self.connections: list[socket.socket] = []
        self.delivered: list[bytes] = []

    def watch(self, *_: object) -> None:
        """Nothing is ready, ever."""

    def add_port(self, connection: socket.socket, _pid: int, *, uplink: bool) -> None:
        assert uplink
        self.connections.append(connection)

    def deliver(self, _port: object, frame: memoryview) -> None:
        self.delivered.append(bytes(frame))


@pytest.fixture
def alone(house: str) -> Iterator[Station]:
    recorded("web")
    given = address_plan.give("lan", LAN, OWN.hex(":"), "web", [])
    assert LAN.has(given)
    made = Station(switch := Nothing(), uplink=False)  # type: ignore[arg-type]
    yield made
    for each in (made._own, *switch.connections):
        each.close()


def arp(wanted: bytes, *, what: int = 1) -> bytes:
    has = socket.inet_aton(LAN.address(9))
    body = struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, what, OWN, has, bytes(6), wanted)
    return BROADCAST + OWN + b"\x08\x06" + body


def datagram(to_mac: bytes, source: str, to: bytes, port: int, data: bytes) -> bytes:
    size = 28 + len(data)
    words = (0x45, 0, size, 0, 0, 64, 17, 0, socket.inet_aton(source), to)
    packet = struct.pack("!BBHHHBBH4s4s", *words) + struct.pack("!HHHH", 5353, port, size - 20, 0)
    return to_mac + OWN + b"\x08\x00" + packet + data


def unpacked(frame: bytes) -> tuple[str, str, int, int, bytes]:
    """Who says it, to whom, the ports, and what, of a packet that is whole."""
    assert frame[:6] == OWN
    header = frame[14:34]
    total = sum(struct.unpack("!10H", header))
    assert (total & 0xFFFF) + (total >> 16) == 0xFFFF, "the checksum"
    source, to = (socket.inet_ntoa(header[at : at + 4]) for at in (12, 16))
    of, port, size, _ = struct.unpack_from("!HHHH", frame, 34)
    assert size == len(frame) - 34 == struct.unpack_from("!H", header, 2)[0] - 20
    return source, to, of, port, frame[42:]


def test_station_is_found_by_its_address(alone: Station) -> None:
    said = alone.answer(arp(NAMES))
    assert said is not None
    assert said[:6] == OWN
    assert struct.unpack_from("!H6s4s6s4s", said, 20) == (
        *(2, said[6:12], NAMES),
        *(OWN, socket.inet_aton(LAN.address(9))),
    )
    assert alone.answer(arp(socket.inet_aton(LAN.address(9)))) is None
    assert alone.answer(arp(NAMES, what=2)) is None


def test_names_are_answered_who_asks(alone: Station) -> None:
    own = alone.answer(arp(NAMES))[6:12]  # type: ignore[index]
    asked = datagram(own, LAN.address(9), NAMES, 53, question("web"))
    source, to, of, port, data = unpacked(alone.answer(asked))  # type: ignore[arg-type]
    assert (source, to, of, port) == (LAN.resolvers[0], LAN.address(9), 53, 5353)
    assert socket.inet_aton(address_plan.load("lan")[OWN.hex(":")].address) in data
    assert alone.answer(mac(3) + asked[6:]) is None, "it is for another"
    shutil.rmtree(paths.record_dir("web"))
    refused = unpacked(alone.answer(asked))[-1]  # type: ignore[arg-type]
    assert refused[3] & 0xF == 5, "the guest is removed"


def test_address_that_was_given_last_is_named_first(alone: Station) -> None:
    own = alone.answer(arp(NAMES))[6:12]  # type: ignore[index]
    for number in (9, 8):
        address_plan.give("lan", LAN, mac(number).hex(":"), "web", [])
    asked = datagram(own, LAN.address(9), NAMES, 53, question("web"))
    said = unpacked(alone.answer(asked))[-1]  # type: ignore[arg-type]
    known = address_plan.load("lan")
    order = [socket.inet_aton(known[mac(number).hex(":")].address) for number in (8, 9, 1)]
    assert sorted(order, key=said.index) == order


def test_addresses_are_given_to_all_who_have_none(alone: Station) -> None:
    ask = datagram(BROADCAST, "0.0.0.0", b"\xff" * 4, 67, request(DISCOVER, mac=OWN.hex(":")))
    source, to, of, port, data = unpacked(alone.answer(ask))  # type: ignore[arg-type]
    assert (source, to, of, port) == (LAN.resolvers[0], "255.255.255.255", 67, 68)
    assert socket.inet_ntoa(data[16:20]) == address_plan.load("lan")[OWN.hex(":")].address


def test_station_takes_few_frames_a_turn_and_all_are_answered(
    alone: Station,
) -> None:
    """Though the switch takes none from the port meanwhile."""
    switch = alone._deliver.__self__  # type: ignore[attr-defined]
    own = alone.answer(arp(NAMES))[6:12]  # type: ignore[index]
    (port,) = switch.connections
    asked = datagram(own, LAN.address(9), NAMES, 53, question("web"))
    for turn in range(1, 100):
        for _ in range(station.MAX_BURST_FRAMES + 1):
            port.send(asked)
        alone._ready(0)
        assert len(switch.delivered) == turn * station.MAX_BURST_FRAMES
    assert set(switch.delivered) == {alone.answer(asked)}


def test_only_of_who_is_asked_for_is_it_looked_whether_they_are_there(
    alone: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look costs as much as a frame that is moved, and a plan has a thousand."""
    for number in range(2, 40):
        address_plan.give("lan", LAN, mac(number).hex(":"), f"g{number}", [])
        recorded(f"g{number}")
    own = alone.answer(arp(NAMES))[6:12]  # type: ignore[index]
    looked: list[str] = []

    def look(guest: str) -> bool:
        looked.append(guest)
        raise paths.BadPlace("it is gone")

    monkeypatch.setattr(paths, "has_record", look)
    for name, code in (("web", 0), ("nobody", 5)):
        said = alone.answer(datagram(own, LAN.address(9), NAMES, 53, question(name)))
        assert unpacked(said)[-1][3] & 0xF == code  # type: ignore[arg-type]
    assert looked == ["web"], "and where that cannot be known, it is there"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=120), cut=st.integers(0, 90), kind=st.sampled_from([b"\x06", b"\0"]))
def test_anything_may_come(house: str, data: bytes, cut: int, kind: bytes) -> None:
    """Frames that are cut short or are nonsense are no reason to end."""
    made = object.__new__(Station)
    made._mac, made._address, made.range = mac(9), NAMES, LAN
    made._known, made._named, made._names = address_plan.Known("lan"), {}, Names(())
    for frame in (
        BROADCAST + OWN + b"\x08" + kind + data,
        datagram(mac(9), "10.0.0.1", NAMES, 53, data)[:cut],
        arp(NAMES)[:cut],
    ):
        said = made.answer(frame)
        assert said is None or said[:6] == frame[6:12]


def test_station_is_at_a_switch_when_it_is_asked_for(make: Callable[..., Running]) -> None:
    switch = make()
    guest = switch.port()
    guest.send(arp(NAMES))
    assert "names" not in switch.ask({"status": True})
    assert switch.ask({"names": True}) == switch.ask({"names": True}) == {"ok": True}
    status = switch.ask({"status": True})
    assert (status["addresses"], status["names"]) == (str(LAN), LAN.resolvers[0])
    assert len(status["ports"]) == 1, "it is no guest"
    guest.send(arp(NAMES))
    assert guest.recv(2000)[12:14] == b"\x08\x06"


def test_station_comes_again_with_its_switch(place: str) -> None:
    lan = segments.start("lan", idle=60)
    lan.serve_names()
    kill("lan")
    with Guest(segments.revive("lan")) as guest:
        guest.send(arp(NAMES))
        assert guest.recv(2000)[12:14] == b"\x08\x06"
