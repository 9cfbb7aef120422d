"""The client of a capture, at real switches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.switches import BROADCAST, Guest, frame, kill, lock_holder, mac, place, until
from umlctl.errors import HostError
from umlctl.networks import capture as module
from umlctl.networks import segments
from umlctl.networks.capture import Capture
from umlctl.networks.packet_filter import compile_filter

if TYPE_CHECKING:
    from umlctl.networks.captured import Captured

__all__ = ["place"]


def take(capture: Capture) -> Captured:
    found: list[Captured] = []

    def taken() -> bool:
        try:
            found.append(capture.receive())
        except BlockingIOError:
            return False
        return True

    until(taken)
    return found[0]


def test_frames_come_and_a_filter_holds_others_back(place: str) -> None:
    segment = segments.start("lan")
    capture = Capture("lan", 0, compile_filter(["ether", "src", "02:00:00:00:00:02"]))
    with Guest(segment) as guest:
        guest.send(frame(BROADCAST, mac(1)))
        guest.send(frame(BROADCAST, mac(2), b"x"))
        assert take(capture).frame == frame(BROADCAST, mac(2), b"x")
    capture.close()


def test_length_in_a_filter_is_the_frames(place: str) -> None:
    segment = segments.start("lan")
    capture = Capture("lan", 0, compile_filter(["less", "60", "and", "ether[12:2]", "=", "2048"]))
    with Guest(segment) as guest:
        guest.send(frame(BROADCAST, mac(1), bytes(47)))
        guest.send(frame(BROADCAST, mac(1), bytes(46)))
        assert take(capture).frame == frame(BROADCAST, mac(1), bytes(46))
    capture.close()


def test_next_switch_of_a_network_is_captured_too(place: str) -> None:
    segment = segments.start("lan", idle=600)
    capture = Capture("lan", 0, [])
    killed = lock_holder("lan")
    kill("lan")
    segments.revive("lan")
    assert lock_holder("lan") != killed
    with pytest.raises(BlockingIOError):
        capture.receive()  # it has turned to the other
    with Guest(segment) as guest:
        guest.send(frame(BROADCAST, mac(1)))
        assert take(capture).frame == frame(BROADCAST, mac(1))
    assert (capture.lost, capture.switch) == (0, 1)
    capture.close()


def test_network_that_has_ended_is_the_end(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REVIVE_TIMEOUT", 0.1)
    segment = segments.start("lan", idle=600)
    capture = Capture("lan", 0, [])
    segment.quit()
    with pytest.raises(EOFError):
        take(capture)
    capture.close()


def test_network_that_does_not_run_is_said(place: str) -> None:
    with pytest.raises(HostError, match="network lan does not run"):
        Capture("lan", 0, [])


def test_refusal_of_the_switch_is_said(place: str) -> None:
    segments.start("lan", idle=600)
    with pytest.raises(HostError, match="network lan: no such request"):
        Capture("lan", -1, [])
