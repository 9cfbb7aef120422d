"""Views that are shown again and again: an answer of a guest, and the guests that run."""

from __future__ import annotations

import shutil
import sys
import time
from typing import Final

import trio

from umlctl import exitcodes
from umlctl.client import guests
from umlctl.errors import UsageError
from umlctl.output import guest_table
from umlctl.protocol.commands import BY_NAME, HOST, MAX_SECONDS, dangerous
from umlctl.protocol.status import DEAD
from umlctl.shell.asking import request, show_plainly
from umlctl.shell.render import CLEAR_SEQUENCE, marked, plain_text, status_text

WATCH_INTERVAL: Final = 2.0
"""The time between two answers that a user watches, seconds."""
TOP_INTERVAL: Final = 1.0
"""The time between two looks at the guests, seconds."""


async def watch(guest: str, words: list[str], every: float, *, fancy: bool) -> int:
    """Ask a guest the same again and again, and show what has changed, until cancelled.

    every: the time between two answers, seconds
    fancy: a person looks

    Raises: UsageError
    """
    command = BY_NAME.get(words[0]) if words else None
    if command is None or command.served == HOST or command.waits or dangerous(words):
        raise UsageError("`watch` needs a command that asks: watch [-n SECONDS] COMMAND")
    before = ""
    while True:
        outcome = await request(guest, words)
        if isinstance(outcome, int):
            return outcome
        if not outcome.ok:
            return show_plainly(guest, command, words, outcome)
        text = plain_text(command.name, outcome).decode("utf-8", "replace")
        if command.name == "status":
            text = status_text(outcome)
        heading = f"every {every:g}s: {' '.join(words)}  {time.strftime('%T')}  (Ctrl-C ends)\n\n"
        if fancy:
            room = shutil.get_terminal_size().lines - 4
            shown = "".join(marked(before, text).splitlines(keepends=True)[:room])
            sys.stdout.write(CLEAR_SEQUENCE + heading + shown)
        else:
            sys.stdout.write(text)
        sys.stdout.flush()
        before = text
        await trio.sleep(every)


async def top(every: float = TOP_INTERVAL, *, fancy: bool) -> int:
    """Show the guests that run again and again, until cancelled; once, if no person looks.

    every: the time between two looks, seconds
    fancy: a person looks
    """
    while True:
        found = await trio.to_thread.run_sync(guests.gather)
        alive = [status for status in found if status.state != DEAD]
        alive.sort(key=lambda status: status.state != "running")
        lines = guest_table.lines(alive, time.time())
        if not fancy:
            print("\n".join(lines))
            return exitcodes.OK
        heading = f"{len(alive)} guest{'s' * (len(alive) != 1)}"
        if len(alive) < len(found):
            heading += f", {len(found) - len(alive)} dead (see `list`)"
        heading += f"  {time.strftime('%T')}  (Ctrl-C ends)\n\n"
        room = shutil.get_terminal_size().lines - 4
        sys.stdout.write(CLEAR_SEQUENCE + heading + "\n".join(lines[:room]) + "\n")
        sys.stdout.flush()
        await trio.sleep(every)


def interval(words: list[str]) -> tuple[list[str], float]:
    """The words of a command to watch, and the seconds between two answers.

    Raises: UsageError
    """
    if words[:1] != ["-n"]:
        return words, WATCH_INTERVAL
    try:
        every = float(words[1])
        if not 0 < every <= MAX_SECONDS:
            raise ValueError
    except (IndexError, ValueError):
        raise UsageError("`watch -n` needs seconds") from None
    return words[2:], every
