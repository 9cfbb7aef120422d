from __future__ import annotations

import click
import pytest

from umlctl.cli.exec import execute
from umlctl.cli.exec_options import OPTIONS, Executing, guest_options
from umlctl.cli.test import run_tests
from umlctl.guest.overlay import IN_MEMORY


def declared(command: click.Command) -> dict[str, tuple[str, ...]]:
    return {
        param.name or "": (*param.opts, str(getattr(param, "help", "")))
        for param in command.params
        if isinstance(param, click.Option)
    }


def test_options_are_the_same_wherever_they_are() -> None:
    @click.command()
    @guest_options
    def alone() -> None:
        """Nothing."""

    shared = declared(alone)
    assert len(shared) == len(OPTIONS)
    for command in (execute, run_tests):
        assert shared.items() <= declared(command).items()


def test_words_behind_the_dashes_are_the_commands() -> None:
    seen = []

    @click.command(cls=Executing)
    @click.argument("words", nargs=-1)
    @guest_options
    def command(words: tuple[str, ...], **options: object) -> None:
        seen.append((words, options["mem"], options["kept"], options["readonly"]))

    command.main(
        ["--mem", "64M", "--overlay", "--ro", "--", "ls", "--mem", "--", "-l"],
        standalone_mode=False,
    )
    assert seen == [(("ls", "--mem", "--", "-l"), "64M", IN_MEMORY, True)]
    with pytest.raises(click.UsageError, match="before `--`"):
        command.main(["ls", "--", "-l"], standalone_mode=False)
