"""Bridges of the host's kernel in a namespace of this user's."""

from __future__ import annotations

import os
import select
from struct import pack
from typing import TYPE_CHECKING

import pytest

from tests.switches import until
from umlctl.host import netns
from umlctl.networks import bridge, namespaces
from umlctl.networks.bridge import Bridge, unable
from umlctl.networks.forwarding import MAX_ADDRESSES
from umlctl.networks.interfaces import IFF_TAP
from umlctl.networks.tap_connection import TapConnection
from umlctl.networks.taps import IFF_NO_PI

if TYPE_CHECKING:
    from collections.abc import Iterator

here = pytest.mark.skipif(bool(unable()), reason="this host has no such namespace")
_GET_LINK = 18
_LEARNED = pack("=HHI", 8, 48, MAX_ADDRESSES)  # IFLA_BR_FDB_N_LEARNED
FRAME = b"\xff" * 6 + b"\x02\0\0\0\0\1" + b"\x08\0" + b"text" * 20


@pytest.fixture
def made() -> Iterator[Bridge]:
    made = Bridge("lan", netns.make())
    yield made
    made.close()


def opened(made: Bridge, tap: str) -> TapConnection:
    """A tap as a kernel has it open, but for the header before each frame."""
    return TapConnection(made._attached(tap, IFF_TAP | IFF_NO_PI))


def arrives(connection: TapConnection, frame: bytes = FRAME, seconds: float = 20) -> bytes:
    view = memoryview(bytearray(2000))
    waiting = select.poll()
    waiting.register(connection.fileno(), select.POLLIN)
    while waiting.poll(seconds * 1000):
        size = connection.recv_into(view, 2000, 0)
        if bytes(view[:size]) == frame:
            return bytes(view[:size])
    return b""


@here
def test_frames_go_through_it_and_are_counted(made: Bridge) -> None:
    one, other = made.trunk(), None
    made.make_tap("t1", os.geteuid())
    try:
        other = opened(made, "t1")
        until(lambda: made.is_open("t1"))
        other.send(FRAME)
        assert arrives(one) == FRAME
        one.send(FRAME)
        assert arrives(other) == FRAME
        moved = made.traffic()["t1"]
        assert moved[:2] == (1, len(FRAME))
        assert moved[2] >= 1
    finally:
        one.close()
        if other is not None:
            other.close()


@here
def test_tap_that_is_set_apart_is_reached_by_its_own_trunk_alone(made: Bridge) -> None:
    all_of_it = made.trunk()
    made.make_tap("t1", os.geteuid())
    tap = opened(made, "t1")
    assert (made.is_on("t1"), made.is_on("t1", apart=True)) == (True, False)
    made.set_apart("t1")
    assert (made.is_on("t1"), made.is_on("t1", apart=True)) == (False, True)
    own = made.trunk("t1")
    try:
        tap.send(FRAME)
        assert arrives(own) == FRAME
        assert arrives(all_of_it, seconds=0.05) == b""
        own.close()
        made.make_tap("t2", os.geteuid())
        other = opened(made, "t2")
        all_of_it.send(FRAME)  # as the switch passes on what has come by the own trunk
        made.join_again("t1")
        answer = FRAME[6:12] + b"\x02\0\0\0\0\2" + FRAME[12:]
        other.send(answer)
        assert arrives(tap, answer) == answer
        other.close()
        tap.send(FRAME)
        assert arrives(all_of_it) == FRAME
    finally:
        tap.close()
        all_of_it.close()


@here
def test_tap_is_made_anew_and_removed_though_it_is_open(made: Bridge) -> None:
    made.make_tap("t1", os.geteuid())
    held = opened(made, "t1")
    try:
        made.make_tap("t1", os.geteuid())
        assert made.is_there("t1")
        made.remove_tap("t1")
        made.remove_tap("t1")
        assert not made.is_there("t1")
        assert not made.is_open("t1")
    finally:
        held.close()


@here
def test_frames_of_a_tap_and_of_all_are_seen(made: Bridge) -> None:
    made.make_tap("t1", os.geteuid())
    tap, trunk = opened(made, "t1"), made.trunk()
    try:
        with made.frames("t1") as of_one, made.frames() as of_all:
            tap.send(FRAME)
            assert arrives(trunk) == FRAME
            for frames in (of_one, of_all):
                assert frames.recv(2000) == FRAME
    finally:
        tap.close()
        trunk.close()


@here
def test_it_is_found_again_while_its_namespace_is_kept() -> None:
    with netns.make() as kept:
        first = Bridge("lan", _copy(kept))
        first.make_tap("t1", os.geteuid())
        first.close()
        second = Bridge("lan", _copy(kept))
        assert second.is_there("t1")
        second.remove()
        assert not second.is_there(second.name)
        second.close()


@here
def test_guest_cannot_have_it_know_any_number_of_addresses(made: Bridge) -> None:
    trunk = made.trunk()
    made.make_tap("t1", os.geteuid())
    tap = opened(made, "t1")
    try:
        until(lambda: made.is_open("t1"))
        for number in range(MAX_ADDRESSES + 500):
            tap.send(FRAME[:6] + b"\x02\1" + number.to_bytes(4, "big") + FRAME[12:])
        until(lambda: _LEARNED in made._ask(_GET_LINK, 1, made._index(made.name)))
        made._bound(made.name)  # as a switch does that finds it again
    finally:
        tap.close()
        trunk.close()


@here
def test_kernel_that_knows_no_bound_of_addresses_has_no_bridge(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bridge, "_IFLA_BR_FDB_MAX_LEARNED", 4000)  # which none knows
    before = os.listdir("/proc/self/fd")
    assert unable().startswith(bridge.NO_BOUND)
    assert os.listdir("/proc/self/fd") == before


@here
def test_what_many_taps_move_is_seen_of_each(made: Bridge) -> None:
    for number in range(50):  # more than the kernel tells at a time
        made.make_tap(f"t{number}", os.geteuid())
    assert {f"t{number}" for number in range(50)} <= set(made.traffic())


def _copy(kept: netns.NetworkNamespace) -> netns.NetworkNamespace:
    return netns.NetworkNamespace(os.dup(kept.net), os.dup(kept.user) if kept.user >= 0 else -1)


def test_who_forbids_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(namespaces.CHOICE, namespaces.SWITCH_ALONE)
    assert unable() == "UMLCTL_NETWORKS=switch"


def test_program_that_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert unable().startswith("there is no program nsenter")


def test_device_that_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    if unable():
        pytest.skip("this host has no such namespace")
    monkeypatch.setattr(bridge, "TUN_DEVICE", "/nowhere/tun")
    assert unable() == "/nowhere/tun: No such file or directory"


@here
def test_it_says_nothing_itself(made: Bridge) -> None:
    """As one would that looks for multicast routers."""
    no_snooping = b"\5\0\x17\0\0\0\0\0"
    assert no_snooping in made._ask(_GET_LINK, 1, made._index(made.name))
