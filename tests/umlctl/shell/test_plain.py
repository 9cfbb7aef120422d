from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import trio

from umlctl.shell import plain
from umlctl.shell.monitor import GuestMonitor
from umlctl.shell.plain import PlainShell

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def typing(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Where lines are typed."""
    reading, writing = os.pipe()
    monkeypatch.setattr(plain, "STDIN", reading)
    yield writing
    os.close(reading)
    os.close(writing)


@pytest.fixture
def shell() -> PlainShell:
    made = PlainShell("demo")
    made.live = GuestMonitor("demo", made.redraw, made.tell)
    made.live.state = "running"
    return made


async def test_lines_come_one_after_the_other(
    typing: int, shell: PlainShell, capfd: pytest.CaptureFixture[str]
) -> None:
    os.write(typing, b"version\nproc upt")
    assert await shell.ask_for_line() == "version"
    os.write(typing, b"ime\ny\nno\n")
    assert await shell.ask_for_line() == "proc uptime"
    assert await shell.confirm("Go on?")
    assert not await shell.confirm("Go on?")
    asked = "demo running> "
    assert capfd.readouterr().out == f"{asked}{asked}Go on? [y/N] Go on? [y/N] "
    assert not shell.interrupted_ahead()


@pytest.mark.parametrize("how", ["interrupt", "leave"])
async def test_half_typed_line_is_given_up(typing: int, shell: PlainShell, how: str) -> None:
    os.write(typing, b"half-typed")
    got: list[str | None] = []
    async with trio.open_nursery() as nursery:

        async def ask() -> None:
            got.append(await shell.ask_for_line())

        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        getattr(shell, how)()
    os.write(typing, b"version\n")
    assert await shell.ask_for_line() == "version"
    assert got == [None]


async def test_end_of_input_leaves(monkeypatch: pytest.MonkeyPatch, shell: PlainShell) -> None:
    reading, writing = os.pipe()
    os.close(writing)
    monkeypatch.setattr(plain, "STDIN", reading)
    assert await shell.ask_for_line() is None
    assert shell.session.leaving
    os.close(reading)


async def test_what_happens_is_told_above_the_line(
    typing: int, shell: PlainShell, capfd: pytest.CaptureFixture[str]
) -> None:
    shell.tell("before")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shell.ask_for_line)
        await trio.testing.wait_all_tasks_blocked()
        shell.tell("meanwhile")
        shell.running = trio.CancelScope()
        shell.tell("later")
        os.write(typing, b"\n")
    asked = "demo running> "
    assert capfd.readouterr().out == f"* before\n{asked}\n* meanwhile\n{asked}"
    assert shell.held == ["later"]
