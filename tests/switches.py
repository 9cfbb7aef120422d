"""Real switches of network segments, and what stands for a kernel that is connected to one."""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from typing import TYPE_CHECKING

import pytest

from umlctl.host import paths, processes, segments
from umlctl.host.segments import Segment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEADLINE = 30.0
BROADCAST = b"\xff" * 6


def frame(to: bytes, source: bytes, text: bytes = b"") -> bytes:
    return to + source + b"\x08\x00" + text


def mac(number: int) -> bytes:
    return b"\x02" + number.to_bytes(5, "big")


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)  # who is waited for needs the processor


def lock_holder(name: str) -> int:
    with open(f"{paths.network_dir(name)}/lock") as file:
        return int(file.read())


def kill(name: str) -> None:
    """SIGKILL a segment's switch; it is gone when this returns."""
    pid = lock_holder(name)
    pidfd = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    select.select([pidfd], [], [], DEADLINE)
    os.close(pidfd)


@pytest.fixture
def place(house: str) -> Iterator[str]:
    """A house in which no switch is left at the end."""
    yield house
    for name in segments.names():
        Segment(name).quit()
    until(lambda: not any(processes.start_time(pid) for pid in segments._children))
    segments.reap()


class Guest:
    """A connection to a segment, as a kernel has it."""

    def __init__(self, segment: Segment) -> None:
        before = len(segment.status()["ports"])
        self.connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.connection.settimeout(DEADLINE)
        self.connection.connect(segment.port_socket)
        until(lambda: len(segment.status()["ports"]) > before)

    def __enter__(self) -> socket.socket:
        return self.connection

    def __exit__(self, *_: object) -> None:
        self.connection.close()


def talk(a: socket.socket, b: socket.socket) -> None:
    """Frames flow between the two."""
    for one, other, number in ((a, b, 1), (b, a, 2)):
        sent = frame(BROADCAST, mac(number), os.urandom(8))
        one.send(sent)
        while other.recv(1000) != sent:
            pass
