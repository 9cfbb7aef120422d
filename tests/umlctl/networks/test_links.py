"""Which ports have a character, under a clock of the test's own."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from tests.switches import frame, mac
from tests.umlctl.networks.test_link import Clock, clock
from umlctl.errors import UsageError
from umlctl.networks.forwarding import AddressTable, Port
from umlctl.networks.link import PLAIN, Character
from umlctl.networks.links import MAX_LINKS, Links

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["clock"]


class Ports:
    """Ports of processes, and which addresses have been heard there."""

    def __init__(self) -> None:
        self.table: AddressTable[Port] = AddressTable()
        self.all: list[Port] = []
        self.delivered: list[bytes] = []
        self.far: list[socket.socket] = []

    def add(self, pid: int, *macs: int) -> Port:
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.far.append(far)
        port = Port(len(self.all), pid, near, 0, lambda _fd, _events: None)
        for number in macs:
            self.table.route(frame(mac(0), mac(number))[:12], port)
        self.all.append(port)
        return port

    def apply(self, links: Links) -> list[Character | None]:
        links.apply(self.all, self.table, lambda _port, each: self.delivered.append(bytes(each)))
        return [port.lanes and port.lanes[0].character for port in self.all]

    def close(self) -> None:
        for each in [*self.far, *(port.connection for port in self.all)]:
            each.close()


@pytest.fixture
def ports() -> Iterator[Ports]:
    made = Ports()
    yield made
    made.close()


SLOW, LOSSY = Character(delay=1.0), Character(loss=0.5)
ONE, TWO = mac(1).hex(":"), mac(2).hex(":")


def test_nic_is_known_by_its_address(clock: Clock, ports: Ports) -> None:
    links = Links(clock.after)
    links.set(ONE, 7, SLOW)
    links.set(TWO, 7, LOSSY)
    ports.add(7, 1), ports.add(7, 2), ports.add(7, 3), ports.add(8, 9)
    assert ports.apply(links) == [SLOW, LOSSY, None, None]
    links.set(ONE, 7, PLAIN)
    assert ports.apply(links) == [None, LOSSY, None, None]
    assert links.all() == [{"mac": TWO, "pid": 7, "loss": 0.5}]


def test_nic_that_has_not_sent_yet_is_known_if_its_process_has_one(
    clock: Clock, ports: Ports
) -> None:
    links = Links(clock.after)
    links.set(ONE, 7, SLOW)
    links.set(TWO, 8, LOSSY)
    ports.add(7), ports.add(8), ports.add(8), ports.add(9)
    assert ports.apply(links) == [SLOW, None, None, None]


def test_frames_that_have_passed_are_delivered(clock: Clock, ports: Ports) -> None:
    links = Links(clock.after)
    links.set(ONE, 7, SLOW)
    port = ports.add(7)
    ports.apply(links)
    assert port.lanes is not None
    port.lanes[0].take(memoryview(b"in"))
    port.put(memoryview(b"out"))
    assert (ports.delivered, port.out_frames) == ([], 0)
    clock.run(1)
    assert (ports.delivered, port.out_frames) == ([b"in"], 1)


@pytest.mark.parametrize("later", [Character(rate=1e9), PLAIN])
def test_change_is_for_frames_that_wait_too(clock: Clock, ports: Ports, later: Character) -> None:
    links = Links(clock.after)
    port = ports.add(7)
    for character in (Character(rate=1e3), later):
        links.set(ONE, 7, character)
        ports.apply(links)
        for number in range(10):
            port.put(memoryview(bytes([number]) * 1250))  # 10 s each at first
    clock.run(0.1)
    assert port.out_frames == 20
    assert [ports.far[0].recv(2000)[0] for _ in range(20)] == [*range(10), *range(10)]


def test_frame_that_is_through_sooner_is_not_held_up_by_a_change(
    clock: Clock, ports: Ports
) -> None:
    links = Links(clock.after)
    port = ports.add(7)
    for character in (Character(delay=0.05), Character(delay=0.01, rate=1e3)):
        links.set(ONE, 7, character)
        ports.apply(links)
        port.put(memoryview(bytes(125)))
    clock.run(0.9)
    assert port.out_frames == 1
    clock.run(0.2)
    assert port.out_frames == 2


def test_links_of_processes_that_have_ended_are_forgotten(clock: Clock) -> None:
    links = Links(clock.after)
    links.set(ONE, 7, SLOW)
    links.set(TWO, 8, SLOW)
    links.forget_ended(lambda pid: pid == 8)
    assert [each["mac"] for each in links.all()] == [TWO]
    assert links


def test_there_is_an_end_to_links(clock: Clock) -> None:
    links = Links(clock.after)
    for number in range(MAX_LINKS):
        links.set(mac(number).hex(":"), 7, SLOW)
    with pytest.raises(UsageError, match="have a character already"):
        links.set(mac(MAX_LINKS).hex(":"), 7, SLOW)
    links.set(ONE, 7, LOSSY)
    assert links.of(ONE) == LOSSY
