"""Who captures at a switch that is a process, and what it is sent."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

import pytest

from tests.switches import BROADCAST, DEADLINE, Running, arrived, ask, frame, lan, mac, make, until
from umlctl.networks.captured import RECEIVED, SENT, Captured, decode
from umlctl.networks.capturing import MAX_CAPTURES

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["lan", "make"]


@pytest.fixture
def captured(lan: Running) -> Iterator[socket.socket]:
    """All frames of the switch."""
    with begin(lan, 0) as ours:
        yield ours


def begin(lan: Running, pid: int) -> socket.socket:
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(DEADLINE)
    with its:
        assert lan.ask({"capture": pid}, [its.fileno()]) == {"ok": True}
    return ours


def take(ours: socket.socket) -> Captured:
    found = decode(ours.recv(1 << 17))
    assert found is not None
    return found


def test_each_frame_is_copied_once_with_the_port_it_came_by(
    lan: Running, captured: socket.socket
) -> None:
    a, b = lan.port(), lan.port()
    lan.port()
    before = time.time_ns()
    flooded, sent = frame(BROADCAST, mac(1)), frame(mac(1), mac(2), b"x" * 3000)
    a.send(flooded)
    b.recv(100)
    b.send(sent)
    first, second = lan.ports()[:2]
    found = [take(captured), take(captured)]
    assert [(each.frame, each.port) for each in found] == [
        (flooded, first["id"]),
        (sent, second["id"]),
    ]
    assert {(each.lost, each.direction) for each in found} == {(0, SENT)}
    assert before <= found[0].time <= found[1].time <= time.time_ns()
    assert arrived(captured) == []


def test_of_a_process_what_it_sends_and_what_is_for_it(lan: Running) -> None:
    a = lan.port()
    with begin(lan, os.getpid()) as own, begin(lan, os.getpid() + (1 << 22)) as others:
        a.send(frame(BROADCAST, mac(1)))
        assert take(own).direction == SENT
        assert take(others).direction == RECEIVED  # it is for all
        a.send(frame(mac(1), mac(1)))  # which is for nobody else
        assert take(own).direction == SENT
        assert arrived(others) == []


def test_frames_go_on_when_nobody_captures_any_more(lan: Running) -> None:
    a, b = lan.port(), lan.port()
    before = lan.descriptors()
    with begin(lan, 0) as ours:
        a.send(frame(BROADCAST, mac(1)))
        take(ours)
    until(lambda: lan.descriptors() == before)
    a.send(frame(BROADCAST, mac(1), b"more"))
    assert b.recv(100) == frame(BROADCAST, mac(1))
    assert b.recv(100) == frame(BROADCAST, mac(1), b"more")


def test_reader_that_takes_nothing_is_told_what_it_has_lost(
    lan: Running, captured: socket.socket
) -> None:
    a, b = lan.port(), lan.port()
    count = 600
    for _ in range(count):
        a.send(frame(BROADCAST, mac(1), bytes(60_000)))
        b.recv(1 << 17)
    taken = len(arrived(captured))
    assert taken < count
    until(lambda: arrived(captured) == [])
    a.send(frame(BROADCAST, mac(1)))
    b.recv(2000)
    while (last := take(captured)).frame != frame(BROADCAST, mac(1)):
        pass  # of those that have waited
    assert last.lost > 0


def test_reader_that_writes_is_let_go(lan: Running, captured: socket.socket) -> None:
    captured.send(b"something")
    with pytest.raises(ConnectionResetError):
        captured.recv(100)


def test_only_so_many_capture_at_a_time(lan: Running) -> None:
    all_of_them = [begin(lan, 0) for _ in range(MAX_CAPTURES)]
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, its:
        answer = lan.ask({"capture": 0}, [its.fileno()])
        assert answer == {"error": f"{MAX_CAPTURES} clients capture here already"}
    for each in all_of_them:
        each.close()


def test_what_is_no_socket_for_frames_is_refused(lan: Running) -> None:
    no_socket = {"error": "capture comes with one descriptor, of a connected socket"}
    assert lan.ask({"capture": 0}) == no_socket
    with open(os.devnull) as file:
        assert lan.ask({"capture": 0}, [file.fileno()]) == no_socket
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as alone:
        assert "error" in ask(lan.control, {"capture": 0}, [alone.fileno()])
    assert "no such request" in lan.ask({"capture": -1})["error"]
    assert "no such request" in lan.ask({"capture": True})["error"]
