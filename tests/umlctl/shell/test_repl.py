"""A line is asked for, done, and the next one asked for."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
import trio

from umlctl.shell.repl import Shell

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.umlctl.cli.conftest import Supervisor


class Typed(Shell):
    """A prompt at which these lines are typed; a signal before one is sent to this process.

    Fields:
        says: the answer to each question
        asked: the questions
        told: what was told
        begun: the guests whose prompt was begun
    """

    def __init__(self, guest: str, lines: Iterable[str | int], *, says: bool = True) -> None:
        super().__init__(guest, fancy=False)
        self.lines = list(lines)
        self.says = says
        self.asked: list[str] = []
        self.told: list[str] = []
        self.begun: list[str] = []
        self.ahead = False

    async def work(self) -> None:
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.heed_signals)
                while not self.session.leaving:
                    await self.talk()
                nursery.cancel_scope.cancel()

    def begin(self, guest: str) -> None:
        self.begun.append(guest)

    async def ask_for_line(self) -> str | None:
        await trio.lowlevel.checkpoint()
        if not self.lines:
            self.session.leaving = True
            return None
        line = self.lines.pop(0)
        assert isinstance(line, str)
        return line

    def interrupted_ahead(self) -> bool:
        return self.ahead

    async def confirm(self, question: str) -> bool:
        self.asked.append(question)
        return self.says

    def interrupt(self) -> None:
        self.lines = []

    def leave(self) -> None:
        self.lines = []

    def redraw(self) -> None:
        pass

    def tell(self, text: str) -> None:
        if self.running is not None:
            self.held.append(text)
        else:
            self.told.append(text)


@pytest.fixture(autouse=True)
def answers(supervisor: Supervisor) -> None:
    supervisor.answer("status", {"umid": "demo", "state": "running"})
    supervisor.answers["version"] = (b"Linux demo", 0)


def asked(supervisor: Supervisor) -> list[str]:
    """What was asked by lines: the prompt itself asks for these."""
    return [text for text in supervisor.asked if text not in ("status", "events", "proc 1/mounts")]


async def test_lines_are_done_until_one_leaves(supervisor: Supervisor) -> None:
    shell = Typed("demo", ["version; proc uptime", "nonsense", "version", "quit", "version"])
    await shell.work()
    assert asked(supervisor) == ["version", "proc uptime", "version"]
    assert shell.asked == []


@pytest.mark.parametrize("says", [True, False])
async def test_pasted_commands_are_done_once_a_person_wants_all_of_them(
    supervisor: Supervisor, says: bool
) -> None:
    shell = Typed("demo", ["version\nproc uptime\n", "stack 1\n", "# no\n\n"], says=says)
    await shell.work()
    assert shell.asked == ["2 commands, the first is `version`. Do them all?"]
    assert asked(supervisor) == [*["version", "proc uptime"] * says, "stack 1"]


async def test_line_that_is_given_up_ahead_is_not_done(
    supervisor: Supervisor, capfd: pytest.CaptureFixture[str]
) -> None:
    shell = Typed("demo", ["version"])
    shell.ahead = True
    await shell.work()
    assert asked(supervisor) == []
    assert "given up" in capfd.readouterr().err


async def test_prompt_is_begun_for_another_guest(house: str) -> None:
    os.makedirs(f"{house}/h/.uml/other")
    os.symlink(f"{house}/h/.uml/demo/mconsole", f"{house}/h/.uml/other/mconsole")
    shell = Typed("", ["version", "switch other", "@demo version"])
    await shell.work()
    assert shell.begun == ["", "other"]
    assert shell.prompt_text.startswith("other ")


async def test_what_stands_before_a_line() -> None:
    shell = Typed("", [])
    await shell.work()
    assert shell.prompt_text == "umlctl> "


async def test_ctrl_c_gives_up_the_command_that_runs_and_sigterm_the_prompt(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    signals = iter([signal.SIGINT, signal.SIGTERM])

    async def forever(_words: object) -> None:
        os.kill(os.getpid(), next(signals))
        await trio.sleep_forever()

    shell = Typed("demo", ["endless", "endless", "version"])
    monkeypatch.setattr(shell.session, "obey", forever)
    shell.held = ["earlier"]
    await shell.work()
    assert shell.told == ["earlier"]
    assert asked(supervisor) == []
    assert capfd.readouterr().err.count("given up") == 2
