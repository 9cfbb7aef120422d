"""`umlctl shell`: opens the prompt of `umlctl.shell`."""

from __future__ import annotations

import click

from umlctl.cli import complete


@click.command(
    epilog="""\b
Examples:
  umlctl shell                           of the only guest; of none, if there are more
  umlctl shell demo
  umlctl shell demo -c 'stop; version; go'
  umlctl shell demo --keep-going < script
At the prompt: every command without GUEST, `@GUEST COMMAND` for another; Tab completes,
`help COMMAND` and `COMMAND ?` explain, Ctrl-C gives up what runs, Ctrl-D leaves.
"""
)
@click.argument("guest", required=False, shell_complete=complete.guests)
@click.option("-c", "commands", metavar="COMMANDS", help="Do these, with `;` between them.")
@click.option("--keep-going", is_flag=True, help="Go on after a command that fails.")
@click.option(
    "--plain", is_flag=True, help="Plain text alone: no colours, completion, tables or pager."
)
@click.option("--vi", is_flag=True, help="The keys of vi.")
def shell(guest: str | None, commands: str | None, keep_going: bool, plain: bool, vi: bool) -> int:
    """Open a prompt: every command, of one guest, with history and completion.

    Without a terminal, commands are read from standard input, one a line.
    """
    from umlctl.shell.opening import run

    return run(guest, commands=commands, keep_going=keep_going, plain=plain, vi=vi)
