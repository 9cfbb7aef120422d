"""The client side against real switches."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.damage import damaged
from umlctl.errors import HostError, UsageError
from umlctl.host import paths, processes, segments
from umlctl.host.segments import Holder, Segment

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
    segments._reap()


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


def read_until(holder: Holder, condition: Callable[[], object]) -> None:
    while not condition():
        assert select.select([holder], [], [], DEADLINE)[0]
        assert holder.read()


def talk(a: socket.socket, b: socket.socket) -> None:
    """Frames flow between the two."""
    for one, other, number in ((a, b, 1), (b, a, 2)):
        sent = frame(BROADCAST, mac(number), os.urandom(8))
        one.send(sent)
        while other.recv(1000) != sent:
            pass


# Starting


def test_segment_is_started_once(place: str) -> None:
    assert not segments.running("lan")
    assert segments.names() == []
    first = segments.start("lan")
    assert first.port_socket == paths.network_port("lan")
    assert segments.start("lan").status()["pid"] == first.status()["pid"]
    segments.start("other", idle=60)
    assert segments.names() == ["lan", "other"]
    first.quit()
    assert not segments.running("lan")
    assert segments.names() == ["other"]
    first.quit()


def test_segment_started_by_many_at_once_has_one_switch(place: str) -> None:
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda _: segments.start("lan").status()["pid"], range(6)))
    assert made == [lock_holder("lan")] * 6


def test_switch_leads_a_session_of_its_own(place: str) -> None:
    pid = segments.start("lan").status()["pid"]
    assert os.getsid(pid) == pid
    assert (segments.pid_of("lan"), segments.pid_of("none")) == (pid, 0)
    assert os.readlink(f"/proc/{pid}/fd/2") == paths.network_log("lan")
    assert os.readlink(f"/proc/{pid}/cwd") == "/"


def test_switch_inherits_nothing(place: str) -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    segments.start("lan")
    os.close(writer)
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_switch_that_has_ended_is_reaped(place: str) -> None:
    segment = segments.start("lan", idle=0.05)
    pid = lock_holder("lan")
    until(lambda: not segments.running("lan"))
    until(lambda: segments.names() == [] and not os.path.exists(f"/proc/{pid}"))
    with pytest.raises(HostError, match="network lan does not run"):
        segment.status()


def test_switch_of_a_name_that_is_just_ending_is_followed_by_another(place: str) -> None:
    first = segments.start("lan", idle=60).status()["pid"]
    os.kill(first, signal.SIGTERM)
    until(lambda: not segments.running("lan"))
    assert segments.start("lan").status()["pid"] != first


@pytest.mark.parametrize("name", ["", "a/b", "n" * 33, "-x"])
def test_bad_name_is_refused(place: str, name: str) -> None:
    for refused in (segments.start, segments.running, segments.revive):
        with pytest.raises(UsageError, match="a network's name"):
            refused(name)


def test_switch_that_cannot_start_says_why(place: str) -> None:
    paths.make_run_dir()
    os.makedirs(paths.network_control("lan") + "~/in-the-way")
    with pytest.raises(HostError, match=r"network lan did not start: (?s:.*)control~"):
        segments.start("lan")
    assert segments.names() == []


def test_run_dir_of_somebody_else_is_no_place_for_a_switch(place: str) -> None:
    os.chmod(paths.make_run_dir() + "/n", 0o755)
    with pytest.raises(HostError, match="not a private directory"):
        segments.start("lan")


def test_switch_that_hangs_is_an_error_in_time(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    segment = segments.start("lan")
    pid = lock_holder("lan")
    os.kill(pid, signal.SIGSTOP)
    monkeypatch.setattr(segments, "ANSWERS", 0.2)
    try:
        assert segments.pid_of("lan") == pid
        with pytest.raises(HostError, match="does not answer"):
            segment.status()
        with pytest.raises(HostError, match="does not"):
            segment.quit()
        with pytest.raises(HostError, match="lan"):
            Holder("lan", 1, timeout=0.2)
    finally:
        os.kill(pid, signal.SIGCONT)


def test_quit_breaks_connections(place: str) -> None:
    segment = segments.start("lan")
    with Guest(segment) as guest:
        segment.quit()
        assert guest.recv(1) == b""
    assert not os.path.exists(paths.network_dir("lan"))


# Holding


def test_holder_follows_what_is_connected(place: str) -> None:
    segment = segments.start("lan")
    with Guest(segment), Holder("lan", os.getpid()) as holder:
        assert holder.ports == [port["id"] for port in segment.status()["ports"]]
        with Guest(segment):
            read_until(holder, lambda: len(holder.ports) == 2)
            assert holder.ports == [port["id"] for port in segment.status()["ports"]]
        read_until(holder, lambda: len(holder.ports) == 1)
        assert holder.read()
    assert holder.ports == []
    assert holder.fileno() == -1


def test_holder_needs_a_switch(place: str) -> None:
    with pytest.raises(HostError, match="network lan cannot be held"):
        Holder("lan", os.getpid())


def test_holder_keeps_connections_over_the_death_of_the_switch(place: str) -> None:
    segment = segments.start("lan", idle=60)
    with Guest(segment) as a, Guest(segment) as b, Holder("lan", os.getpid()) as holder:
        talk(a, b)
        kill("lan")
        assert select.select([holder], [], [], DEADLINE)[0]
        assert not holder.read()
        assert not holder.ended
        assert not select.select([a], [], [], 0)[0], "it is as if nothing were"
        sent = frame(BROADCAST, mac(1), b"sent without a switch")
        a.send(sent)
        holder.reconnect()
        assert sorted(holder.ports) == [port["id"] for port in segment.status()["ports"]]
        assert len(holder.ports) == 2
        talk(a, b)
        assert segment.status()["ports"][0]["in_frames"] == 2, "what was sent meanwhile too"
        with open(paths.network_options("lan")) as file:
            assert json.load(file)["idle"] == 60
    until(lambda: not segment.status()["ports"])


def test_it_survives_again_and_again(place: str) -> None:
    segment = segments.start("lan")
    before = len(os.listdir("/proc/self/fd"))
    with Guest(segment) as a, Guest(segment) as b, Holder("lan", os.getpid()) as holder:
        for _ in range(3):
            kill("lan")
            holder.reconnect()
            talk(a, b)
        assert len(os.listdir("/proc/self/fd")) == before + 2 + 2 + 1
    assert len(os.listdir("/proc/self/fd")) == before


def test_two_holders_give_one_connection(place: str) -> None:
    segment = segments.start("lan")
    with (
        Guest(segment) as a,
        Guest(segment) as b,
        Holder("lan", os.getpid()) as first,
        Holder("lan", os.getpid()) as second,
    ):
        kill("lan")
        threads = [threading.Thread(target=each.reconnect) for each in (first, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE)
        read_until(first, lambda: len(first.ports) == 2)
        assert sorted(first.ports) == sorted(second.ports)
        assert len(segment.status()["ports"]) == 2
        talk(a, b)


def test_connection_that_ended_without_a_switch_is_not_given(place: str) -> None:
    segment = segments.start("lan")
    with Guest(segment) as a, Holder("lan", os.getpid()) as holder:
        with Guest(segment):
            read_until(holder, lambda: len(holder.ports) == 2)
            kill("lan")
        holder.reconnect()
        assert len(holder.ports) == 1
        assert len(segment.status()["ports"]) == 1
        a.send(frame(BROADCAST, mac(1)))
        until(lambda: segment.status()["ports"][0]["in_frames"] == 1)


def test_signalled_switch_is_survived_too(place: str) -> None:
    segment = segments.start("lan")
    with Guest(segment) as a, Guest(segment) as b, Holder("lan", os.getpid()) as holder:
        os.kill(lock_holder("lan"), signal.SIGTERM)
        select.select([holder], [], [], DEADLINE)
        assert not holder.read()
        assert not holder.ended
        holder.reconnect()
        talk(a, b)


def test_holder_of_a_segment_that_was_ended_lets_go(place: str) -> None:
    segment = segments.start("lan")
    with Guest(segment) as guest, Holder("lan", os.getpid()) as holder:
        segment.quit()
        assert not holder.read()
        assert holder.ended
        assert holder.ports == []
        assert guest.recv(1) == b""


def test_segment_that_is_ended_while_it_is_asked_to_hold_is_not_lost(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lan = segments.start("lan")
    real = segments.readable

    def late(fd: int, deadline: float) -> bool:
        monkeypatch.setattr(segments, "readable", real)
        until(lambda: lan.status()["holders"] == 1)
        lan.quit()
        return real(fd, deadline)

    with Guest(lan):
        monkeypatch.setattr(segments, "readable", late)
        with Holder("lan", os.getpid()) as holder:
            assert holder.ended
            assert holder.fileno() == -1
            assert holder.ports == []
    assert not segments.running("lan")


def test_reconnecting_that_fails_can_be_tried_again(place: str) -> None:
    segment = segments.start("lan")
    with Guest(segment) as a, Guest(segment) as b, Holder("lan", os.getpid()) as holder:
        kill("lan")
        os.rename(paths.network_options("lan"), paths.network_options("lan") + ".kept")
        with pytest.raises(HostError, match="cannot be started as it was"):
            holder.reconnect()
        os.rename(paths.network_options("lan") + ".kept", paths.network_options("lan"))
        holder.reconnect()
        talk(a, b)


def test_holder_of_a_dead_process_is_no_harm(place: str) -> None:
    segments.start("lan")
    with Holder("lan", 1 << 30) as holder:
        assert holder.ports == []
        assert holder.read()


# What was written down of a switch


def test_damaged_options_are_read_whole_or_refused(place: str) -> None:
    segments.start("lan", idle=60)
    options = segments.read_options("lan")
    path = paths.network_options("lan")
    with open(path, "rb") as file:
        whole = file.read()
    refused = 0
    for data in damaged(whole):
        with open(path, "wb") as file:
            file.write(data)
        try:
            assert segments.read_options("lan") == options
        except HostError as problem:
            assert "network lan cannot be started as it was" in str(problem)  # noqa: PT017
            refused += 1
    assert refused > 2 * len(whole) - 20


@pytest.mark.parametrize("said", [b"[]", b"{", b"\xff", b"[" * 100_000, b"3"])
def test_switch_that_answers_nonsense_is_an_error(said: bytes) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        theirs.send(said)
        with pytest.raises(HostError, match="no JSON object"):
            segments._exchange(ours, {"status": True}, time.monotonic() + DEADLINE)


@pytest.mark.parametrize("value", ["a\0b", "a\nb"])
def test_options_that_nobody_wrote_are_refused(place: str, value: str) -> None:
    paths.make_run_dir()
    os.makedirs(paths.network_dir("lan"))
    with open(paths.network_options("lan"), "w") as file:
        json.dump({"forward": [value]}, file)
    with pytest.raises(HostError, match="cannot be started as it was"):
        segments.revive("lan")
