from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from umlctl import entry, exitcodes, streams
from umlctl.cli import exec_command
from umlctl.errors import NoGuest, UsageError
from umlctl.execution import running
from umlctl.execution.running import Ran
from umlctl.execution.session import Outcome
from umlctl.protocol.control_line import Said

if TYPE_CHECKING:
    from collections.abc import Callable

    from umlctl.guest.command import Command


def test_descriptors_are_what_they_are_here(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    master, slave = pty.openpty()
    nothing = os.open(os.devnull, os.O_RDWR)
    try:
        for names, expected in (
            ((reader, writer, writer), "ppp"),
            ((nothing, writer, nothing), "npn"),
            ((slave, slave, slave), "ttt"),
            ((slave, slave, writer), "ttp"),
            ((slave, writer, slave), "ppp"),
        ):
            for name, descriptor in zip(("STDIN", "STDOUT", "STDERR"), names, strict=True):
                monkeypatch.setattr(streams, name, descriptor)
            assert exec_command.kinds_of_descriptors() == expected
    finally:
        for descriptor in (reader, writer, master, slave, nothing):
            os.close(descriptor)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Callable[[Outcome, str], list[Command]]:
    """Sets what becomes of commands in guests; those that are run."""
    commands: list[Command] = []

    def becomes(outcome: Outcome, problem: str = "") -> list[Command]:
        def execute(_umid: str, command: Command, _deadline: float | None) -> Ran:
            commands.append(command)
            return Ran(outcome, [], problem)

        monkeypatch.setattr(running, "execute", execute)
        return commands

    return becomes


def test_command_in_a_guest_has_its_environment_and_directory(
    ran: Callable[..., list[Command]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("SECRET", "hidden")
    monkeypatch.delenv("COLORTERM", raising=False)
    commands = ran(Outcome(Said("status", (3 << 8,)), True))
    assert exec_command.run_in_guest("demo", ("a", "b"), ("X=1", "SECRET"), "/usr") == 3
    (command,) = commands
    assert (command.words, command.directory) == (("a", "b"), "/usr")
    known = {"TERM": "xterm", "HOME": "/root", "X": "1", "SECRET": "hidden"}
    assert known.items() <= command.environment.items()
    assert "PYTEST_CURRENT_TEST" not in command.environment


@pytest.mark.parametrize(
    ("outcome", "problem", "expected"),
    [
        (Outcome(Said("status", (0,)), True), "", exitcodes.OK),
        (Outcome(Said("status", (0,)), True), "disk full", exitcodes.FAILED),
        (Outcome(Said("status", (signal.SIGSEGV,)), True), "", 139),
        (Outcome(Said("noexec", (2,)), True), "", exitcodes.NO_COMMAND),
        (Outcome(None, False, caught=signal.SIGINT), "", 130),
        (Outcome(None, True, late=True), "", exitcodes.LIMIT),
        (Outcome(None, True), "", exitcodes.GONE),
    ],
)
def test_exit_code_is_the_commands_or_what_became_of_it(
    ran: Callable[..., list[Command]], outcome: Outcome, problem: str, expected: int
) -> None:
    ran(outcome, problem)
    assert exec_command.run_in_guest("demo", ("x",)) == expected


def test_no_command_is_a_usage_error() -> None:
    for words in ((), ("",)):
        with pytest.raises(UsageError, match="GUEST"):
            exec_command.run_in_guest("demo", words)


def test_error_is_said_and_its_code_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def execute(*_: object) -> Ran:
        raise NoGuest("no guest 'demo' runs here")

    monkeypatch.setattr(running, "execute", execute)
    assert entry.main(["umlctl", "exec", "demo", "--", "true"]) == exitcodes.NO_GUEST
    assert capfd.readouterr().err == "umlctl: no guest 'demo' runs here\n"


def test_plain_command_in_a_guest_imports_little() -> None:
    """None of what takes longer to import than all else together."""
    program = (
        "import sys; from umlctl.entry import main; main(['umlctl', 'exec', 'no-such', '--', 'x']);"
        "print({'click', 'msgspec', 'shutil', 'subprocess', 'ctypes'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stdout == "set()\n"
