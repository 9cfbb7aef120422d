"""`umlctl compat`: the names of other programs, by which umlctl does what they do."""

from __future__ import annotations

import os
import shlex

import click

from umlctl import exitcodes
from umlctl.cli import device_options
from umlctl.compat import links
from umlctl.output import say, views


@click.command(
    epilog="""\b
Examples:
  umlctl compat ~/.local/lib/uml           make the links
  PATH=~/.local/lib/uml:$PATH ./old-lab.sh
  umlctl compat --remove ~/.local/lib/uml
""",
)
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False))
@click.option("--remove", is_flag=True, help="Remove the links instead, and nothing else.")
@device_options.json_option
def compat(directory: str, remove: bool, in_json: bool) -> int:
    """Link other programs' names into DIR, a directory for the PATH of scripts that call them.

    Each link leads to umlctl, which does what the program of that name does. What else is in DIR
    is left as it is; if it is in the way, nothing is changed.
    """
    directory = os.path.abspath(directory)
    found = links.remove(directory) if remove else links.make(directory)
    if in_json:
        print(views.to_json([each._asdict() for each in found]))
        return exitcodes.OK
    if not found:
        return say(f"compat: there are no links of umlctl in {directory}", exitcodes.OK)
    views.columns([("PROGRAM", "PATH", "LEADS TO", "DONE"), *found])
    if not remove and directory not in os.get_exec_path():
        say(f"scripts find them with PATH={shlex.quote(directory)}:$PATH", exitcodes.OK)
    return exitcodes.OK
