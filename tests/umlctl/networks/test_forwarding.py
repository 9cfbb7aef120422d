from __future__ import annotations

import select
import socket
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.networks import forwarding
from umlctl.networks.forwarding import AddressTable, Port

if TYPE_CHECKING:
    from collections.abc import Iterator

BROADCAST = b"\xff" * 6


def mac(number: int) -> bytes:
    return b"\x02" + number.to_bytes(5, "big")


def header(to: bytes, source: bytes) -> bytes:
    return to + source


@pytest.fixture
def table() -> AddressTable[str]:
    return AddressTable()


# Addresses


def test_frame_for_an_unknown_address_goes_to_all(table: AddressTable[str]) -> None:
    assert table.route(header(mac(2), mac(1)), "a") is None


def test_frame_goes_where_its_address_was_heard_from(table: AddressTable[str]) -> None:
    table.route(header(BROADCAST, mac(1)), "a")
    assert table.route(header(mac(1), mac(2)), "b") == "a"
    assert table.route(header(mac(2), mac(1)), "a") == "b"
    assert table.behind("a") == [mac(1)]


def test_frame_for_a_neighbour_behind_the_same_port_stays_there(table: AddressTable[str]) -> None:
    table.route(header(BROADCAST, mac(1)), "a")
    assert table.route(header(mac(1), mac(2)), "a") == "a"


def test_address_that_moves_is_found_at_its_new_port(table: AddressTable[str]) -> None:
    table.route(header(BROADCAST, mac(1)), "a")
    table.route(header(BROADCAST, mac(1)), "b")
    assert table.route(header(mac(1), mac(2)), "c") == "b"
    assert table.behind("a") == []


@pytest.mark.parametrize("group", [BROADCAST, b"\x01\0\x5e\0\0\1", b"\x33\x33\0\0\0\1"])
def test_address_of_a_group_is_never_learned(table: AddressTable[str], group: bytes) -> None:
    table.route(header(mac(2), group), "a")
    assert len(table) == 0
    assert table.route(header(group, mac(2)), "b") is None


def test_addresses_of_a_port_that_is_gone_are_forgotten(table: AddressTable[str]) -> None:
    table.route(header(BROADCAST, mac(1)), "a")
    table.route(header(BROADCAST, mac(2)), "b")
    table.remove("a")
    table.remove("a")
    assert table.route(header(mac(1), mac(2)), "b") is None
    assert table.route(header(mac(2), mac(3)), "c") == "b"


def test_silent_address_is_forgotten_after_300_seconds(table: AddressTable[str]) -> None:
    assert forwarding.MAX_AGE_TICKS * forwarding.TICK_INTERVAL == 300
    table.route(header(BROADCAST, mac(1)), "a")
    for _ in range(forwarding.MAX_AGE_TICKS - 1):
        table.tick()
    table.route(header(BROADCAST, mac(2)), "b")
    assert len(table) == 2
    table.tick()
    assert table.behind("a") == []
    assert table.behind("b") == [mac(2)]


def test_address_that_speaks_is_kept(table: AddressTable[str]) -> None:
    for _ in range(3 * forwarding.MAX_AGE_TICKS):
        table.route(header(BROADCAST, mac(1)), "a")
        table.tick()
    assert table.behind("a") == [mac(1)]


def test_flood_of_addresses_from_one_port_leaves_the_others_alone(
    table: AddressTable[str],
) -> None:
    table.route(header(BROADCAST, mac(0)), "honest")
    for number in range(1, 10000):
        table.route(header(BROADCAST, mac(number)), "hostile")
    assert len(table) == forwarding.MAX_PORT_ADDRESSES + 1
    assert table.route(header(mac(0), mac(1)), "other") == "honest"
    assert table.behind("hostile")[0] == mac(9999)


def test_table_that_is_full_forgets_who_was_heard_first() -> None:
    table: AddressTable[str] = AddressTable(most=4, each=3)
    for number, port in enumerate("aabb"):
        table.route(header(BROADCAST, mac(number)), port)
    table.tick()
    table.route(header(BROADCAST, mac(0)), "a")  # heard again
    table.route(header(BROADCAST, mac(9)), "c")
    assert table.behind("a") == [mac(0)]
    assert table.behind("b") == [mac(3), mac(2)]
    assert table.behind("c") == [mac(9)]


class Model:
    """The table as one would write it without a thought for speed."""

    def __init__(self, most: int, each: int) -> None:
        self.most, self.each, self.now = most, each, 0
        self.heard: list[tuple[bytes, str, int]] = []

    def route(self, to: bytes, source: bytes, port: str) -> str | None:
        if not source[0] & 1 and (source, port, self.now) not in self.heard:
            self.heard = [entry for entry in self.heard if entry[0] != source]
            own = [entry for entry in self.heard if entry[1] == port]
            if len(own) >= self.each:
                self.heard.remove(own[0])
            elif len(self.heard) >= self.most:
                del self.heard[0]
            self.heard.append((source, port, self.now))
        return next((entry[1] for entry in self.heard if entry[0] == to), None)

    def tick(self) -> None:
        self.now += 1
        self.heard = [
            entry for entry in self.heard if entry[2] > self.now - forwarding.MAX_AGE_TICKS
        ]

    def remove(self, port: str) -> None:
        self.heard = [entry for entry in self.heard if entry[1] != port]


addresses = st.one_of(st.integers(0, 12).map(mac), st.binary(min_size=6, max_size=6))
ports = st.sampled_from("abcd")
steps = st.one_of(
    st.tuples(st.just("frame"), addresses, addresses, ports),
    st.tuples(st.just("remove"), ports),
    st.tuples(st.just("tick"), st.integers(1, forwarding.MAX_AGE_TICKS)),
)


@given(st.lists(steps, max_size=60))
def test_table_does_what_its_model_does(taken: list[tuple[object, ...]]) -> None:
    table: AddressTable[str] = AddressTable(most=8, each=4)
    model = Model(8, 4)
    for step in taken:
        match step:
            case ("frame", bytes(to), bytes(source), str(port)):
                assert table.route(to + source, port) == model.route(to, source, port)
            case ("remove", str(port)):
                table.remove(port)
                model.remove(port)
            case ("tick", int(count)):
                for _ in range(count):
                    table.tick()
                    model.tick()
        assert len(table) == len(model.heard) <= 8
        for port in "abcd":
            known = [entry[0] for entry in model.heard if entry[1] == port]
            assert table.behind(port) == known[::-1]
            assert len(known) <= 4


# Ports


class Wire:
    """A port and what is at its other end."""

    def __init__(self) -> None:
        self.armed = 0
        near, self.far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.far.setblocking(False)
        self.port = Port(1, 2, near, 3, self._arm)

    def _arm(self, fd: int, events: int) -> None:
        assert fd == self.port.fd
        self.armed = events

    def read(self) -> list[bytes]:
        """All that has arrived."""
        found = []
        while True:
            try:
                found.append(self.far.recv(forwarding.MAX_FRAME_BYTES))
            except BlockingIOError:
                return found

    def fill(self, frame: bytes) -> int:
        """Send until something waits; how many were sent before."""
        while not self.armed:
            self.port.put(memoryview(frame))
        return self.port.out_frames


@pytest.fixture
def wire() -> Iterator[Wire]:
    made = Wire()
    yield made
    made.port.connection.close()
    made.far.close()


def test_frame_goes_out_at_once(wire: Wire) -> None:
    wire.port.put(memoryview(b"x" * 60))
    assert wire.read() == [b"x" * 60]
    assert not wire.armed
    assert wire.port.counters() == {
        "in_frames": 0,
        "in_bytes": 0,
        "out_frames": 1,
        "out_bytes": 60,
        "dropped": 0,
        "in_rate": 0,
        "out_rate": 0,
    }


def test_rate_is_what_was_moved_lately(wire: Wire) -> None:
    for _ in range(20):
        wire.port.in_bytes += 500
        wire.port.measure(0.5)
    assert wire.port.counters()["in_rate"] == pytest.approx(1000, rel=0.02)
    for _ in range(20):
        wire.port.measure(0.5)
    assert wire.port.counters()["in_rate"] < 10
    assert wire.port.counters()["out_rate"] == 0


def test_frames_wait_for_a_slow_reader_and_keep_their_order(wire: Wire) -> None:
    buffer = bytearray(100)
    count = wire.fill(bytes(100))
    assert wire.armed == forwarding.LISTEN_EVENTS | select.EPOLLOUT
    for number in range(5):
        buffer[0] = number + 1
        wire.port.put(memoryview(buffer))  # its owner writes the next frame into it
    wire.port.drain()
    arrived = wire.read()
    assert len(arrived) == count
    wire.port.drain()
    assert [frame[0] for frame in wire.read()] == [0, 1, 2, 3, 4, 5]
    assert wire.armed == forwarding.LISTEN_EVENTS
    assert wire.port.out_frames == count + 6
    assert wire.port.out_bytes == 100 * (count + 6)
    assert wire.port.dropped == 0


@pytest.mark.parametrize(("size", "fit"), [(100, forwarding.MAX_WAITING_FRAMES), (1 << 16, 16)])
def test_what_waits_is_bounded_and_the_rest_dropped(wire: Wire, size: int, fit: int) -> None:
    wire.fill(bytes(size))
    for _ in range(2000):
        wire.port.put(memoryview(bytes(size)))
    sent = wire.port.out_frames
    assert wire.port.dropped == 2000 - (fit - 1)
    arrived = 0
    while found := wire.read():
        arrived += len(found)
        wire.port.drain()
    assert arrived == sent + fit


def test_port_whose_reader_is_dead_drops(wire: Wire) -> None:
    wire.fill(bytes(1000))
    wire.far.close()
    wire.port.drain()
    wire.port.put(memoryview(bytes(1000)))
    assert wire.port.dropped == 2
