"""The switch as a process, seen from its sockets."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.switches import (
    BROADCAST,
    DEADLINE,
    Running,
    arrived,
    ask,
    frame,
    hear,
    held,
    lan,
    mac,
    make,
    suspended,
    until,
)
from tests.umlctl.host.test_place import opened
from umlctl.host import paths
from umlctl.networks import forwarding, segments
from umlctl.networks.switch_protocol import MAX_LISTED_ADDRESSES, MAX_LISTED_PORTS

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["lan", "make"]


UNTIDY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
"""All examples go to one switch: it has to survive the lot."""


# Frames


def test_frames_go_where_they_belong(lan: Running) -> None:
    a, b, c = lan.port(), lan.port(), lan.port()
    a.send(frame(BROADCAST, mac(1)))
    assert b.recv(100) == c.recv(100) == frame(BROADCAST, mac(1))
    b.send(frame(mac(1), mac(2), b"answer"))
    assert a.recv(100) == frame(mac(1), mac(2), b"answer")
    a.send(frame(mac(2), mac(1), b"to b"))
    assert b.recv(100) == frame(mac(2), mac(1), b"to b")
    assert not arrived(c)
    assert not arrived(a)


def test_status_says_who_is_there_and_what_went_through(lan: Running) -> None:
    a, b = lan.port(), lan.port()
    before = time.time()
    a.send(frame(BROADCAST, mac(1), b"x" * 46))
    b.recv(100)
    status = lan.ask({"status": True})
    assert status["name"] == "lan"
    assert status["pid"] == lan.process.pid
    assert status["uplink"] is None
    assert status["forwards"] == []
    assert 0 < status["since"] <= before
    first, second = status["ports"]
    assert first["id"] != second["id"]
    assert first["pid"] == second["pid"] == os.getpid()
    assert first["macs"] == ["02:00:00:00:00:01"]
    assert second["macs"] == []
    assert (first["in_frames"], first["in_bytes"], first["out_frames"]) == (1, 60, 0)
    assert (second["out_frames"], second["out_bytes"], second["dropped"]) == (1, 60, 0)


def test_frame_as_long_as_a_kernel_can_make_one_gets_through(lan: Running) -> None:
    a, b = lan.port(), lan.port()
    a.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    long = frame(BROADCAST, mac(1), os.urandom(65535))
    a.send(long)
    assert b.recv(1 << 20) == long


def test_what_is_no_frame_is_dropped(lan: Running) -> None:
    a, b = lan.port(), lan.port()
    a.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    a.send(BROADCAST + mac(1) + b"\x08")
    a.send(b"")
    a.send(frame(BROADCAST, mac(1), bytes(forwarding.MAX_FRAME_BYTES)))
    a.send(frame(BROADCAST, mac(1), b"good"))
    assert b.recv(100) == frame(BROADCAST, mac(1), b"good")
    assert lan.ports()[0]["dropped"] == 2
    assert lan.ports()[0]["in_frames"] == 1


@UNTIDY
@given(st.lists(st.binary(max_size=80), max_size=20))
@example([b"", b"\0" * 14, b"\xff" * 14, b"\1" * 13])
def test_no_frame_harms(lan: Running, sent: list[bytes]) -> None:
    hostile = lan.connect(paths.network_port(lan.name))
    honest = lan.connect(paths.network_port(lan.name))
    a = lan.connect(paths.network_port(lan.name))
    for data in sent:
        hostile.send(data)
    hostile.close()
    until(lambda: len(lan.ports()) == 2)
    honest.send(frame(BROADCAST, mac(1), b"still there"))
    while a.recv(100) != frame(BROADCAST, mac(1), b"still there"):
        pass
    for each in (honest, a):
        each.close()
    until(lambda: not lan.ports())


def test_addresses_of_a_hostile_guest_are_listed_in_part(lan: Running) -> None:
    a, b = lan.port(), lan.port()
    b.send(frame(BROADCAST, mac(0)))
    for number in range(1, 3000):
        a.send(frame(mac(0), mac(number)))
    until(lambda: lan.ports()[0]["in_frames"] == 2999)
    first, second = lan.ports()
    assert first["macs"][0] == mac(2999).hex(":")
    assert len(first["macs"]) < 100
    assert second["macs"] == [mac(0).hex(":")]


def test_status_of_many_ports_fits_into_one_packet(lan: Running) -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most[1], most[1]))
    try:
        lan.port().send(frame(BROADCAST, mac(1 << 20)))  # where the frames go: not to all
        before = lan.descriptors()
        for number in range(MAX_LISTED_PORTS):
            port = lan.connect(paths.network_port(lan.name))
            for source in range(MAX_LISTED_ADDRESSES + 1):
                port.send(frame(mac(1 << 20), mac(100 * number + source)))
        until(lambda: lan.descriptors() == before + MAX_LISTED_PORTS)
        assert lan.ask({"status": True})["unlisted"] == 1
        assert len(lan.ports()) == MAX_LISTED_PORTS
    finally:
        for connection in lan.sockets[1:]:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, most)
    until(lambda: not lan.ports())


# Slow, dead and too many


def test_slow_port_delays_nobody(lan: Running) -> None:
    sender, slow, quick = lan.port(), lan.port(), lan.port()
    slow.send(frame(mac(1), mac(2)))
    quick.send(frame(mac(1), mac(3)))
    until(lambda: all(port["macs"] for port in lan.ports()[1:]))
    for each in (slow, quick):
        arrived(each)
    sent = 0
    while not lan.ports()[1]["dropped"]:
        for _ in range(500):
            sender.send(frame(mac(2), mac(1), bytes(1400)))
            sent += 1
    sender.send(frame(mac(3), mac(1), b"in time"))
    assert quick.recv(100) == frame(mac(3), mac(1), b"in time")
    dropped = lan.ports()[1]["dropped"]
    count = 0

    def all_taken() -> bool:
        nonlocal count
        count += len(arrived(slow))
        return bool(count + dropped == sent)

    until(all_taken)
    assert [port["dropped"] for port in lan.ports()] == [0, dropped, 0]


def test_port_that_ends_is_let_go_at_once(lan: Running) -> None:
    before = lan.descriptors()
    a, b = lan.port(), lan.port()
    a.send(frame(BROADCAST, mac(1)))
    b.recv(100)
    a.close()
    until(lambda: len(lan.ports()) == 1)
    b.send(frame(mac(1), mac(2)))
    b.shutdown(socket.SHUT_WR)
    until(lambda: not lan.ports())
    assert lan.descriptors() == before
    assert watched(lan) == 4, "two listeners, the signals and our own client"


def watched(lan: Running) -> int:
    """How many descriptors its epoll has."""
    directory = f"/proc/{lan.process.pid}/fdinfo"
    found = 0
    for name in os.listdir(directory):
        with open(f"{directory}/{name}") as file:
            found += sum(line.startswith("tfd:") for line in file)
    return found


def test_frames_sent_just_before_the_end_arrive(lan: Running) -> None:
    a, b = lan.port(), lan.port()
    for number in range(200):
        a.send(frame(BROADCAST, mac(1), bytes([number])))
    a.close()
    assert [b.recv(100)[-1] for _ in range(200)] == list(range(200))


def test_connection_for_which_there_is_no_descriptor_waits(lan: Running) -> None:
    first = lan.port()
    limit = lan.descriptors()
    most = resource.prlimit(lan.process.pid, resource.RLIMIT_NOFILE, (limit, limit))
    second = lan.connect(paths.network_port(lan.name))
    second.send(frame(BROADCAST, mac(1)))
    assert len(lan.ports()) == 1
    first.close()
    until(lambda: [port["macs"] for port in lan.ports()] == [[mac(1).hex(":")]])
    assert most[0] >= limit


# Its life


def test_sockets_are_for_us_alone(lan: Running) -> None:
    lan.ports()
    for path in (paths.network_dir("lan"), paths.network_port("lan"), paths.network_control("lan")):
        assert stat.S_IMODE(os.stat(path).st_mode) & 0o077 == 0
    with open(f"{paths.network_dir('lan')}/lock") as file:
        assert int(file.read()) == lan.process.pid


def test_second_switch_of_a_name_leaves_it_to_the_first(
    lan: Running, make: Callable[..., Running]
) -> None:
    lan.ports()
    second = make()
    assert second.process.wait(DEADLINE) == 0
    assert second.ask({"status": True})["pid"] == lan.process.pid
    assert make(name="other").ask({"status": True})["pid"] != lan.process.pid


def test_who_only_looks_keeps_nobody_from_being_the_switch(
    house: str, make: Callable[..., Running]
) -> None:
    """As another that is started at the same time, and is about to find the lock taken."""
    paths.make_run_dir()
    os.makedirs(paths.network_dir("lan"))
    with opened(f"{paths.network_dir('lan')}/lock"):
        lan = make()
        assert lan.ask({"status": True})["pid"] == lan.process.pid


def test_it_ends_when_nobody_is_there(house: str) -> None:
    command = [sys.executable, "-P", "-m", "umlctl.networks.switchd", "--idle", "0.05", "--", "lan"]
    assert subprocess.run(command, timeout=DEADLINE, check=False).returncode == 0
    assert not os.path.exists(paths.network_dir("lan"))


@pytest.fixture
def brief(make: Callable[..., Running]) -> Running:
    """One that soon ends if nobody is there, with a kernel that is: `brief.sockets[-1]`."""
    lan = make("--idle", "0.3")
    lan.connect(paths.network_port("lan"))
    return lan


def test_port_keeps_it_alive_and_its_end_ends_it(brief: Running) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        brief.process.wait(0.6)
    brief.sockets[-1].close()
    assert brief.process.wait(DEADLINE) == 0


def test_holder_keeps_it_alive_and_its_end_ends_it(brief: Running) -> None:
    port = brief.sockets[-1]
    holder = brief.client()
    ask(holder, {"hold": 1})
    port.close()
    with pytest.raises(subprocess.TimeoutExpired):
        brief.process.wait(0.6)
    holder.close()
    assert brief.process.wait(DEADLINE) == 0


def test_it_stays_while_it_is_asked_to(make: Callable[..., Running]) -> None:
    """However seldom it is asked here: it may end that long after it was."""
    idle = 0.5
    lan = make("--idle", str(idle))
    begun = time.monotonic()
    asked = begun - idle  # nothing was asked yet

    def stays() -> bool:
        nonlocal asked
        now = time.monotonic()
        try:
            lan.ask({"stay": True})
        except (OSError, json.JSONDecodeError):
            return False
        asked = now
        return now < begun + 2 * idle

    while stays():
        time.sleep(0.002)
    assert lan.process.wait(DEADLINE) == 0
    assert time.monotonic() >= asked + idle


def test_looking_at_it_does_not_keep_it(make: Callable[..., Running]) -> None:
    lan = make("--idle", "0.5")

    def ended() -> bool:
        try:
            lan.ask({"status": True})
        except (OSError, json.JSONDecodeError):
            return True
        return False

    until(ended)
    assert lan.process.wait(DEADLINE) == 0


def stopped_alone(make: Callable[..., Running]) -> Running:
    """A switch that has nobody, suspended before it ends for that."""
    while True:
        lan = make("--idle", "0.2")
        lan.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, lan.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        if lan.process.poll() is None and os.path.exists(paths.network_port("lan")):
            return lan
        lan.close()


def test_kernel_that_connects_in_the_last_moment_is_taken(make: Callable[..., Running]) -> None:
    lan = stopped_alone(make)
    late = lan.connect(paths.network_port("lan"))
    with pytest.raises(subprocess.TimeoutExpired):
        lan.process.wait(0.4)
    lan.process.send_signal(signal.SIGCONT)
    other = lan.connect(paths.network_port("lan"))
    late.send(frame(BROADCAST, mac(1)))
    while other.recv(100) != frame(BROADCAST, mac(1)):
        pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_it_in_order(lan: Running, number: int) -> None:
    a = lan.port()
    lan.process.send_signal(number)
    assert lan.process.wait(DEADLINE) == 0
    assert a.recv(1) == b""
    assert sorted(os.listdir(paths.network_dir("lan"))) == ["lock", "options"]


def test_quit_ends_it_and_tells_the_holders(lan: Running) -> None:
    lan.port()
    holder = lan.client()
    holder.send(json.dumps({"hold": os.getpid()}).encode())
    number, duplicate = held(holder)
    duplicate.close()
    hear(holder)
    assert lan.ask({"quit": True}) == {"ok": True}
    assert lan.process.wait(DEADLINE) == 0
    assert hear(holder) == {"gone": number}
    assert hear(holder) == {"quit": True}
    assert holder.recv(1) == b""
    assert not os.path.exists(paths.network_dir("lan"))


def test_sockets_of_a_killed_switch_are_replaced(make: Callable[..., Running]) -> None:
    first = make()
    first.kill()
    assert os.path.exists(paths.network_port("lan"))
    second = make()
    assert second.ask({"status": True})["pid"] == second.process.pid
    second.port()


def test_switch_whose_directory_was_removed_is_the_one_of_its_name_still(lan: Running) -> None:
    one, two = lan.port(), lan.port()
    with suspended(lan.process.pid):  # or it makes it anew meanwhile
        shutil.rmtree(paths.run_dir())
    done = subprocess.run(
        [sys.executable, "-P", "-m", "umlctl.networks.switchd", "--", "lan"],
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 0
    three = lan.connect(paths.network_port("lan"))
    until(lambda: len(lan.ports()) == 3)
    assert len(ask(lan.client(), {"status": True})["ports"]) == 3
    one.send(frame(BROADCAST, mac(1)))
    assert two.recv(100) == three.recv(100) == frame(BROADCAST, mac(1))
    until(lambda: os.path.exists(paths.network_options("lan")))
    with open(f"{paths.network_dir('lan')}/lock") as file:
        assert file.read() == f"{lan.process.pid}\n"


@pytest.mark.parametrize("name", ["a/b", "..", "", "n" * 33])
def test_bad_name_is_refused(house: str, name: str) -> None:
    command = [sys.executable, "-P", "-m", "umlctl.networks.switchd", "--", name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert done.returncode == 1
    assert "a network's name" in done.stderr
    assert not os.listdir(f"{house}/u")


# Links


def test_link_that_is_down_passes_nothing_and_others_do(lan: Running) -> None:
    a, b, c = lan.port(), lan.port(), lan.port()
    a.send(frame(BROADCAST, mac(1)))
    assert b.recv(100) == c.recv(100)
    down = {"mac": mac(1).hex(":"), "pid": os.getpid(), "down": True}
    assert lan.ask({"link": down}) == {"ok": True}
    a.send(frame(BROADCAST, mac(1), b"lost"))
    b.send(frame(BROADCAST, mac(2), b"heard"))
    assert c.recv(100) == frame(BROADCAST, mac(2), b"heard")
    status = lan.ask({"status": True})
    assert status["links"] == [down]
    assert [port["dropped"] for port in status["ports"]] == [2, 0, 0]
    del down["down"]
    assert lan.ask({"link": down}) == {"ok": True}
    a.send(frame(BROADCAST, mac(1), b"again"))
    assert b.recv(100) == frame(BROADCAST, mac(1), b"again")


def test_link_stays_as_it_was_at_the_next_switch(make: Callable[..., Running]) -> None:
    lan = make("--idle", "600")
    asked = {"mac": mac(1).hex(":"), "pid": os.getpid(), "delay": 0.5, "rate": 1000.0}
    lan.ask({"link": asked})
    lan.kill()
    again = make(*segments.read_options("lan"), name="lan")
    assert again.ask({"status": True})["links"] == [asked]


@pytest.mark.parametrize(
    "wrong",
    [
        {"mac": "02", "pid": 1},
        {"mac": "02:00:00:00:00:0G", "pid": 1},
        {"mac": "02:00:00:00:00:01"},
        {"mac": "02:00:00:00:00:01", "pid": True},
        {"mac": "02:00:00:00:00:01", "pid": 1, "delay": -1},
        {"mac": "02:00:00:00:00:01", "pid": 1, "colour": "red"},
        [],
    ],
)
def test_link_that_is_none_is_refused(lan: Running, wrong: object) -> None:
    assert "error" in lan.ask({"link": wrong})
    assert lan.ask({"status": True})["links"] == []
