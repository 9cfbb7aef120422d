"""`umlctl quit`: the background supervisor ends, and its guests before it or not at all."""

from __future__ import annotations

import click

from socketproto.exchange import GONE
from umlctl import exitcodes
from umlctl.client.background import ask_running_supervisor, out_of_reach
from umlctl.errors import HostError
from umlctl.output import say


@click.command(
    "quit",
    epilog="""\b
Examples:
  umlctl quit                  nothing is to run any more
  umlctl quit --leave-guests   after an upgrade: the next command to one of them brings another
""",
)
@click.option("--leave-guests", is_flag=True, help="The guests run on, for the next supervisor.")
def quit_supervisor(*, leave_guests: bool) -> int:
    """Shut all background guests down in order, and end their supervisor."""
    command = "quit leave" if leave_guests else "quit"
    outcome = ask_running_supervisor(command)
    if outcome is None:
        if why := out_of_reach():
            raise HostError(why)
        # A supervisor without its socket may have it again by now.
        outcome = ask_running_supervisor(command)
    if outcome is None:
        print("no background supervisor is running")
    elif leave_guests and outcome.kind == GONE:
        print("the background supervisor has ended, and its guests run on: see `umlctl adopt`")
    elif not outcome.ok:
        return say(f"quit: {outcome}", exitcodes.of(outcome.kind))
    else:
        print("the background supervisor has ended, and its guests before it")
    return exitcodes.OK
