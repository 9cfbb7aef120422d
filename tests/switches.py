"""Real switches of network segments, and what stands for a kernel that is connected to one."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from umlctl.host import paths, processes
from umlctl.networks import forwarding, segments
from umlctl.networks.segments import Segment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

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


@contextmanager
def suspended(pid: int) -> Iterator[None]:
    """A process does nothing meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        until(lambda: (seen := processes.look(pid)) is None or seen.state == "suspended")
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


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


class Running:
    """A switch, and sockets to it that are closed with it."""

    def __init__(self, name: str, *options: str) -> None:
        self.name = name
        self.sockets: list[socket.socket] = []
        self._options = options
        self.process = self._start()
        self.control = self.connect(paths.network_control(name))

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "umlctl.networks.switchd"),
                *(*self._options, "--", self.name),
            ],
            stderr=subprocess.PIPE,
            text=True,
        )

    def connect(self, path: str) -> socket.socket:
        """A connection; of a switch that nobody was at for too long, there is another."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.settimeout(DEADLINE)
        self.sockets.append(connection)

        def connected() -> bool:
            try:
                connection.connect(path)
            except (FileNotFoundError, ConnectionRefusedError):
                if "--idle" in self._options and self.process.poll() == 0:
                    self.close_process()
                    self.process = self._start()
                return False
            return True

        until(connected)
        return connection

    def client(self) -> socket.socket:
        return self.connect(paths.network_control(self.name))

    def port(self) -> socket.socket:
        """A connection, as a kernel makes it, that the switch has taken."""
        before = len(self.ports())
        made = self.connect(paths.network_port(self.name))
        until(lambda: len(self.ports()) > before)
        return made

    def ask(self, request: object, fds: Sequence[int] = ()) -> dict[str, Any]:
        return ask(self.control, request, fds)

    def ports(self) -> list[dict[str, Any]]:
        return self.ask({"status": True})["ports"]  # type: ignore[no-any-return]

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(DEADLINE)

    def close(self) -> str:
        """End it, if it has not ended; what it said."""
        for connection in self.sockets:
            connection.close()
        return self.close_process()

    def close_process(self) -> str:
        self.process.kill()
        return self.process.communicate()[1]


def ask(connection: socket.socket, request: object, fds: Sequence[int] = ()) -> dict[str, Any]:
    socket.send_fds(connection, [json.dumps(request).encode()], list(fds)) if fds else (
        connection.send(json.dumps(request).encode())
    )
    return hear(connection)


def hear(connection: socket.socket) -> dict[str, Any]:
    return json.loads(connection.recv(1 << 20))  # type: ignore[no-any-return]


def hear_with(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """A message and the descriptors that came with it."""
    data, fds, _, _ = socket.recv_fds(connection, 1 << 20, 8)
    return json.loads(data), fds


def held(client: socket.socket) -> tuple[int, socket.socket]:
    """The next duplicate that a client is handed, and its number."""
    message, fds = hear_with(client)
    assert message["pid"] == os.getpid()
    (fd,) = fds
    return message["port"], socket.socket(fileno=fd)


def arrived(connection: socket.socket) -> list[bytes]:
    """All that is there to be read."""
    found = []
    connection.setblocking(False)
    try:
        while data := connection.recv(forwarding.MAX_FRAME_BYTES):
            found.append(data)
    except BlockingIOError:
        pass
    finally:
        connection.settimeout(DEADLINE)
    return found


@pytest.fixture
def make(house: str) -> Iterator[Callable[..., Running]]:
    """Starts switches: `make(*options, name="lan")`."""
    made: list[Running] = []

    def start(*options: str, name: str = "lan") -> Running:
        made.append(Running(name, *options))
        return made[-1]

    yield start
    for running in made:
        said = running.close()
        assert "Traceback" not in said, said


@pytest.fixture
def lan(make: Callable[..., Running]) -> Running:
    """One that has taken our control connection."""
    made = make("--idle", "600")  # however long the test takes, it does not end before
    assert not made.ports()
    return made
