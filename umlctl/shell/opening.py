"""`umlctl shell`: opens a prompt, or reads commands where there is no terminal."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Final

import trio

from socketproto.blocking import Unreachable
from umlctl import exitcodes
from umlctl.client.ask import GuestClient, absent, adopt
from umlctl.errors import NoGuest
from umlctl.shell.command_line import split
from umlctl.shell.programs import terminal_kept
from umlctl.shell.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterable

    from umlctl.shell.repl import Shell

DUMB_TERMINALS: Final = ("", "dumb", "unknown")
"""Terminals whose cursor cannot be moved, by TERM."""


def run(
    guest: str | None,
    *,
    commands: str | None = None,
    keep_going: bool = False,
    plain: bool = False,
    vi: bool = False,
) -> int:
    """Read commands and send them, until the input ends; return the exit code.

    guest: None: the only one that runs, or none until the user switches to one or starts one
    commands: to be done instead of reading input
    keep_going: a command that fails does not end a script
    plain: show answers as they are, also at a terminal

    Raises: NoGuest
    """
    interactive = commands is None and sys.stdin.isatty() and sys.stdout.isatty()
    plain = plain or os.environ.get("TERM", "") in DUMB_TERMINALS
    if guest is None:
        guest = _choose(interactive=interactive)
    if not interactive:
        lines = sys.stdin if commands is None else iter([commands])
        session = Session(guest, fancy=False)
        return trio.run(_script, session, lines, keep_going)
    if guest:
        _greet(guest)
    with terminal_kept():
        try:
            if plain:
                from umlctl.shell.plain import PlainShell

                trio.run(_interactive, PlainShell(guest))
            else:
                import trio_asyncio

                from umlctl.shell.edited import EditedShell

                trio_asyncio.run(_interactive, EditedShell(guest, vi=vi))
        except BaseExceptionGroup as group:
            raise _first(group) from None
    return exitcodes.OK


def _first(problem: BaseException) -> BaseException:
    """The first problem of a nursery, which raises a group of all."""
    while isinstance(problem, BaseExceptionGroup):
        problem = problem.exceptions[0]
    return problem


async def _script(session: Session, lines: Iterable[str], keep_going: bool) -> int:
    """Do the commands of input without a terminal: one a line, or several with `;` between them.
    The first failure ends it."""
    first = exitcodes.OK
    for line in lines:
        for command in split(line):
            code = await session.obey(command)
            if session.leaving:
                return first
            first = first or code
            if code and not keep_going:
                return code
    return first


def _choose(*, interactive: bool) -> str:
    """The guest to talk to: the only one that runs. Else none, and a person is shown them all."""
    from umlctl.client import guests
    from umlctl.output import guest_table

    found = guests.gather()
    alive = [status for status in found if status.state not in ("dead", "silent")]
    if len(alive) == 1:
        return alive[0].umid
    if interactive:
        if found:
            print("\n".join(guest_table.lines(found, time.time())))
        print(
            "`switch NAME` talks to one of them, `start NAME` boots another"
            if alive
            else "no guest runs; `start NAME` boots one, `help` lists the commands"
        )
    return ""


def _greet(guest: str) -> None:
    """See that a server listens, have the guest adopted if need be, and say what a bare kernel
    lacks.

    Raises: NoGuest
    """
    with GuestClient(guest) as asked:
        try:
            asked.link.open()
        except Unreachable as problem:
            if adopt(guest):
                return
            raise NoGuest(absent(guest, problem)) from None
        if not asked.link.served:
            print(
                f"nobody supervises {guest}: its kernel answers, and status, events and plug are "
                "not to be had"
            )


async def _interactive(shell: Shell) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shell.heed_signals)
        while not shell.session.leaving:
            await shell.talk()
        nursery.cancel_scope.cancel()
