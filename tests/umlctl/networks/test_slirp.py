"""The way out of a segment, with the real slirp4netns."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.switches import DEADLINE, Running, ask, make, suspended, until
from umlctl.errors import HostError, UsageError
from umlctl.host import paths, processes
from umlctl.networks import segments, slirp
from umlctl.networks.holder import Holder
from umlctl.networks.segments import Segment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

__all__ = ["make"]

OWN = b"\x02\0\0\0\0\x01"
BROADCAST = b"\xff" * 6


def test_missing_program_is_named_with_its_package(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", place)
    with pytest.raises(HostError, match="apt install slirp4netns"):
        segments.start("lan", user=True)
    assert not os.path.exists(paths.network_dir("lan"))


# With the program


@pytest.fixture
def place(house: str) -> Iterator[str]:
    """A house in which no switch and no slirp4netns is left at the end."""
    yield house
    ends = []
    for name in segments.names():
        segment = Segment(name)
        ends.append(pid_of(segment))
        segment.quit()
    assert not any(map(alive, ends))
    segments.reap()


@pytest.fixture
def host_port() -> Iterator[int]:
    """A port of this host that nobody has, of UDP either; of TCP nobody is given it meanwhile."""
    while True:
        with (
            socket.socket() as tcp,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        ):
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as who listens there does
            tcp.bind(("127.0.0.1", 0))
            port: int = tcp.getsockname()[1]
            try:
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            udp.close()
            yield port
            return


def uplink(segment: Segment) -> dict[str, Any]:
    return segment.status()["uplink"]  # type: ignore[no-any-return]


def pid_of(segment: Segment) -> int:
    found = segment.status()["uplink"]
    return found["pid"] if found else 0


def alive(pid: int) -> bool:
    return pid > 0 and processes.start_time(pid) is not None


class Guest:
    """A guest with just enough of a network to be talked to."""

    def __init__(self, segment: Segment) -> None:
        self.connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.connection.settimeout(DEADLINE)
        self.connection.connect(segment.port_socket)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def wait(self, wanted: Callable[[bytes], bool]) -> bytes:
        while not wanted(frame := self.connection.recv(1 << 16)):
            pass
        return frame

    def send_arp(self, operation: int, own: bytes, to: bytes, their: bytes) -> None:
        content = struct.pack("!HHBBH", 1, 0x800, 6, 4, operation)
        content += OWN + own + to + their
        self.connection.send(BROADCAST + OWN + b"\x08\x06" + content)

    def resolve(self, address: str) -> bytes:
        """The MAC address of a neighbour; asked for again, since the uplink may be restarting."""
        wanted = socket.inet_aton(address)
        self.connection.settimeout(0.2)
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            self.send_arp(1, socket.inet_aton("10.0.2.100"), bytes(6), wanted)
            try:
                frame = self.wait(lambda frame: frame[12:14] == b"\x08\x06" and frame[21] == 2)
            except TimeoutError:
                continue
            assert frame[28:32] == wanted
            self.connection.settimeout(DEADLINE)
            return frame[22:28]
        raise AssertionError("nobody answered")

    def discover(self) -> str:
        """Ask by DHCP which address it is offered."""
        bootp = struct.pack("!4BIHH16x16s192x", 1, 1, 6, 0, 99, 0, 0x8000, OWN)
        bootp += b"\x63\x82\x53\x63\x35\x01\x01\xff" + bytes(60)
        udp = struct.pack("!4H", 68, 67, 8 + len(bootp), 0) + bootp
        ip = struct.pack(
            "!BBHHHBBH4s4s", 69, 0, 20 + len(udp), 0, 0, 64, 17, 0, bytes(4), BROADCAST[:4]
        )
        total = sum(struct.unpack("!10H", ip))
        checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
        ip = ip[:10] + checksum.to_bytes(2, "big") + ip[12:]
        self.connection.send(BROADCAST + OWN + b"\x08\x00" + ip + udp)
        frame = self.wait(lambda frame: frame[23:24] == b"\x11" and frame[36:38] == b"\0\x44")
        return socket.inet_ntoa(frame[58:62])

    def wait_for_call(self, port: int, protocol: int = 6) -> None:
        """Until somebody calls this port; who asks for our address is told."""
        own = socket.inet_aton("10.0.2.15")

        def called(frame: bytes) -> bool:
            if frame[12:14] == b"\x08\x06" and frame[38:42] == own:
                self.send_arp(2, own, frame[22:28], frame[28:32])
            return (
                frame[12:14] == b"\x08\x00"
                and frame[23] == protocol
                and frame[30:34] == own
                and frame[36:38] == port.to_bytes(2, "big")
            )

        self.wait(called)


def test_guest_is_answered_and_given_an_address(place: str) -> None:
    segment = segments.start("lan", user=True)
    there = uplink(segment)
    assert there["up"]
    assert there["restarts"] == 0
    assert alive(there["pid"])
    assert (there["network"], there["gateway"]) == ("10.0.2.0/24", "10.0.2.2")
    assert (there["dns"], there["dhcp"]) == ("10.0.2.3", True)
    with Guest(segment) as guest:
        assert guest.resolve(there["gateway"])
        assert guest.discover() == slirp.GUEST_ADDRESS
        (port,) = segment.status()["ports"]
        assert port["pid"] == os.getpid(), "the uplink is none of the guests' ports"
        assert uplink(segment)["in_frames"] >= 2


def test_forwarded_port_leads_to_the_guest(place: str, host_port: int) -> None:
    segment = segments.start("lan", user=True, forwards=[f"{host_port}:80"])
    entry = segment.status()["forwards"]
    assert entry == [
        {
            "forward": f"tcp:127.0.0.1:{host_port}:80",
            "guest": "10.0.2.15",
            "pending": False,
            "error": None,
        }
    ]
    with Guest(segment) as guest, socket.create_connection(("127.0.0.1", host_port), DEADLINE):
        guest.wait_for_call(80)


def test_forward_can_be_added_later(place: str, host_port: int) -> None:
    segment = segments.start("lan", user=True)
    segment.forward(f"udp:{host_port}:53")
    segment.forward(f"udp:{host_port}:53")
    segments.start("lan", user=True, forwards=[f"{host_port}:81", f"{host_port}:81"])
    assert len(segment.status()["forwards"]) == 2
    with (
        Guest(segment) as guest,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
        socket.create_connection(("127.0.0.1", host_port), DEADLINE),
    ):
        guest.wait_for_call(81)
        client.sendto(b"x", ("127.0.0.1", host_port))
        guest.wait_for_call(53, 17)


def test_forward_can_be_added_though_the_run_directory_was_removed(
    place: str, host_port: int
) -> None:
    """The program makes its socket once: only who has it open reaches it then."""
    segment = segments.start("lan", user=True)
    status = segment.status()
    api = f"{paths.network_dir('lan')}/slirp.api"
    until(lambda: api in processes.descriptors(status["pid"]))
    with suspended(status["pid"]):  # or it makes it anew meanwhile
        shutil.rmtree(paths.network_dir("lan"))
    until(lambda: os.path.exists(paths.network_control("lan")))
    segment.forward(f"{host_port}:80")
    assert pid_of(segment) == status["uplink"]["pid"]
    with Guest(segment) as guest, socket.create_connection(("127.0.0.1", host_port), DEADLINE):
        guest.wait_for_call(80)
    os.kill(pid_of(segment), signal.SIGKILL)
    until(lambda: uplink(segment)["restarts"] == 1 and uplink(segment)["up"])
    until(lambda: not segment.status()["forwards"][0]["pending"])
    assert segment.status()["forwards"][0]["error"] is None


def test_forward_of_a_port_in_use_is_a_clear_error(place: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        said = f"cannot forward tcp port {port} of 127.0.0.1: Address already in use"
        with pytest.raises(HostError, match=said):
            segments.start("lan", user=True, forwards=[f"{port}:80"])
        assert not segments.running("lan")
        segment = segments.start("lan", user=True)
        with pytest.raises(HostError, match=said):
            segment.forward(f"{port}:80")
        with pytest.raises(HostError, match=said):
            segments.start("lan", user=True, forwards=[f"{port}:80"])
        assert segment.status()["forwards"] == []
    segment.forward(f"{port}:80")
    with pytest.raises(HostError, match=said):
        segment.forward(f"{port}:8080")
    assert len(segment.status()["forwards"]) == 1


def test_address_that_this_host_has_not_cannot_be_forwarded_from(place: str) -> None:
    with pytest.raises(HostError, match=r"192\.0\.2\.1: Cannot assign requested address"):
        segments.start("lan", user=True, forwards=["192.0.2.1:8080:80"])


def test_segment_without_a_way_out_has_no_forwards(place: str) -> None:
    segment = segments.start("lan")
    with pytest.raises(HostError, match="no way out"):
        segment.forward("8080:80")
    with pytest.raises(HostError, match="runs without user networking"):
        segments.start("lan", user=True)
    with pytest.raises(UsageError, match="forwards need user networking"):
        segments.start("lan", forwards=["8080:80"])
    with pytest.raises(UsageError, match="no IPv4 address"):
        segments.start("lan", user=True, guest="fe80::1")


def test_killed_program_is_started_again_with_its_forwards(place: str, host_port: int) -> None:
    segment = segments.start("lan", user=True, forwards=[f"{host_port}:80"])
    with Guest(segment) as guest:
        for restarts in (1, 2):
            before = pid_of(segment)
            os.kill(before, signal.SIGKILL)
            until(lambda: uplink(segment)["restarts"] == restarts)  # noqa: B023 - called at once
            assert guest.resolve("10.0.2.2")
            assert pid_of(segment) != before
        until(lambda: not any(entry["pending"] for entry in segment.status()["forwards"]))
        with socket.create_connection(("127.0.0.1", host_port), DEADLINE):
            guest.wait_for_call(80)


def test_forward_that_is_lost_at_a_restart_is_reported(place: str, host_port: int) -> None:
    segment = segments.start("lan", user=True, forwards=[f"{host_port}:80"])
    pid = pid_of(segment)
    with ExitStack() as stack:
        with suspended(segment.status()["pid"]):  # or it would have it again before us
            os.kill(pid, signal.SIGKILL)
            until(lambda: not alive(pid))
            stack.enter_context(socket.create_server(("127.0.0.1", host_port)))
        until(lambda: segment.status()["forwards"][0]["error"])
        assert "Address already in use" in segment.status()["forwards"][0]["error"]
    segment.forward(f"{host_port}:80")
    assert segment.status()["forwards"][0]["error"] is None


def test_program_that_always_fails_holds_up_nobody(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = f"{place}/slirp4netns"
    with open(broken, "w") as file:
        file.write("#!/bin/sh\necho broken on purpose >&2\nexit 1\n")
    os.chmod(broken, 0o755)
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")
    segment = Segment("lan")
    launch = segments._launch

    def launched(name: str, options: list[str]) -> None:
        launch(name, options)
        until(lambda: "broken on purpose" in Path(paths.network_log("lan")).read_text())
        monkeypatch.setattr(segments, "START_TIMEOUT", 0.0)

    monkeypatch.setattr(segments, "_launch", launched)
    with pytest.raises(HostError, match=r"no way out yet: (?s:.*)broken on purpose"):
        segments.start("lan", user=True)
    until(lambda: uplink(segment)["restarts"] >= 4)
    assert not uplink(segment)["up"]
    with Guest(segment) as a, Guest(segment) as b:
        until(lambda: len(segment.status()["ports"]) == 2)
        a.connection.send(BROADCAST + OWN + b"\x08\x00")
        assert b.connection.recv(100)


def test_killed_switch_takes_the_program_along_and_comes_back_with_it(
    place: str, host_port: int
) -> None:
    segment = segments.start("lan", user=True)
    segment.forward(f"{host_port}:80")
    old = pid_of(segment)
    with Guest(segment) as guest, Holder("lan", os.getpid()) as holder:
        until(lambda: holder.read() and holder.ports)
        os.kill(segment.status()["pid"], signal.SIGKILL)
        assert select.select([holder], [], [], DEADLINE)[0]
        assert not holder.read()
        until(lambda: not alive(old))
        holder.reconnect()
        assert guest.resolve("10.0.2.2")
        until(lambda: [entry["pending"] for entry in segment.status()["forwards"]] == [False])
        assert segment.status()["forwards"][0]["error"] is None
        assert guest.discover() == slirp.GUEST_ADDRESS


def group(leader: int) -> list[int]:
    """The processes of a group, but for the dead."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and alive(int(name)):
            try:
                if os.getpgid(int(name)) == leader:
                    found.append(int(name))
            except ProcessLookupError:
                continue
    return found


@pytest.mark.parametrize("victim", ["switch", "program"])
def test_nothing_is_left_of_a_program_that_waits_for_its_connection(
    place: str, victim: str
) -> None:
    """A child of it waits, and looks at nothing else."""
    segment = segments.start("lan", user=True)
    switch, old = segment.status()["pid"], pid_of(segment)
    os.kill(old, signal.SIGKILL)
    until(lambda: pid_of(segment) not in (0, old))
    young = pid_of(segment)
    os.kill(switch if victim == "switch" else young, signal.SIGKILL)
    until(lambda: not group(young))
    assert not group(old)


def test_killed_switch_leaves_no_waiting_child(place: str) -> None:
    """The program is held back before it connects, so that the moment is not a short one."""
    slow = f"{place}/slirp4netns"
    with open(slow, "w") as file:
        file.write("#!/bin/sh\nsleep 60 & wait\n")
    os.chmod(slow, 0o755)
    running = subprocess.Popen(
        [sys.executable, "-P", "-m", "umlctl.networks.switchd", "--user", "lan"],
        env={**os.environ, "PATH": f"{place}:{os.environ['PATH']}"},
    )
    segment = Segment("lan")
    until(lambda: segments.running("lan") and pid_of(segment))
    leader = pid_of(segment)
    until(lambda: len(group(leader)) == 2)
    running.kill()
    running.wait(DEADLINE)
    until(lambda: not group(leader))


@pytest.mark.parametrize("end", [signal.SIGTERM, None])
def test_ended_switch_leaves_nothing_of_it(place: str, end: int | None) -> None:
    segment = segments.start("lan", user=True)
    pid, switch = pid_of(segment), segment.status()["pid"]
    if end is None:
        segment.quit()
    else:
        os.kill(switch, end)
    until(lambda: not alive(switch))
    assert not alive(pid)
    left = {"lock", "log", "options"} if end else set()
    assert {path.name for path in Path(paths.networks_dir()).glob("*/*")} <= left


def test_way_out_alone_does_not_keep_the_switch(make: Callable[..., Running]) -> None:
    lan = make("--user", "--idle", "0.3")
    kernel = lan.connect(paths.network_port("lan"))
    control = lan.client()
    until(lambda: ask(control, {"status": True})["uplink"]["up"])
    pid = ask(control, {"status": True})["uplink"]["pid"]
    kernel.close()
    assert lan.process.wait(DEADLINE) == 0
    until(lambda: not alive(pid))


def test_switch_waits_for_a_guest_as_long_as_its_way_out_is_to_come(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may take longer than the switch would stay alone."""
    asked: list[str] = []
    stay, look = Segment.stay, Segment.status

    def stays(segment: Segment) -> None:
        asked.append("stay")
        stay(segment)

    def status(segment: Segment) -> dict[str, Any]:
        asked.append("status")
        found = look(segment)
        found["uplink"]["up"] &= len(asked) > 6
        return found

    monkeypatch.setattr(Segment, "stay", stays)
    monkeypatch.setattr(Segment, "status", status)
    segments.start("lan", user=True)
    assert asked[:8] == ["stay", "status"] * 4


@pytest.mark.parametrize("allowed", [False, True])
def test_loopback_of_the_host_is_closed_to_guests_unless_allowed(place: str, allowed: bool) -> None:
    segment = segments.start("lan", user=True, host_loopback=allowed)
    with open(f"/proc/{pid_of(segment)}/cmdline") as file:
        assert ("--disable-host-loopback" in file.read().split("\0")) is not allowed
