from __future__ import annotations

import pytest

from umlctl.commands import BY_NAME, COMMANDS, GUEST, HOST, KERNEL, SYSRQ, Command


def test_names_are_unique_words() -> None:
    assert len(BY_NAME) == len(COMMANDS)
    for command in COMMANDS:
        assert command.name.isascii()
        assert command.name.isalpha()
        assert command.name.islower()


def test_table_has_every_command_of_the_kernel_and_no_other() -> None:
    """arch/um/drivers/mconsole_kern.c"""
    kernel = {command.name for command in COMMANDS if command.served == KERNEL}
    assert kernel == {
        *("version", "halt", "reboot", "config", "remove", "sysrq", "help"),
        *("cad", "stop", "go", "log", "proc", "stack"),
    }


def test_supervisors_have_what_the_protocol_promises() -> None:
    served = {
        place: {command.name for command in COMMANDS if command.served == place}
        for place in (GUEST, HOST)
    }
    assert served == {
        GUEST: {"status", "events", "wait", "shutdown", "kill", "plug", "devices"},
        HOST: {"start", "adopt", "autostart", "list", "quit"},
    }


def test_no_name_begins_another() -> None:
    """The kernel takes the first command that is a prefix."""
    for one in BY_NAME:
        assert not [other for other in BY_NAME if other != one and other.startswith(one)]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_help_is_one_line_and_the_example_fits(command: Command) -> None:
    assert 10 < len(command.help) < 72
    assert "\n" not in command.help
    assert not command.help.endswith(".")
    words = command.example.split()
    if command.served != HOST:
        assert len(words) >= command.required
    if not command.takes_rest:
        assert len(words) <= command.most


def test_arguments_are_counted() -> None:
    def counts(args: str) -> tuple[int, int, bool]:
        command = Command("x", args, "")
        return command.required, command.most, command.takes_rest

    assert counts("") == (0, 0, False)
    assert counts("DEVICE") == (1, 1, False)
    assert counts("[LETTER]") == (0, 1, False)
    assert counts("TEXT...") == (1, 1, True)
    assert counts("DEVICE[=CONFIG]...") == (1, 1, True)
    assert counts("[TEXT...]") == (0, 1, True)


def test_what_does_not_sync_is_marked_dangerous() -> None:
    dangerous = {command.name for command in COMMANDS if command.danger}
    assert {"halt", "reboot", "cad", "kill"} <= dangerous


def test_sysrq_letters_are_those_of_the_kernel() -> None:
    assert "".join(sorted(SYSRQ)) == "0123456789bcefhijmnopqstuw"
