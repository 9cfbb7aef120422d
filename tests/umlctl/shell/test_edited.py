"""The prompt with its line editor, at a terminal that is a pipe."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import trio
import trio_asyncio
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from umlctl.shell.edited import EditedShell
from umlctl.shell.monitor import GuestMonitor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator


@contextmanager
def typed(keys: str) -> Iterator[None]:
    with create_pipe_input() as terminal, create_app_session(terminal, DummyOutput()):
        terminal.send_text(keys)
        yield


def run(guest: str, keys: str, work: Callable[[EditedShell], Awaitable[None]]) -> None:
    """Type these keys at the prompt of a guest."""

    async def worked() -> None:
        with trio.fail_after(30), typed(keys):
            shell = EditedShell(guest)
            shell.live = GuestMonitor(guest, lambda: None, lambda _text: None)
            shell.begin(guest)
            await work(shell)

    trio_asyncio.run(worked)


@pytest.mark.usefixtures("house")
def test_line_is_what_was_typed() -> None:
    async def work(shell: EditedShell) -> None:
        assert await shell.ask_for_line() == "version"
        assert not shell.interrupted_ahead()
        assert await shell.ask_for_line() == "proc uptime"

    run("demo", "versions\x7f\rproc uptime\r", work)


@pytest.mark.usefixtures("house")
def test_ctrl_c_gives_up_a_line_and_ctrl_d_leaves() -> None:
    async def work(shell: EditedShell) -> None:
        assert await shell.ask_for_line() is None
        assert not shell.session.leaving
        assert await shell.ask_for_line() is None
        assert shell.session.leaving

    run("demo", "half-typed\x03\x04", work)


@pytest.mark.usefixtures("house")
def test_ctrl_c_right_behind_a_line_is_for_its_command() -> None:
    async def work(shell: EditedShell) -> None:
        assert await shell.ask_for_line() == "events"
        assert shell.interrupted_ahead()
        assert not shell.interrupted_ahead()
        assert await shell.ask_for_line() == "version"

    run("demo", "events\r\x03version\r", work)


@pytest.mark.usefixtures("house")
def test_pasted_lines_are_one_text() -> None:
    async def work(shell: EditedShell) -> None:
        assert await shell.ask_for_line() == "version\nproc uptime\n"

    run("demo", "\x1b[200~version\r\nproc uptime\r\n\x1b[201~\r", work)


@pytest.mark.parametrize(("keys", "says"), [("y\r", True), ("\r", False), ("\x03", False)])
@pytest.mark.usefixtures("house")
def test_person_is_asked(keys: str, says: bool) -> None:
    async def work(shell: EditedShell) -> None:
        assert await shell.confirm("Go on?") is says

    run("demo", keys, work)


@pytest.mark.usefixtures("house")
def test_prompt_has_the_guest_and_its_state(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(shell: EditedShell) -> None:
        shell.live.state = "running"
        assert shell._message()[2:] == [("ansigreen", "running"), ("", "> ")]
        monkeypatch.setenv("NO_COLOR", "1")
        assert shell._message() == [("", "demo running> ")]

    run("demo", "", work)

    async def nobody(shell: EditedShell) -> None:
        assert shell.prompt_text == "umlctl> "

    run("", "", nobody)


@pytest.mark.usefixtures("house")
def test_what_happens_while_a_command_runs_is_told_later() -> None:
    async def work(shell: EditedShell) -> None:
        shell.running = trio.CancelScope()
        shell.tell("later")
        assert shell.held == ["later"]

    run("demo", "", work)
