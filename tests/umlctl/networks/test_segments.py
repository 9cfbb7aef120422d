"""The client side against real switches."""

from __future__ import annotations

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.damage import damaged
from tests.switches import (
    Guest,
    lock_holder,
    place,
    suspended,
    until,
)
from umlctl.errors import HostError, UsageError
from umlctl.host import paths
from umlctl.networks import segments
from umlctl.networks.holder import Holder

__all__ = ["place"]


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
    started = set(segments._children)  # it may have ended by now
    until(lambda: not segments.running("lan"))
    until(lambda: segments.names() == [] and not segments._children)
    assert not any(os.path.exists(f"/proc/{pid}") for pid in started)
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


@pytest.mark.parametrize("others", [False, True])
def test_switch_that_cannot_start_says_why(
    place: str, monkeypatch: pytest.MonkeyPatch, others: bool
) -> None:
    """Though another thread reaps the switches that have ended."""
    paths.make_run_dir()
    os.makedirs(paths.network_control("lan") + "~/in-the-way")
    if others:
        spawn = segments._spawn

        def spawn_and_reap(name: str, options: list[str]) -> int:
            pid = spawn(name, options)
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            segments.reap()
            return pid

        monkeypatch.setattr(segments, "_spawn", spawn_and_reap)
        monkeypatch.setattr(segments, "START_TIMEOUT", 0.0)
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
    with suspended(pid), monkeypatch.context() as patched:
        patched.setattr(segments, "ANSWER_TIMEOUT", 0.2)
        assert segments.pid_of("lan") == pid
        with pytest.raises(HostError, match="does not answer"):
            segment.status()
        with pytest.raises(HostError, match="does not"):
            segment.quit()
        with pytest.raises(HostError, match="lan"):
            Holder("lan", 1, timeout=0.2)


def test_quit_breaks_connections(place: str) -> None:
    segment = segments.start("lan")
    with Guest(segment) as guest:
        segment.quit()
        assert guest.recv(1) == b""
    assert not os.path.exists(paths.network_dir("lan"))


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


@pytest.mark.parametrize("value", ["a\0b", "a\nb"])
def test_options_that_nobody_wrote_are_refused(place: str, value: str) -> None:
    paths.make_run_dir()
    os.makedirs(paths.network_dir("lan"))
    with open(paths.network_options("lan"), "w") as file:
        json.dump({"forward": [value]}, file)
    with pytest.raises(HostError, match="cannot be started as it was"):
        segments.revive("lan")
