"""A supervisor that answers what it is told to, and the command line in front of it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from socketproto.exchange import pieces
from umlctl.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.conftest import Address, Bare


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
