"""Holding connections to real switches, which are killed."""

from __future__ import annotations

import json
import os
import select
import signal
import threading
from typing import TYPE_CHECKING

import pytest

from tests.switches import (
    BROADCAST,
    DEADLINE,
    Guest,
    frame,
    kill,
    lock_holder,
    mac,
    place,
    talk,
    until,
)
from umlctl.errors import HostError
from umlctl.host import paths
from umlctl.networks import holder as module
from umlctl.networks import segments, switch_client
from umlctl.networks.holder import Holder

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["place"]


def read_until(holder: Holder, condition: Callable[[], object]) -> None:
    while not condition():
        assert select.select([holder], [], [], DEADLINE)[0]
        assert holder.read()


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
    real = switch_client.readable

    def late(fd: int, deadline: float) -> bool:
        monkeypatch.setattr(module, "readable", real)
        until(lambda: lan.status()["holders"] == 1)
        lan.quit()
        return real(fd, deadline)

    with Guest(lan):
        monkeypatch.setattr(module, "readable", late)
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
