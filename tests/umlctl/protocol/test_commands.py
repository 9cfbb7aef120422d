from __future__ import annotations

import pytest

from umlctl.protocol.commands import (
    BY_NAME,
    COMMANDS,
    GUEST,
    HOST,
    KERNEL,
    OUTPUT,
    SYSRQ,
    TEXT,
    Command,
    dangerous,
)


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
        GUEST: {"status", "events", "wait", "shutdown", "kill", "plug", "layer", "devices", "sync"},
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


def test_what_a_person_is_asked_about_first_has_words() -> None:
    asked = {command.name for command in COMMANDS if command.confirm is not None}
    assert asked == {"halt", "reboot", "cad", "kill", "sysrq", "remove", "layer"}
    for command in COMMANDS:
        for argument in command.confirm or ():
            assert argument in dangerous([command.name, argument])
            assert argument in dangerous([f"!{command.name}", argument])
        if command.confirm == ():
            assert dangerous([command.name]) == command.danger
            assert command.danger
    assert dangerous(["sysrq", "b now"])
    for harmless in ("sysrq", "sysrq m", "remove ubd1", "stop", "version", "nonsense", ""):
        assert dangerous(harmless.split()) == ""


def test_queries_change_nothing() -> None:
    queries = {command.name for command in COMMANDS if command.asks}
    assert queries == {"version", "help", "config", "proc", "stack", "status"}
    config = BY_NAME["config"]
    assert config.is_query("ubd0")
    assert not config.is_query("ubd0=/tmp/disk")
    assert BY_NAME["proc"].is_query("sys/a=b"), "a '=' of a file's name sets nothing"


def test_what_may_be_sent_again_is_said_once() -> None:
    """A query may be, whatever its row says besides."""
    again = {command.name for command in COMMANDS if command.repeatable}
    assert again == {"devices", "wait", "shutdown", "sync", "kill"}
    assert not [command for command in COMMANDS if command.asks and command.repeatable]


def test_who_may_only_read_may_send_queries_and_what_tells() -> None:
    assert {command.name for command in COMMANDS if command.reads} == {"devices", "events", "wait"}


def test_interrupt_context_is_the_kernels() -> None:
    """arch/um/drivers/mconsole_user.c"""
    interrupt = {command.name for command in COMMANDS if command.interrupt}
    assert interrupt == {"sysrq", "help", "cad", "go", "log", "stack"}


def test_what_shows_on_the_console() -> None:
    shows = {command.name: command.prints for command in COMMANDS if command.prints}
    assert shows == {"sysrq": OUTPUT, "stack": OUTPUT, "log": TEXT}


def test_sysrq_letters_are_those_of_the_kernel() -> None:
    assert "".join(sorted(SYSRQ)) == "0123456789bcefhijmnopqstuw"
