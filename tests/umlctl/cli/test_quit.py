from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from socketproto.exchange import pieces
from tests.conftest import DEADLINE
from umlctl import exitcodes
from umlctl.cli import main
from umlctl.client import background
from umlctl.host import paths

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Address, Bare

    MakeBare = Callable[..., Bare]


def test_quit_without_a_supervisor_is_done(house: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main.run(["quit"]) == 0
    assert capfd.readouterr().out == "no background supervisor is running\n"


@pytest.mark.parametrize(
    ("words", "answers", "code", "said"),
    [
        ("quit", True, 0, "the background supervisor has ended, and its guests before it"),
        ("quit --leave-guests", False, 0, "has ended, and its guests run on: see `umlctl adopt`"),
        ("quit", False, exitcodes.GONE, "umlctl: quit: guest gone"),
    ],
)
def test_supervisor_is_told_to_end(
    house: str,
    bare: MakeBare,
    capfd: pytest.CaptureFixture[str],
    words: str,
    answers: bool,
    code: int,
    said: str,
) -> None:
    def end(server: Bare, _data: bytes, _address: Address) -> list[bytes]:
        if answers:
            return [each.encode() for each in pieces(b"", 0)]
        server.unbind(remove=False)
        return []

    paths.make_run_dir()
    name = os.path.relpath(paths.supervisor_socket(), house)
    server = bare(end, name=name, mode=0o600)
    assert main.run(words.split()) == code
    assert said in "".join(capfd.readouterr())
    assert server.commands[0] == (b"quit" if words == "quit" else b"quit leave")


def test_supervisor_that_ends_by_itself_just_now_is_awaited(
    house: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds its lock for a moment without a socket."""
    pids = [4711, 4711, 0]
    monkeypatch.setattr(background, "END_TIMEOUT", DEADLINE)
    monkeypatch.setattr(background, "pid", lambda: pids.pop(0))
    assert main.run(["quit"]) == 0
    assert capfd.readouterr().out == "no background supervisor is running\n"
    assert pids == []


def test_supervisor_that_makes_its_directory_anew_is_told_to_end_then(
    house: str, bare: MakeBare, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths.make_run_dir()
    servers: list[Bare] = []

    def pid() -> int:
        if not servers:
            name = os.path.relpath(paths.supervisor_socket(), house)
            servers.append(bare(name=name, mode=0o600))
        return 4711

    monkeypatch.setattr(background, "pid", pid)
    assert main.run(["quit"]) == 0
    assert servers[0].commands == [b"quit"]
