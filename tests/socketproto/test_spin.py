from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from socketproto import spin
from socketproto.spin import CROWDED_SECONDS, RESPITE_SECONDS, readable_soon

if TYPE_CHECKING:
    from collections.abc import Iterator

    Pair = tuple[socket.socket, socket.socket]

DEADLINE = 30.0


class Clock:
    """Of the module: it stands still but for what a test says."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(spin, "monotonic", made)
    return made


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    monkeypatch.setattr(spin._Host, "busy_until", 0.0)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        yield ours, theirs


def test_what_is_there_is_seen_without_waiting(pair: Pair) -> None:
    pair[1].send(b"x")
    assert readable_soon(pair[0], 0.0)


def test_what_does_not_come_is_given_up(pair: Pair) -> None:
    assert not readable_soon(pair[0], 0.0002)


def test_processor_is_offered_until_it_comes(
    pair: Pair, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    offers = []

    def offer() -> None:
        offers.append(1)
        if len(offers) == 3:
            pair[1].send(b"x")

    monkeypatch.setattr(os, "sched_yield", offer)
    assert readable_soon(pair[0], DEADLINE)
    assert len(offers) == 3


def test_busy_machine_is_left_alone_for_a_while(
    pair: Pair, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    offers = []

    def keep() -> None:
        offers.append(1)
        clock.now += CROWDED_SECONDS * 2

    monkeypatch.setattr(os, "sched_yield", keep)
    for _ in range(5):
        assert not readable_soon(pair[0], 0.0002)
    assert len(offers) == 1
    clock.now += RESPITE_SECONDS
    assert not readable_soon(pair[0], 0.0002)
    assert len(offers) == 2
