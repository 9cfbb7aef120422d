from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from umlctl import exitcodes
from umlctl.protocol.commands import BY_NAME, COMMANDS, HOST, SYSRQ

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.umlctl.cli.conftest import Run, Supervisor

VERBS = [c.name for c in COMMANDS if c.served != HOST and not c.own_face]


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_says_what_the_table_says(run: Callable[..., Run], verb: str) -> None:
    command = BY_NAME[verb]
    text = " ".join(run(verb, "--help").out.split())
    assert command.help[1:] in text
    assert command.danger in text
    assert "GUEST" in text
    for option in ("--json", "--timeout SECONDS"):
        assert option in text
    for word in command.args.replace("...", "").split():
        assert word in text


def test_help_of_sysrq_lists_the_letters(run: Callable[..., Run]) -> None:
    text = run("sysrq", "--help").out
    for letter, meaning in SYSRQ.items():
        assert f"{letter}  {meaning}\n" in text


@pytest.mark.parametrize("name", VERBS)
def test_force_is_shown_where_there_is_something_to_insist_on(
    run: Callable[..., Run], name: str
) -> None:
    out = run(name, "--help").out
    if name in ("version", "help", "wait", "status", "stack", "devices", "go", "log", "shutdown"):
        assert "--force" not in out
    elif name in ("proc", "sysrq", "config", "remove", "plug"):
        assert "--force" in out
    assert "1000000000" not in out


def test_command_line_that_the_short_road_does_not_take_is_sent_all_the_same(
    supervisor: Supervisor,
) -> None:
    """As with an option in between whose value stands behind `=`."""
    supervisor.answers["log hello --json"] = (b"", 0)
    assert supervisor.main("log", "--timeout=9", "demo", "hello", "--", "--json") == exitcodes.OK
    assert supervisor.asked == ["log hello --json"]


def test_guest_has_to_be_named(supervisor: Supervisor) -> None:
    for name in ("version", "shutdown"):
        assert supervisor.main(name) == exitcodes.USAGE
        assert "GUEST" in supervisor.err
    assert supervisor.asked == []
