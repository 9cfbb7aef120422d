from __future__ import annotations

import click
import pytest

from umlctl.cli.run import run
from umlctl.cli.start import start
from umlctl.guest.definition import Definition
from umlctl.guest.options import BY_NAME, FIELDS, OPTIONS

NOT_ASKED = {"umid", "arguments", "cwd", "home", "named"}
"""What of a definition is no option."""


@pytest.mark.parametrize("command", [run, start], ids=lambda command: str(command.name))
def test_each_option_is_one_of_both_commands(command: click.Command) -> None:
    declared = {param.name: param for param in command.params}
    for option in OPTIONS:
        param = declared[option.field]
        assert f"--{option.name}" in param.opts
        assert param.get_default(click.Context(command)) == option.absent


def test_what_a_definition_has_can_be_asked_for() -> None:
    asked = {option.field for option in OPTIONS} - {"profile", "force"}
    assert set(Definition.__struct_fields__) == FIELDS
    assert asked == FIELDS - NOT_ASKED


def test_names_are_told_apart() -> None:
    assert len(BY_NAME) == len(OPTIONS)
    for option in OPTIONS:
        assert bool(option.choices) == (option.kind == "choice")
