"""What both kinds of `umlctl exec` have in common: what a command has of this process, and how it
went. A command in a guest that runs imports little more.
"""

from __future__ import annotations

import os
import stat
import sys
import time
from typing import TYPE_CHECKING

from umlctl import exitcodes, streams
from umlctl.errors import HostError, UmlctlError, UsageError
from umlctl.execution.explained import late_text, not_executed, why_unprepared
from umlctl.guest import command as commands
from umlctl.guest.command import Command
from umlctl.host import paths

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from umlctl.execution.running import Ran
    from umlctl.execution.session import Outcome
    from umlctl.guest.command import Step


def run_plainly(guest: str, words: list[str]) -> int:
    """Run a command in a guest that runs, without options; the exit code."""
    try:
        return run_in_guest(guest, tuple(words))
    except UmlctlError as problem:
        say(str(problem))
        return problem.code


def run_in_guest(
    guest: str,
    words: tuple[str, ...],
    variables: Iterable[str] = (),
    directory: str = "/",
    limit: float | None = None,
) -> int:
    """Run a command in a guest that runs; the exit code. What there is: see `perform_in_guest`.

    Raises: UmlctlError
    """
    return perform_in_guest(guest, words, variables, directory, limit)[0]


def perform_in_guest(
    guest: str,
    words: tuple[str, ...],
    variables: Iterable[str],
    directory: str,
    limit: float | None,
) -> tuple[int, Ran]:
    """Run a command in a guest that runs; the exit code, and how it went.

    variables: NAME=VALUE, or NAME, which is as it is here
    limit: how long it may take, seconds

    Raises: UmlctlError
    """
    deadline = None if limit is None else time.monotonic() + limit
    check_words(words)
    from umlctl.execution import in_guest, running

    environment = with_variables(in_guest.environment(), variables)
    try:
        ran = running.execute(paths.umid_of(guest), make(words, environment, directory), deadline)
    except OSError as problem:
        raise HostError(str(problem)) from problem
    if ran.problem:
        say(ran.problem)
    found = code(ran.outcome, ran.todo, words[0], limit)
    if found is None:
        say(f"{guest} has ended, or was rebooted, before the command had")
        return exitcodes.GONE, ran
    return found or (exitcodes.FAILED if ran.problem else exitcodes.OK), ran


# What a command is given


def check_words(words: Sequence[str]) -> None:
    """Raises: UsageError: they are no command"""
    if not words or not words[0]:
        what = "the command is empty" if words else "there is no command"
        raise UsageError(f"{what}: umlctl exec [OPTIONS] [GUEST] -- COMMAND [ARGUMENT]...")


def make(words: tuple[str, ...], environment: dict[str, str], directory: str) -> Command:
    """A command that has this process's standard descriptors, and its terminal."""
    kinds = kinds_of_descriptors()
    size = (24, 80)
    if kinds[0] == commands.TERMINAL:
        found = os.get_terminal_size(streams.STDIN)
        size = (found.lines, found.columns)
    return Command(words, directory, environment, kinds, os.urandom(16).hex(), size)


def kinds_of_descriptors() -> str:
    """What the standard descriptors of this process are; on a terminal, to read and to write, it is
    one for the command too."""
    nothing = os.stat(os.devnull)
    found = []
    terminal = os.isatty(streams.STDIN) and os.isatty(streams.STDOUT)
    for descriptor in (streams.STDIN, streams.STDOUT, streams.STDERR):
        look = os.fstat(descriptor)
        if terminal and os.isatty(descriptor):
            found.append(commands.TERMINAL)
        elif stat.S_ISCHR(look.st_mode) and look.st_rdev == nothing.st_rdev:
            found.append(commands.NOTHING)
        else:
            found.append(commands.PIPED)
    return "".join(found)


def with_variables(found: dict[str, str], variables: Iterable[str]) -> dict[str, str]:
    """The environment with what --env gives, and without what is not there.

    Raises: UsageError
    """
    for text in variables:
        name, equals, value = text.partition("=")
        if not name:
            raise UsageError(f"--env takes NAME=VALUE or NAME, not {text!r}")
        if equals:
            found[name] = value
        elif name in os.environ:
            found[name] = os.environ[name]
        else:
            found.pop(name, None)
    return found


# How it went


def code(outcome: Outcome, todo: list[Step], name: str, limit: float | None) -> int | None:
    """The exit code; None: the guest has ended before. Why it is no command's is said.

    todo: what the guest was to do
    name: of the command
    limit: how long it might take, seconds
    """
    said = outcome.said
    if outcome.late:
        say(f"{late_text(limit)}, and ended")
        return exitcodes.LIMIT
    if said is None:
        return exitcodes.SIGNALLED + outcome.caught if outcome.caught else None
    if said.word == "status":
        status = said.numbers[0]
        if os.WIFSIGNALED(status):
            return exitcodes.SIGNALLED + os.WTERMSIG(status)
        return os.waitstatus_to_exitcode(status)
    if said.word == "noexec":
        number, text = not_executed(said, name)
        say(text)
        return number
    say(why_unprepared(said, todo))
    return exitcodes.NEVER_STARTED


def say(text: str) -> None:
    """Write a line to standard error."""
    sys.stderr.write(f"umlctl: {text}\n")
    sys.stderr.flush()
