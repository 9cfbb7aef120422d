"""`umlctl cp`: files into a running guest and out of it, as they are, and whole or not at all."""

from __future__ import annotations

from typing import NamedTuple

import click

from umlctl import exitcodes
from umlctl.cli import complete
from umlctl.errors import UmlctlError, UsageError
from umlctl.execution import copying
from umlctl.output import say


class Place(NamedTuple):
    """A file, here or in a guest.

    Fields:
        guest: empty: it is here
        path: of the file, or a directory for it
    """

    guest: str
    path: str


@click.command(
    epilog="""\b
Examples:
  umlctl cp test.ko demo:/tmp              into a directory there
  umlctl cp demo:/var/log/syslog .         and out
  umlctl cp a b demo:/srv/
  tar c tree | umlctl exec demo -- tar x -C /srv    a whole directory
"""
)
@click.argument(
    "paths",
    metavar="SOURCE... TARGET",
    nargs=-1,
    required=True,
    shell_complete=complete.of_guests,
)
def cp(paths: tuple[str, ...]) -> int:
    """Copy files into a guest that runs, or out of it. GUEST:PATH is a file there.

    Bytes are copied as they are, with the mode; a file is there whole or not at all. Sources are in
    the same place: all here, or all in guests. What `exec GUEST` takes in the guest, this takes.
    """
    *sources, target = paths
    if not sources:
        raise UsageError(f"where is {target!r} to be copied? umlctl cp SOURCE... TARGET")
    places = [_place(source) for source in sources]
    to = _place(target)
    for each in places:
        if bool(each.guest) == bool(to.guest):
            where = "in a guest" if to.guest else "here"
            raise UsageError(
                f"{each.path} and {to.path} are both {where}; one of them is GUEST:PATH"
            )
    code = exitcodes.OK
    for source, each in zip(sources, places, strict=True):
        try:
            if to.guest:
                copying.put(to.guest, each.path, to.path)
            else:
                copying.get(each.guest, each.path, to.path, several=len(places) > 1)
        except UmlctlError as problem:
            say(f"cp {source}: {problem}", problem.code)
            code = code or problem.code
    return code


def _place(text: str) -> Place:
    """What a user names. A path with a `:` begins with `/` or `.`.

    Raises: UsageError
    """
    guest, colon, path = text.partition(":")
    if not colon or "/" in guest or guest in (".", ".."):
        return Place("", text)
    if not guest or not path.startswith("/"):
        raise UsageError(
            f"{text!r}: GUEST:PATH has a path that begins with '/'; a file here whose name has a "
            "colon is ./NAME"
        )
    return Place(guest, path)
