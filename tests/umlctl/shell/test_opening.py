"""Scripts, and which guest a prompt is opened for."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest
import trio

from umlctl import exitcodes
from umlctl.errors import HostError
from umlctl.shell import opening
from umlctl.shell.opening import run

if TYPE_CHECKING:
    from tests.umlctl.shell.conftest import At


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Any:
    def lines(*texts: str) -> None:
        monkeypatch.setattr(sys, "stdin", iter(texts))

    class Input(list[str]):
        def isatty(self) -> bool:
            return False

    def given(*texts: str) -> None:
        monkeypatch.setattr(sys, "stdin", Input(texts))

    return given


def test_script_ends_at_the_first_failure(at: At, lines: Any) -> None:
    lines("version\n", "remove ubd7\n", "proc meminfo\n")
    assert run("demo") == exitcodes.REFUSED
    assert at.supervisor.asked == ["version", "remove ubd7"]


def test_script_may_go_on_and_has_failed_all_the_same(at: At, lines: Any) -> None:
    lines("remove ubd7\n", "nonsense\n", "version; quit\n", "version\n")
    assert run("demo", keep_going=True) == exitcodes.REFUSED
    assert at.supervisor.asked == ["remove ubd7", "version"]


def test_commands_of_the_command_line(at: At) -> None:
    assert run("demo", commands="version; remove ubd7; version") == exitcodes.REFUSED
    assert at.supervisor.asked == ["version", "remove ubd7"]
    assert run("demo", commands="log 'a; b'") == 0
    assert at.supervisor.asked[-1] == "log a; b"


def test_only_guest_is_chosen(at: At) -> None:
    at.supervisor.answer("status", {"umid": "demo", "state": "running"})
    assert run(None, commands="version") == 0


def test_no_guest_is_said(house: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(None, commands="version") == exitcodes.NO_GUEST
    assert "no guest runs; `start NAME` boots one" in capfd.readouterr().err


def test_script_without_a_guest_may_say_which_with_each_command(at: At, lines: Any) -> None:
    """A dead guest is no one to talk to."""
    lines("@demo version\n", "help\n", "@demo proc meminfo\n", "version\n", "@demo version\n")
    assert run(None) == exitcodes.NO_GUEST
    assert at.supervisor.asked[-2:] == ["version", "proc meminfo"]


@pytest.mark.parametrize(
    "problem", [PermissionError("no way in"), HostError("no disk left"), TypeError("a mistake")]
)
def test_what_goes_wrong_in_the_prompt_arrives_as_what_it_is(
    at: At, monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    async def fails(*_words: object) -> None:
        async with trio.open_nursery() as outer, trio.open_nursery() as inner:
            outer.start_soon(trio.sleep_forever)
            inner.start_soon(trio.sleep_forever)
            raise problem

    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setattr(opening, "terminal_kept", nullcontext)
    monkeypatch.setattr(opening, "_greet", lambda _guest: None)
    monkeypatch.setattr(opening, "_interactive", fails)
    with pytest.raises(type(problem)) as seen:
        run("demo")
    assert seen.value is problem
