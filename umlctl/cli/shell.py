"""`umlctl shell`: opens the prompt of `umlctl.shell`."""

from __future__ import annotations

import click

from umlctl.cli import complete


@click.command(epilog="\b\nExamples:\n  umlctl shell demo\n  echo version | umlctl shell demo\n")
@click.argument("guest", shell_complete=complete.guests)
def shell(guest: str) -> int:
    """Open a prompt for one guest: its commands, with history and completion.

    Without a terminal, commands are read from standard input, one a line.
    """
    from umlctl.shell.repl import run

    return run(guest)
