"""What is asked of slirp4netns; with the real one in test_slirp."""

from __future__ import annotations

import json
import socket
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from umlctl.networks.forwards import parse_forward
from umlctl.networks.slirp_question import ANSWER_TIMEOUT, Question

if TYPE_CHECKING:
    from collections.abc import Callable


class Turns:
    """A switch, and its loop, whose turns a test takes.

    Fields:
        due: what is to be done later, by its delay
        ready: what is to be done when something can be read
    """

    def __init__(self) -> None:
        self.loop = self
        self.due: dict[float, Callable[[], None]] = {}
        self.ready: dict[int, Callable[[int], None]] = {}

    def after(self, delay: float, call: Callable[[], None]) -> None:
        self.due[delay] = call

    def watch(self, fd: int, _events: int, call: Callable[[int], None]) -> None:
        self.ready[fd] = call

    def unwatch(self, fd: int) -> None:
        del self.ready[fd]


def asking(path: str) -> tuple[Turns, list[str | None]]:
    turns, told = Turns(), list[str | None]()
    asked = parse_forward("8080:80")
    Question(turns, lambda: path, asked, "10.0.2.15", told.append)  # type: ignore[arg-type]
    return turns, told


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b'{"return": {"id": 1}}', None),
        (b'{"error": {"desc": "bad port"}}', "bad port"),
        (b"[", "an answer that makes no sense"),
    ],
)
def test_answer_is_told(short: str, said: bytes, error: str | None) -> None:
    turns, told = asking(f"{short}/api")
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(f"{short}/api")
        listener.listen()
        turns.due[0]()
        with closing(listener.accept()[0]) as connection, connection.makefile("rb") as file:
            asked = json.loads(file.read())
            connection.sendall(said)
    assert asked["arguments"]["guest_addr"] == "10.0.2.15"
    while not told:
        (ready,) = turns.ready.values()
        ready(0)
    assert (told[0] or "None").endswith(str(error))
    assert not turns.ready


def test_program_that_says_nothing_is_given_up(short: str) -> None:
    turns, told = asking(f"{short}/api")
    turns.due[0]()
    turns.due[ANSWER_TIMEOUT]()
    (error,) = told
    assert error is not None
    assert error.endswith("slirp4netns: its socket was removed")
