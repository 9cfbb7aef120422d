from __future__ import annotations

import math
import socket
from typing import TYPE_CHECKING

import pytest

from socketproto.wire import PANIC, SOCKET, USER, Notification
from tests.umlctl.state.test_records import record
from umlctl.supervisor.relayed import RETRY_INTERVAL, Relayed

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def program(short: str) -> Iterator[socket.socket]:
    """A program that hears what a kernel notifies."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as program:
        program.bind(f"{short}/n")
        yield program


def test_program_hears_what_the_kernel_says_and_asks_the_supervisor(
    short: str, program: socket.socket
) -> None:
    made = record("demo", relay=f"{short}/n", place="/x/demo")
    relayed = Relayed(made)
    for each in (Notification(PANIC, b"oh\0"), Notification(SOCKET, b"/k/demo/mconsole\0")):
        relayed.hand_on(each.encode())
    relayed.hand_on(b"no notification")
    assert program.recv(1024) == Notification(PANIC, b"oh\0").encode()
    assert program.recv(1024) == Notification(SOCKET, b"/x/demo/mconsole\0").encode()
    assert program.recv(1024) == b"no notification"
    assert relayed.wait() == math.inf


def test_what_the_program_does_not_take_is_tried_again(short: str, program: socket.socket) -> None:
    relayed = Relayed(record("demo", relay=f"{short}/n"))
    for _ in range(100):
        relayed.hand_on(Notification(USER, b"x").encode())
    assert relayed.wait() == RETRY_INTERVAL
    for _ in range(100):
        assert Notification.decode(program.recv(1024)).data == b"x"
        relayed.wait()
    assert relayed.wait() == math.inf


def test_nobody_is_told_unless_somebody_wants_it() -> None:
    relayed = Relayed(record("demo"))
    relayed.hand_on(Notification(USER, b"x").encode())
    assert relayed.wait() == math.inf
