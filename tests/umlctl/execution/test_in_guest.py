from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from umlctl import exitcodes
from umlctl.errors import (
    GuestEnded,
    HostError,
    NeverStarted,
    NotExecuted,
    TimedOut,
    UmlctlError,
)
from umlctl.execution import in_guest, running
from umlctl.execution.running import Ran
from umlctl.execution.session import Outcome, Streams
from umlctl.protocol.control_line import Said

if TYPE_CHECKING:
    from umlctl.guest.command import Command

OWN = Streams(in_guest.NO_SOURCE, (len, len))


def becomes(monkeypatch: pytest.MonkeyPatch, outcome: Outcome, problem: str = "") -> list[Command]:
    """Sets what becomes of commands in guests; those that are run."""
    commands: list[Command] = []

    def execute(_umid: str, command: Command, *_: object) -> Ran:
        commands.append(command)
        return Ran(outcome, [], problem)

    monkeypatch.setattr(running, "execute", execute)
    return commands


@pytest.mark.parametrize(
    ("status", "expected"), [(0, 0), (3 << 8, 3), (signal.SIGSEGV, -signal.SIGSEGV)]
)
def test_status_is_a_number(monkeypatch: pytest.MonkeyPatch, status: int, expected: int) -> None:
    commands = becomes(monkeypatch, Outcome(Said("status", (status,)), True))
    assert in_guest.run("demo", ["a", "b"], OWN, directory="/usr") == expected
    (command,) = commands
    assert (command.words, command.directory, command.kinds) == (("a", "b"), "/usr", "npp")
    assert command.environment["HOME"] == "/root"


@pytest.mark.parametrize(
    ("outcome", "problem", "error"),
    [
        (Outcome(None, True), "", GuestEnded),
        (Outcome(None, True, late=True), "", TimedOut),
        (Outcome(Said("status", (15,)), True, late=True), "", TimedOut),
        (Outcome(Said("noexec", (2,)), True), "", NotExecuted),
        (Outcome(Said("nowhere", (2,)), False), "", NeverStarted),
        (Outcome(Said("status", (0,)), True), "disk full", HostError),
    ],
)
def test_what_is_no_status_is_an_error(
    monkeypatch: pytest.MonkeyPatch, outcome: Outcome, problem: str, error: type[UmlctlError]
) -> None:
    becomes(monkeypatch, outcome, problem)
    with pytest.raises(error) as caught:
        in_guest.run("demo", ["x"], OWN)
    assert caught.value.code != exitcodes.OK


def test_error_of_the_host_is_one_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def execute(*_: object) -> Ran:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(running, "execute", execute)
    with pytest.raises(HostError, match="No space left"):
        in_guest.run("demo", ["x"], OWN)


def test_environment_is_roots_in_the_terminal_that_is_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "vt100")
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("LC_ALL", raising=False)
    found = in_guest.environment()
    assert (found["TERM"], found["HOME"]) == ("vt100", "/root")
    assert "LC_ALL" not in found
