from __future__ import annotations

import os

import msgspec
import pytest

from socketproto.exchange import ANSWERED, Outcome
from umlctl.client import background
from umlctl.client.start import start
from umlctl.errors import HostError
from umlctl.guest.definition import Definition, decode
from umlctl.host import paths
from umlctl.protocol.starting import Started
from umlctl.protocol.status import Status

DEMO = Definition(umid="demo", kernel="/linux", mem=64 << 20)
UP = Started(code=0, status=Status(umid="demo", state="running", pid=7))


class Supervisor:
    """Takes definitions, and answers as it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answer = msgspec.json.encode(UP)
        self.problem: HostError | None = None
        self.taken: list[tuple[list[str], Definition]] = []
        monkeypatch.setattr(background, "ask_supervisor", self._ask)

    def _ask(self, command: str) -> Outcome:
        *words, path = command.split(" ")
        assert os.stat(path).st_mode == 0o100600
        with open(path, "rb") as file:
            self.taken.append((words, decode(file.read())))
        if self.problem is not None:
            raise self.problem
        return Outcome(ANSWERED, data=self.answer)


@pytest.fixture
def supervisor(house: str, monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    return Supervisor(monkeypatch)


def test_definition_is_handed_over_whole(supervisor: Supervisor) -> None:
    assert start(DEMO) == UP
    assert supervisor.taken == [(["start"], DEMO)]
    start(DEMO, wait=False)
    assert supervisor.taken[1] == (["start", "no-wait"], DEMO)


def test_nothing_is_left_behind_whatever_happens(supervisor: Supervisor) -> None:
    before = os.listdir(paths.make_run_dir())
    supervisor.problem = HostError("it did not start")
    with pytest.raises(HostError, match="it did not start"):
        start(DEMO)
    assert os.listdir(paths.run_dir()) == before


@pytest.mark.parametrize("answer", [b"", b"[]", b"started", b"\xff", b'{"code": 0}'])
def test_answer_that_is_none_is_an_error(supervisor: Supervisor, answer: bytes) -> None:
    supervisor.answer = answer
    with pytest.raises(HostError, match="start demo: "):
        start(DEMO)
