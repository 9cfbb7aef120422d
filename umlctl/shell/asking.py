"""One command to a guest, and how it ended, with a supervisor or without."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import msgspec
import trio

from socketproto.exchange import ANSWERED, Outcome
from umlctl import exitcodes
from umlctl.client import bare
from umlctl.client.afterlife import answer
from umlctl.client.ask import (
    READY_QUESTION,
    as_text,
    comes_again,
    deadline_of,
    ended_instead,
    is_bare,
    until_ready,
    wrong_words,
)
from umlctl.client.asynchronous import AsyncGuestClient
from umlctl.client.unsupervised import unsupervised_status
from umlctl.errors import NoGuest, UmlctlError
from umlctl.output import say, show
from umlctl.protocol.commands import BY_NAME, GUEST, KERNEL, Command
from umlctl.recovery import discover
from umlctl.state import event_log

if TYPE_CHECKING:
    from collections.abc import Callable


async def request(
    guest: str, words: list[str], each: Callable[[bytes], None] | None = None
) -> Outcome | int:
    """Make one exchange with a guest. Returns: its outcome; the exit code if it could not be made,
    and the reason has been said."""
    forced = words[0].startswith("!")
    command = BY_NAME[words[0].removeprefix("!")]
    wrong = wrong_words(command, words[1:])
    if wrong:
        return say(f"{command.name} {guest}: {wrong}", exitcodes.USAGE)
    try:
        with AsyncGuestClient(guest) as asked:
            if command.name in ("kill", "shutdown") and is_bare(asked.link):
                end = partial(bare.end, command.name, guest, asked.link.path, words[1:])
                code = await trio.to_thread.run_sync(end, False, abandon_on_cancel=True)
                if code is not None:
                    return code
            text = as_text(command, words[1:])
            deadline = deadline_of(command)
            outcome = await asked.ask(text, deadline, force=forced, each=each)
            if comes_again(command, asked.link, outcome):
                try:
                    ready = await asked.ask(READY_QUESTION, until_ready(deadline))
                except NoGuest as problem:
                    ready = ended_instead(problem)
                outcome = outcome if ready.ok else ready
            return outcome
    except NoGuest as problem:
        return await trio.to_thread.run_sync(_ended, guest, command, problem, each)
    except UmlctlError as problem:
        return say(f"{command.name} {guest}: {problem}", problem.code)


def _ended(
    guest: str, command: Command, problem: NoGuest, each: Callable[[bytes], None] | None
) -> Outcome | int:
    """Answer from the record of a guest for which no server answers.

    Returns: an outcome; the exit code if the answer has been said
    """
    if command.name == "events" and "/" not in guest:
        events = [event_log.encode(event) for event in event_log.Reader(guest).read()]
        if each is not None:
            for line in events:
                each(line)
        if events:
            return Outcome(ANSWERED, data=b"".join(events))
    record = discover.find(guest) if "/" not in guest else None
    if command.name == "status" and record is not None:
        return Outcome(ANSWERED, data=msgspec.json.encode(unsupervised_status(record)))
    code = answer(command.name, guest, json=False) if command.served != KERNEL else None
    return say(str(problem), problem.code) if code is None else code


def show_plainly(guest: str, command: Command, words: list[str], outcome: Outcome) -> int:
    """Show an answer as `umlctl` does where no person looks; return the exit code."""
    if command.served == GUEST:
        from umlctl.output.views import show_ending, show_outcome

        if command.waits and outcome.ok:
            return show_ending(guest, command, outcome, json=False)
        return show_outcome(guest, command.name, outcome, json=False, words=words[1:])
    return show(guest, command.name, outcome, words[1:])
