"""`umlctl rm`: guests that have ended are forgotten."""

from __future__ import annotations

import click

from umlctl import exitcodes
from umlctl.cli import complete
from umlctl.client import forget as forgetting
from umlctl.errors import UmlctlError
from umlctl.output import say


@click.command(
    "rm",
    epilog="""\b
Examples:
  umlctl rm test
  umlctl list --json | jq -r '.[] | select(.state == "dead") | .umid' | xargs umlctl rm
""",
)
@click.argument("guests", nargs=-1, required=True, shell_complete=complete.recorded)
def forget(guests: tuple[str, ...]) -> int:
    """Forget guests that have ended: their records, logs and histories are removed.

    Disks are not. A guest that is enabled stays so. One that runs is refused, and the others are
    forgotten all the same.
    """
    code = exitcodes.OK
    for guest in dict.fromkeys(guests):
        try:
            forgetting.forget(guest)
        except UmlctlError as problem:
            said = say(str(problem), problem.code)
            code = code or said
        else:
            print(f"{guest} is forgotten")
    return code
