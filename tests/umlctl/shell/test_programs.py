from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import trio

from umlctl import exitcodes
from umlctl.shell import programs

if TYPE_CHECKING:
    import pytest


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


async def test_program_that_is_given_up_ends_with_those_that_it_has_started() -> None:
    reading, writing = os.pipe()
    try:
        with trio.move_on_after(30) as scope:
            async with trio.open_nursery() as nursery:

                async def run() -> None:
                    command = f"sleep 600 | sleep 600; echo {writing}"
                    await programs.run(command, b"", writing, lambda _pid: scope.cancel())

                nursery.start_soon(run)
        assert scope.cancelled_caught
        os.close(writing)
        writing = -1
        assert os.read(reading, 1) == b"", "nobody holds the other end"
    finally:
        os.close(reading)
        if writing >= 0:
            os.close(writing)
