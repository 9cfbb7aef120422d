"""`umlctl watch` and `umlctl top`: what is seen again and again, until Ctrl-C."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from umlctl import exitcodes
from umlctl.cli import complete
from umlctl.cli.seconds import SECONDS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from umlctl.shell.session import Session


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog="""\b
Examples:
  umlctl watch demo proc meminfo
  umlctl watch -n 0.5 demo status
""",
)
@click.option(
    *("-n", "every"),
    type=SECONDS,
    metavar="SECONDS",
    default=2.0,
    show_default=True,
    help="Between two answers.",
)
@click.argument("guest", shell_complete=complete.guests)
@click.argument(
    "words",
    metavar="COMMAND [ARGS]...",
    nargs=-1,
    required=True,
    type=click.UNPROCESSED,
    shell_complete=complete.behind("watch"),
)
def watch(guest: str, words: tuple[str, ...], every: float) -> int:
    """Ask a guest the same again and again, and show what changes; Ctrl-C ends it.

    COMMAND is one that asks, such as proc, stack, status or devices.
    """
    return _repeat(guest, lambda session: session.watch(list(words), every))


@click.command(
    epilog="""\b
Examples:
  umlctl top
  umlctl top -n 5
""",
)
@click.option(
    *("-n", "every"),
    type=SECONDS,
    metavar="SECONDS",
    default=1.0,
    show_default=True,
    help="Between two looks.",
)
def top(every: float) -> int:
    """Show the guests that run, again and again; Ctrl-C ends it.

    Without a terminal they are shown once.
    """
    return _repeat("", lambda session: session.top(every))


def _repeat(guest: str, work: Callable[[Session], Awaitable[int]]) -> int:
    import trio

    from umlctl.shell.session import Session

    session = Session(guest, fancy=sys.stdout.isatty())

    async def repeat() -> int:
        return await work(session)

    try:
        return trio.run(repeat)
    except KeyboardInterrupt:
        return exitcodes.OK  # its end is meant to come so
