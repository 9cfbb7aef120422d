"""The entry of `umlctl`, and the whole of a one-shot command.

`umlctl VERB GUEST [ARGS]` has to cost no more than the interpreter's own start, so nothing is
imported here that can be left for later: no re, argparse, socket, json, click. Whatever is not
a plain one-shot command goes on to `umlctl.cli`.
"""

from __future__ import annotations

import sys
from errno import EBUSY
from time import monotonic, sleep

from socketproto.exchange import GONE, TIMED_OUT, Outcome
from umlctl import exitcodes, streams
from umlctl.client.ask import (
    READY,
    Deadline,
    GuestClient,
    as_text,
    comes_again,
    deadline_of,
    until_ready,
    wrong_words,
)
from umlctl.client.target import Target
from umlctl.commands import BY_NAME, HOST, KERNEL, SAME, Command
from umlctl.host.paths import has_record
from umlctl.output import say, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

SILENCE: Final = 0.9
"""After so long without an answer it is seen whether somebody holds the guest, seconds."""
SCANNED: Final = 1.0
"""How long a new disk of a bare kernel may be open yet for the scan of its partitions, seconds."""


def main(argv: list[str]) -> int:
    """Run `umlctl` with these arguments; the exit code."""
    streams.in_utf8()
    streams.open_all()
    verb = argv[1] if len(argv) > 1 else ""
    if verb == "help" and not _is_guest(argv[2:3]):
        words = [SAME.get(word, word) for word in argv[2:3]] + argv[3:]
        if words and sys.stdout.isatty():
            from umlctl.cli.man import open_page

            open_page(words[0])
        argv = [argv[0], *words, "--help"]  # whose commands, if no guest is named: ours
        verb = ""
    if verb == "mconsole" and len(argv) > 3 and not any(word[:1] in ("", "-") for word in argv[2:]):
        return _guarded(lambda: tell(argv[2], " ".join(argv[3:])))
    if verb in SAME:
        verb = SAME[verb]
        argv = [argv[0], verb, *argv[2:]]
    command = BY_NAME.get(verb)
    if command is not None and command.served != HOST and not command.own_face:
        options = _options(command, argv[2:])
        if options is not None and not _names_several(command, options[1]):
            return _guarded(lambda: ask(command, *options))
    return _guarded(lambda: _cli(argv[1:]))


def _is_guest(words: list[str]) -> bool:
    """A guest is named, or what is no command of ours either."""
    if not words or words[0].startswith("-"):
        return bool(words)
    try:
        if Target(words[0]).is_known():
            return True
    except OSError:
        return True  # who asks it says why
    from umlctl.cli.main import LAZY
    from umlctl.synonyms import SYNONYMS

    return words[0] not in {*LAZY, *BY_NAME, *SYNONYMS}


def _cli(arguments: list[str]) -> int:
    from umlctl.cli.main import run

    return run(arguments)


def _guarded(work: Callable[[], int]) -> int:
    """Errors as one line, interrupts and closed pipes as a shell expects them."""
    try:
        code = work()
        sys.stdout.flush()
    except KeyboardInterrupt:
        return exitcodes.SIGNALLED + 2
    except streams.ReaderGone:
        return _reader_gone()
    except BaseExceptionGroup as group:
        if group.subgroup(streams.ReaderGone) is None:
            raise
        return _reader_gone()
    except (OSError, RuntimeError) as problem:
        from umlctl.host.scarce import explained, is_lacking

        if not (isinstance(problem, OSError) or is_lacking(problem)):
            raise
        streams.close_output()  # a full disk is full at exit too
        sys.stderr.write(f"umlctl: {explained(problem)}\n")
        return exitcodes.FAILED
    return code


def _reader_gone() -> int:
    streams.close_output()
    return exitcodes.SIGNALLED + 13


def _names_several(command: Command, words: list[str]) -> bool:
    """What follows the first guest is another, and no number of seconds."""
    return command.name == "shutdown" and bool(words) and not words[0][:1].isdigit()


def _options(
    command: Command, words: list[str]
) -> tuple[str, list[str], bool, float | None, bool] | None:
    """GUEST, ARGS and the three options that every verb has; None: let click see to it.

    Options may stand anywhere, but the text of `log` is a text from its first word on.
    """
    guest = None
    rest: list[str] = []
    json = force = False
    timeout: float | None = None
    index = 0
    while index < len(words):
        word = words[index]
        index += 1
        if word == "--" and guest is not None:
            rest += words[index:]
            break
        if (rest and command.name == "log") or not word.startswith("--"):
            if guest is None:
                guest = word
            else:
                rest.append(word)
        elif word == "--json":
            json = True
        elif word == "--force":
            force = True
        elif word == "--timeout" and index < len(words):
            try:
                timeout = float(words[index])
            except ValueError:
                return None
            index += 1
        else:
            return None
    if not guest or guest.startswith("-") or not (timeout is None or 0 < timeout < 1e9):
        return None
    return guest, rest, json, timeout, force


def ask(
    command: Command,
    guest: str,
    words: list[str],
    json: bool,
    timeout: float | None,
    force: bool,
    no_wait: bool = False,
) -> int:
    """Send one command of the table to a guest, and show how it ended.

    no_wait: a guest that reboots need not be ready again
    """
    wrong = wrong_words(command, words)
    if wrong:
        return say(f"{command.name} {guest}: {wrong}", exitcodes.USAGE)
    try:
        with GuestClient(guest) as asked:
            deadline = deadline_of(command, timeout)
            return _ask(asked, command, words, json, deadline, force, no_wait)
    except Exception as problem:  # noqa: BLE001 - what is none of ours is raised again
        if command.served != KERNEL and _is_absent(problem):
            code = _answer(command, guest, json)
            if code is not None:
                return code
        return _failed(command.name, f"{command.name} {guest}: ", guest, json, problem)


def _is_absent(problem: Exception) -> bool:
    from umlctl.errors import NoGuest

    return isinstance(problem, NoGuest)


def _answer(command: Command, guest: str, json: bool) -> int | None:
    """What the record of a guest answers for it that nobody supervises; the exit code.

    None: nothing
    """
    if not has_record(guest):
        return None
    from umlctl.cli.afterlife import answer

    return answer(command.name, guest, json)


def _failed(text: str, heading: str, guest: str, json: bool, problem: Exception) -> int:
    """Say why a guest was not asked, or may not have done what it was asked; the exit code.

    text: what it was asked
    heading: what its error begins with

    Raises: what is none of our errors
    """
    from umlctl.errors import InDoubt, NoGuest, UmlctlError

    if not isinstance(problem, UmlctlError):
        raise problem
    if json and isinstance(problem, InDoubt):
        from umlctl.output.views import show_outcome

        return show_outcome(guest, text, Outcome(GONE, reason=str(problem)), json)
    return say(f"{'' if isinstance(problem, NoGuest) else heading}{problem}", problem.code)


def _ask(
    guest: GuestClient,
    command: Command,
    words: list[str],
    json: bool,
    deadline: Deadline,
    force: bool,
    no_wait: bool,
) -> int:
    """Send a command of the table on a connection, and show how it ended; the exit code.

    Raises: UmlctlError
    """
    if command.name in ("kill", "shutdown") and guest.is_bare():
        code = _end_bare(guest, command, words, json)
        if code is not None:
            return code
    outcome = _send(guest, as_text(command, words), deadline, force)
    if not no_wait and comes_again(command, guest.link, outcome):
        ready = guest.ask(READY, until_ready(deadline), idle=_Idle(guest).look)
        outcome = outcome if ready.ok else ready
    code = None
    if outcome.kind == GONE and guest.link.served and command.served != KERNEL:
        code = _answer(command, guest.name, json)  # its supervisor is gone, and perhaps the guest
    elif command.name == "halt" and outcome.kind == TIMED_OUT and guest.is_bare():
        code = _end_bare(guest, command, words, json)
    return _show(guest, command, words, json, outcome) if code is None else code


def _send(guest: GuestClient, text: str, deadline: Deadline, force: bool) -> Outcome:
    """Ask a guest; a bare kernel that scans a disk for partitions is asked again to remove it."""
    idle = _Idle(guest)
    outcome = guest.ask(text, deadline, force=force, idle=idle.look)
    end = monotonic() + SCANNED
    while outcome.error == -EBUSY and text.startswith("remove ubd") and guest.is_bare():
        sleep(SCANNED / 20)
        if monotonic() >= end or deadline.is_over:
            break
        again = guest.ask(text, deadline, force=force, idle=idle.look)
        outcome = outcome if again.kind == TIMED_OUT else again
    return outcome


def _show(
    guest: GuestClient, command: Command, words: list[str], json: bool, outcome: Outcome
) -> int:
    name = guest.name
    if command.name == "stop" and outcome.ok and not json:
        ends = f"; `umlctl shutdown {name}` ends it" if guest.link.served else ""
        say(f"{name} is paused; `umlctl go {name}` resumes it{ends}", exitcodes.OK)
    if command.waits and outcome.ok:
        from umlctl.output.views import show_ending

        return show_ending(name, command, outcome, json)
    if json or command.name == "status":
        from umlctl.output.views import show_outcome

        return show_outcome(name, command.name, outcome, json)
    return show(name, command.name, outcome, words)


def _end_bare(guest: GuestClient, command: Command, words: list[str], json: bool) -> int | None:
    """End a kernel that nobody supervises by its process; None: which that is cannot be told."""
    from umlctl.cli import bare

    return bare.end(command.name, guest.name, guest.link.path, words, json)


class _Idle:
    """Says, once, who keeps a guest from answering."""

    def __init__(self, guest: GuestClient) -> None:
        self._guest = guest
        self._since = monotonic()

    def look(self) -> None:
        """Nothing comes."""
        if self._since and monotonic() - self._since > SILENCE:
            self._since = 0.0
            from umlctl.cli.afterlife import holder

            by = holder(self._guest.link)
            if by:
                say(f"{self._guest.name} is waited for: {by}", exitcodes.OK)


def tell(
    guest: str, text: str, json: bool = False, timeout: float | None = None, force: bool = False
) -> int:
    """Send any text to a guest, and show how it ended."""
    try:
        with GuestClient(guest) as asked:
            outcome = tell_on(asked, text, timeout, force)
    except Exception as problem:  # noqa: BLE001 - what is none of ours is raised again
        return _failed(text, f"{guest}: ", guest, json, problem)
    if json:
        from umlctl.output.views import show_outcome

        return show_outcome(guest, text, outcome, json)
    return show(guest, "mconsole", outcome)


def tell_on(guest: GuestClient, text: str, timeout: float | None, force: bool) -> Outcome:
    """Send any text; the files of disks are the client's.

    Raises: UmlctlError
    """
    name, *words = text.lstrip("! ").split(" ")
    command = BY_NAME.get(name)
    if command is not None:
        text = text[: len(text) - len(text.lstrip("! "))] + as_text(command, words)
    return guest.ask(text, deadline_of(command, timeout), force=force)
