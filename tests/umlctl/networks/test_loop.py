from __future__ import annotations

import itertools
import os
import select
import signal
import socket
import time
from contextlib import closing, contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from umlctl.networks import loop as module
from umlctl.networks.loop import Loop

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def loop() -> Iterator[Loop]:
    """One whose signals are given back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    with closing(Loop()) as made:
        yield made
    signal.set_wakeup_fd(-1)
    for number, handler in before.items():
        signal.signal(number, handler)


@contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_who_watches_is_called_with_what_has_happened(loop: Loop) -> None:
    seen: list[int] = []
    with pair() as (ours, theirs):

        def take(events: int) -> None:
            seen.append(events)
            if events & select.EPOLLRDHUP:
                loop.end()
            else:
                assert ours.recv(1) == b"a"
                theirs.close()

        loop.watch(ours.fileno(), select.EPOLLIN | select.EPOLLRDHUP, take)
        theirs.send(b"a")
        loop.run()
        loop.unwatch(ours.fileno())
    assert seen[0] == select.EPOLLIN
    assert seen[1] & select.EPOLLRDHUP


def test_descriptor_that_is_no_more_watched_is_left_alone(loop: Loop) -> None:
    """Also by what happened to it at the same time as to another."""
    called: list[int] = []
    with pair() as (a, b), pair() as (c, d):

        def take(one: socket.socket, other: socket.socket) -> None:
            called.append(one.fileno())
            loop.unwatch(other.fileno())
            loop.after(0, loop.end)

        loop.watch(a.fileno(), select.EPOLLIN, lambda _events: take(a, c))
        loop.watch(c.fileno(), select.EPOLLIN, lambda _events: take(c, a))
        b.send(b"x")
        d.send(b"x")
        loop.run()
        assert len(called) == 1
        loop.unwatch(called[0])


def test_events_are_others_once_it_says_so(loop: Loop) -> None:
    seen: list[int] = []
    with pair() as (ours, theirs):

        def take(events: int) -> None:
            seen.append(events)
            if len(seen) == 1:
                loop.rearm(ours.fileno(), select.EPOLLOUT)
            else:
                loop.end()

        loop.watch(ours.fileno(), select.EPOLLIN, take)
        theirs.send(b"a")
        loop.run()
        loop.unwatch(ours.fileno())
    assert seen == [select.EPOLLIN, select.EPOLLOUT]


def test_what_is_to_be_done_later_is_done_in_its_order_and_once(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = itertools.count(step=0.001)  # each look at the clock takes as long
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(now)))
    done: list[str] = []
    loop.after(0.02, lambda: done.append("last"))
    loop.after(0.02, loop.end)
    loop.after(0, lambda: done.append("first"))
    loop.after(0, lambda: loop.after(0, lambda: done.append("then")))
    loop.run()
    assert done == ["first", "then", "last"]


def test_what_is_to_be_done_later_is_not_done_sooner(loop: Loop) -> None:
    begun = time.monotonic()
    loop.after(0.02, loop.end)
    loop.run()
    assert time.monotonic() - begun >= 0.02


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_it(loop: Loop, number: int) -> None:
    loop.after(0, lambda: os.kill(os.getpid(), number))
    loop.run()
