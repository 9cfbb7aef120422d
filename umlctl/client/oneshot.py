"""A one-shot command: one request to a guest, and how it ended.

It has to cost no more than the interpreter's own start. So this module imports nothing that can be
left for later: no re, argparse, socket, json, click.
"""

from __future__ import annotations

from errno import EBUSY
from time import monotonic, sleep

from socketproto.exchange import GONE, TIMED_OUT, Outcome
from umlctl import exitcodes
from umlctl.client.ask import (
    READY_QUESTION,
    Deadline,
    GuestClient,
    as_text,
    comes_again,
    deadline_of,
    ended_instead,
    until_ready,
    wrong_words,
)
from umlctl.host.paths import has_record
from umlctl.output import say, show
from umlctl.protocol.commands import BY_NAME, KERNEL, Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from socketproto.blocking import Link

SILENCE_TIMEOUT: Final = 0.9
"""How long a guest may be silent before it is seen what holds it, such as a debugger, seconds."""
_UNSYNCED: Final = {
    "halt": ("halted", "shutdown"),
    "reboot": ("reset", "sync"),
}
"""What commands do to a guest without a sync, and the command that syncs: instead, or before."""
SCAN_TIMEOUT: Final = 1.0
"""How long a new disk of a bare kernel may still be open for the scan of its partitions,
seconds."""


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

    no_wait: do not wait until a guest that reboots is ready again
    """
    wrong = wrong_words(command, words)
    if wrong:
        return say(f"{command.name} {guest}: {wrong}", exitcodes.USAGE)
    try:
        with GuestClient(guest) as asked:
            deadline = deadline_of(command, timeout)
            return _ask(asked, command, words, json, deadline, force, no_wait)
    except Exception as problem:  # noqa: BLE001 - other errors are raised again
        if command.served != KERNEL and _is_absent(problem):
            code = _answer(command, guest, json)
            if code is not None:
                return code
        return _failed(command.name, f"{command.name} {guest}: ", guest, json, problem)


def _is_absent(problem: Exception) -> bool:
    from umlctl.errors import NoGuest

    return isinstance(problem, NoGuest)


def _answer(command: Command, guest: str, json: bool) -> int | None:
    """Answer a command from the record of a guest without a supervisor.

    Returns: the exit code; None if the record does not answer it
    """
    if not has_record(guest):
        return None
    from umlctl.client.afterlife import answer

    return answer(command.name, guest, json)


def _failed(text: str, heading: str, guest: str, json: bool, problem: Exception) -> int:
    """Say why a guest was not asked, or may not have done what it was asked; return the exit code.

    text: what it was asked
    heading: what its error begins with

    Raises: any error that is not UmlctlError
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
    """Send a command of the table on a connection, and show how it ended; return the exit code.

    Raises: UmlctlError
    """
    if command.name in ("kill", "shutdown") and guest.is_bare():
        code = _end_bare(guest, command, words, json)
        if code is not None:
            return code
    outcome = _send(guest, as_text(command, words), deadline, force)
    if not no_wait and comes_again(command, guest.link, outcome):
        ready = _await_ready(guest, deadline)
        outcome = outcome if ready.ok else ready
    code = None
    if outcome.kind == GONE and guest.link.served and command.served != KERNEL:
        # The guest's supervisor is gone, and the guest may be too.
        code = _answer(command, guest.name, json)
    elif command.name == "halt" and outcome.kind == TIMED_OUT and guest.is_bare():
        code = _end_bare(guest, command, words, json)
    return _show(guest, command, words, json, outcome) if code is None else code


def _await_ready(guest: GuestClient, deadline: Deadline) -> Outcome:
    """Wait until a guest that reboots is ready again; how that ended."""
    try:
        return guest.ask(READY_QUESTION, until_ready(deadline), idle=_Idle(guest).look)
    except Exception as problem:
        if not _is_absent(problem):
            raise
        return ended_instead(problem)


def _send(guest: GuestClient, text: str, deadline: Deadline, force: bool) -> Outcome:
    """Ask a guest. A bare kernel that scans a disk for partitions is asked again to remove it."""
    idle = _Idle(guest)
    outcome = guest.ask(text, deadline, force=force, idle=idle.look)
    end = monotonic() + SCAN_TIMEOUT
    while outcome.error == -EBUSY and text.startswith("remove ubd") and guest.is_bare():
        sleep(SCAN_TIMEOUT / 20)
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
    if command.name in _UNSYNCED and outcome.ok and not json:
        what, instead = _UNSYNCED[command.name]
        said = f"{name} was {what}, and its file systems were not synced"
        say(f"{said}; `umlctl {instead} {name}` does that", exitcodes.OK)
    if command.waits and outcome.ok:
        from umlctl.output.views import show_ending

        return show_ending(name, command, outcome, json)
    if json or command.name == "status":
        from umlctl.output.views import show_outcome

        return show_outcome(name, command.name, outcome, json)
    return show(name, command.name, outcome, words)


def _end_bare(guest: GuestClient, command: Command, words: list[str], json: bool) -> int | None:
    """End the process of a bare kernel; None if it cannot be told which process that is."""
    from umlctl.client import bare

    return bare.end(command.name, guest.name, guest.link.path, words, json)


class _Idle:
    """Says, once, what keeps a guest from answering."""

    def __init__(self, guest: GuestClient) -> None:
        self._guest = guest
        self._since = monotonic()

    def look(self) -> None:
        """Called while nothing comes."""
        if self._since and monotonic() - self._since > SILENCE_TIMEOUT:
            self._since = 0.0
            by = _holder()(self._guest.link)
            if by:
                say(f"{self._guest.name} is waited for: {by}", exitcodes.OK)


def _holder() -> Callable[[Link], str]:
    """What says who keeps a guest from running. An interrupt that comes while Python imports it
    can be lost, and is held back so long."""
    import _signal  # type: ignore[import-not-found] # typeshed has `signal`, which imports more

    before = _signal.pthread_sigmask(_signal.SIG_BLOCK, (_signal.SIGINT,))
    try:
        from umlctl.client.afterlife import holder
    finally:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, before)
    return holder


def tell(
    guest: str, text: str, json: bool = False, timeout: float | None = None, force: bool = False
) -> int:
    """Send any text to a guest, and show how it ended."""
    try:
        with GuestClient(guest) as asked:
            outcome = tell_on(asked, text, timeout, force)
    except Exception as problem:  # noqa: BLE001 - other errors are raised again
        return _failed(text, f"{guest}: ", guest, json, problem)
    if json:
        from umlctl.output.views import show_outcome

        return show_outcome(guest, text, outcome, json)
    return show(guest, "mconsole", outcome)


def tell_on(guest: GuestClient, text: str, timeout: float | None, force: bool) -> Outcome:
    """Send any text; paths of disks are the client's.

    Raises: UmlctlError
    """
    name, *words = text.lstrip("! ").split(" ")
    command = BY_NAME.get(name)
    if command is not None:
        text = text[: len(text) - len(text.lstrip("! "))] + as_text(command, words)
    return guest.ask(text, deadline_of(command, timeout), force=force)
