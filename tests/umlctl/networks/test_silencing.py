from __future__ import annotations

import os
import socket
from contextlib import closing

import pytest

from tests.switches import BROADCAST, arrived, mac
from tests.umlctl.networks.test_leasing import DISCOVER, request
from tests.umlctl.networks.test_station import datagram
from umlctl.networks import silencing
from umlctl.networks.forwarding import Port
from umlctl.networks.packet_filter import MAX_INSTRUCTIONS
from umlctl.networks.silencing import Place, keep_off, without

PLANNED, OTHER = mac(1).hex(":"), mac(2).hex(":")


def dhcp(to_port: int, about: str) -> bytes:
    said = request(DISCOVER, mac=about)
    return datagram(BROADCAST, "10.0.2.2", b"\xff" * 4, to_port, said)


def test_only_what_is_said_about_planned_nics_is_dropped() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with closing(ours), closing(theirs):
        keep_off(Place(0, -1, "", port_of(ours)), [mac(7).hex(":"), PLANNED], pytest.fail)
        passed = [
            dhcp(68, OTHER),
            dhcp(67, PLANNED),
            datagram(BROADCAST, "10.0.2.3", b"\xff" * 4, 53, b"name"),
            BROADCAST + mac(1) + b"\x08\x06" + bytes(28),
        ]
        for frame in (dhcp(68, PLANNED), *passed, dhcp(68, mac(7).hex(":"))):
            theirs.send(frame)
        assert arrived(ours) == passed


def test_frames_that_are_cut_short_or_no_first_fragment_pass() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with closing(ours), closing(theirs):
        keep_off(Place(0, -1, "", port_of(ours)), [PLANNED], pytest.fail)
        whole = dhcp(68, PLANNED)
        later = whole[:20] + b"\x20\x01" + whole[22:]
        passed = [*(whole[:size] for size in (14, 20, 23, 37, 60, 75)), later]
        first = whole[:20] + b"\x20\x00" + whole[22:]
        for frame in (first, *passed, whole):
            theirs.send(frame)
        assert arrived(ours) == passed


def test_filter_takes_the_place_of_another_of_as_many_nics() -> None:
    """As a host has room for few instructions of all filters of a socket."""
    many = [mac(number).hex(":") for number in range(silencing.MAX_MACS + 50)]
    assert len(without(many, 67)) <= 2 * silencing.MAX_MACS + 20 <= MAX_INSTRUCTIONS
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with closing(ours), closing(theirs):
        for _ in range(2):
            keep_off(Place(0, -1, "", port_of(ours)), many, pytest.fail)
        theirs.send(dhcp(68, many[-1]))
        assert arrived(ours) == []


def port_of(connection: socket.socket) -> Port:
    return Port(1, 0, connection, 0, lambda *_: None, uplink=True)


def test_without_a_plan_nothing_is_done() -> None:
    keep_off(Place(os.getpid(), -1, "tap0", None), [], pytest.fail)
    keep_off(Place(0, -1, "", None), [PLANNED], pytest.fail)


def test_tap_that_is_not_there_yet_is_waited_for() -> None:
    with closing(os.fdopen(os.pidfd_open(os.getpid()))) as pidfd:
        place = Place(os.getpid(), pidfd.fileno(), "no-such-tap", None)
        with pytest.raises(FileNotFoundError, match="it has no tap no-such-tap"):
            keep_off(place, [PLANNED], pytest.fail)
