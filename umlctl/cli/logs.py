"""`umlctl logs`: the console of a guest, from its first byte on, alive or dead."""

from __future__ import annotations

import os
import sys

import click

from umlctl.cli import complete
from umlctl.errors import NoGuest
from umlctl.host import paths


@click.command(
    epilog="""\b
Examples:
  umlctl logs demo
  umlctl logs demo -n 20
""",
)
@click.argument("guest", shell_complete=complete.guests)
@click.option("-n", "--lines", type=click.IntRange(0), metavar="LINES", help="Only the last LINES.")
def logs(guest: str, lines: int | None) -> int:
    """Print what a guest has put on its console since it was started."""
    path = f"{paths.record_dir(paths.umid_of(guest))}/console.log"
    try:
        with open(path, "rb") as file:
            if lines is not None:
                file.seek(_start_of_last(file.fileno(), lines))
            while data := file.read(1 << 20):
                sys.stdout.buffer.write(data)
    except FileNotFoundError:
        raise NoGuest(
            f"there is no log of a guest {guest!r} ({path}); a bare kernel's console is its own"
        ) from None
    return 0


def _start_of_last(descriptor: int, lines: int) -> int:
    """Where the last lines of a file begin, read from its end: it may be long."""
    end = position = os.fstat(descriptor).st_size
    if end and os.pread(descriptor, 1, end - 1) == b"\n":
        position -= 1
    left = lines
    while position > 0 and left > 0:
        begin = max(0, position - 65536)
        block = os.pread(descriptor, position - begin, begin)
        while left and (found := block.rfind(b"\n")) >= 0:
            left -= 1
            position = begin + found
            block = block[:found]
            if not left:
                return position + 1
        if left:
            position = begin
    return position if lines else end
