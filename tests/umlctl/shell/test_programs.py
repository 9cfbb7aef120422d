from __future__ import annotations

import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from umlctl import exitcodes
from umlctl.host import processes
from umlctl.shell import programs

if TYPE_CHECKING:
    from collections.abc import Iterator

DEADLINE = 30.0


async def test_program_has_its_input_and_its_status(capfd: pytest.CaptureFixture[str]) -> None:
    assert await programs.run("cat; exit 3", b"said\n") == 3
    assert capfd.readouterr().out == "said\n"
    assert await programs.run("kill -TERM $$") == exitcodes.SIGNALLED + signal.SIGTERM


async def test_script_is_not_the_input_of_a_program(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Script:
        def isatty(self) -> bool:
            return False

    monkeypatch.setattr(sys, "stdin", Script())
    assert await programs.run("cat") == 0
    assert capfd.readouterr().out == ""


async def test_reader_may_end_before_it_has_read_all() -> None:
    assert await programs.run("head -c 1 >/dev/null", b"x" * (1 << 20)) == 0


async def test_output_can_be_a_file_and_the_pid_is_told(house: str) -> None:
    told: list[int] = []
    with open(f"{house}/said", "wb") as file:
        assert await programs.run("echo $$", b"", file.fileno(), told.append) == 0
    with open(f"{house}/said") as text:
        assert text.read() == f"{told[0]}\n"


@pytest.fixture
def ends() -> Iterator[list[int]]:
    """The reader's end of a pipe, and the writer's, which is closed when it is taken out."""
    made = list(os.pipe())
    yield made
    for end in made:
        os.close(end)


async def give_up(command: str, ends: list[int]) -> None:
    """Run a program with its output to the pipe, and give it up as soon as it has begun."""
    with trio.move_on_after(DEADLINE) as scope:
        await programs.run(command, b"", ends[1], lambda _pid: scope.cancel())
    assert scope.cancelled_caught
    os.close(ends.pop())
    assert select.select(ends, [], [], DEADLINE)[0], "somebody holds the other end"
    assert os.read(ends[0], 1) == b""


async def test_program_that_is_given_up_ends_with_those_that_it_has_started(
    ends: list[int],
) -> None:
    await give_up("sleep 600 | sleep 600; echo", ends)


async def test_program_that_starts_another_as_it_is_given_up_ends_with_that(
    house: str, ends: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look for those that it has started and its end."""
    real = processes.descendants

    def look(pid: int) -> list[int]:
        found = real(pid)
        Path(f"{house}/go").touch()
        while (seen := processes.look(pid)) and seen.state == "running" and real(pid) == found:
            time.sleep(0.002)
        return found

    monkeypatch.setattr(processes, "descendants", look)
    await give_up(f"while [ ! -e {house}/go ]; do :; done; sleep 600; echo", ends)
