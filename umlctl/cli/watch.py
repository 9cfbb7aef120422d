"""`umlctl watch` and `umlctl top`: what is seen again and again, until Ctrl-C."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from umlctl import exitcodes
from umlctl.cli import complete
from umlctl.cli.durations import SECONDS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


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
    from umlctl.shell import repeated

    fancy = sys.stdout.isatty()
    return _repeat(lambda: repeated.watch(guest, list(words), every, fancy=fancy))


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
    from umlctl.shell import repeated

    return _repeat(lambda: repeated.top(every, fancy=sys.stdout.isatty()))


def _repeat(work: Callable[[], Awaitable[int]]) -> int:
    import trio

    try:
        return trio.run(work)
    except KeyboardInterrupt:
        return exitcodes.OK  # Ctrl-C is the usual end
