"""Why a command was not run in a guest, or is over, in words."""

from __future__ import annotations

import os
from errno import ENOENT
from typing import TYPE_CHECKING

from umlctl import exitcodes
from umlctl.guest import command as commands

if TYPE_CHECKING:
    from umlctl.guest.command import Step
    from umlctl.protocol.control_line import Said


def late_text(limit: float | None) -> str:
    """That a command's time was up; limit: of it, seconds; None: somebody has ended it."""
    return "told to end" if limit is None else f"not over within {limit:g} seconds"


def not_executed(said: Said, name: str) -> tuple[int, str]:
    """The exit code of a command that could not be executed, and why it could not."""
    number = exitcodes.NO_COMMAND if said.numbers[0] == ENOENT else exitcodes.NOT_EXECUTED
    return number, f"{name}: {_strerror(said.numbers[0])}"


def why_unprepared(said: Said, todo: list[Step]) -> str:
    """Why there was no guest to run a command in."""
    if said.word == "nowhere":
        problem = _strerror(said.numbers[0])
        return f"the guest cannot enter the directory: {problem}; --cwd names one"
    if said.word == "failed":
        index, number = said.numbers
        return commands.explain(todo, index, number, _strerror(number))
    return "what had to be done before the command has failed; the end of the guest's log:"


def _strerror(number: int) -> str:
    return os.strerror(number) if number < 4096 else str(number)
