"""A supervisor that answers what it is told to, and the command line in front of it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from socketproto.exchange import ANSWERED, Outcome, pieces
from umlctl.cli import foreground, main
from umlctl.client import background, dependencies
from umlctl.guest.definition import Definition, decode
from umlctl.kernels import find
from umlctl.protocol.status import Ending

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.conftest import Address, Bare

    Boot = Callable[..., Definition]


class Supervisor:
    """The supervisor of the guest `demo`.

    Fields:
        table: what it answers to `devices`
        answers: what it answers to other texts, with an error
        code, out, err: of the last command line
    """

    def __init__(self, bare: Callable[..., Bare], capfd: pytest.CaptureFixture[str]) -> None:
        self.table: list[dict[str, Any]] = []
        self.answers: dict[str, tuple[bytes, int]] = {}
        self.code = 0
        self.out = self.err = ""
        self.server = bare(self._answer, name="h/.uml/demo/mconsole", mode=0o600)
        self._capfd = capfd

    def _answer(self, _server: Bare, data: bytes, _address: Address) -> Iterable[bytes]:
        text = data.decode()
        default = (msgspec.json.encode(self.table), 0) if text == "devices" else (b"", 0)
        return [reply.encode() for reply in pieces(*self.answers.get(text, default))]

    def answer(self, text: str, value: object) -> None:
        """Answer this text with JSON."""
        self.answers[text] = (msgspec.json.encode(value), 0)

    def refuse(self, text: str, said: str, error: int) -> None:
        self.answers[text] = (said.encode(), error)

    @property
    def asked(self) -> list[str]:
        return [data.decode() for data in self.server.commands]

    def main(self, *words: str) -> int:
        """Run a command line."""
        self.code = main.run(list(words))
        sys.stdout.flush()
        self.out, self.err = self._capfd.readouterr()
        return self.code


@pytest.fixture
def supervisor(
    house: str,
    bare: Callable[..., Bare],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Supervisor:
    os.makedirs(f"{house}/h/.uml/demo")
    monkeypatch.chdir(house)
    return Supervisor(bare, capfd)


class Started:
    """What `run` and `start` would have booted, and what is printed."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self.definitions: list[Definition] = []
        self.code = 0
        self.answer: dict[str, Any] = {
            "code": 0,
            "status": {"state": "running", "pid": 4711},
            "text": "",
        }
        self.commands: list[str] = []
        self._capfd = capfd
        self.out = self.err = ""

    def main(self, *words: str) -> int:
        code = main.run(list(words))
        sys.stdout.flush()
        self.out, self.err = self._capfd.readouterr()
        return code

    def supervise(
        self, definition: Definition, log: foreground.Log, wishes: foreground.ForegroundOptions
    ) -> Ending:
        assert wishes._replace(copy=None) == foreground.ForegroundOptions()
        assert not log.in_json
        self.definitions.append(definition)
        return Ending(cause="exited", code=self.code)

    def ask_supervisor(self, command: str) -> Outcome:
        self.commands.append(command)
        verb, path = command.replace("no-wait ", "").split(" ", 1)
        assert verb == "start"
        assert os.stat(path).st_mode == 0o100600
        with open(path, "rb") as file:
            self.definitions.append(decode(file.read()))
        return Outcome(ANSWERED, data=msgspec.json.encode(self.answer))


@pytest.fixture
def started(
    house: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Started:
    made = Started(capfd)
    monkeypatch.chdir(house)
    monkeypatch.setattr(find, "find", lambda name=None: name or "/usr/bin/linux.uml")
    config = {"UML": "y", "UML_NET_MCAST": "y"}
    plain = find.ProbedKernel("/usr/bin/linux.uml", "6.1.176", frozenset({"eth"}), config)
    monkeypatch.setattr(find, "probe", lambda _path, _user="": plain)
    monkeypatch.setattr(foreground, "supervise", made.supervise)
    monkeypatch.setattr(background, "ask_supervisor", made.ask_supervisor)
    monkeypatch.setattr(dependencies, "await_earlier", lambda _definition: None)
    return made


@pytest.fixture
def boot(started: Started) -> Boot:
    """The definition that `umlctl run WORDS` and `umlctl start WORDS` agree on."""

    def boot(*words: str) -> Definition:
        for verb in ("run", "start"):
            assert started.main(verb, *words) == 0, started.err
        one, other = started.definitions[-2:]
        assert one == other
        return one

    return boot


class Run:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err


@pytest.fixture
def run(house: str, capfd: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    def run(*arguments: str) -> Run:
        code = main.run(list(arguments))
        sys.stdout.flush()
        return Run(code, *capfd.readouterr())

    return run
