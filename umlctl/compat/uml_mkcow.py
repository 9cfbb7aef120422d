"""`uml_mkcow`: make a new and empty COW file over a backing file.

    uml_mkcow [-f] COW BACKING

The original leaves an empty file behind when the backing file is not there, and with `-f` writes
into a file that a guest has open; here nothing is left, and that is refused. Source: uml_mkcow of
uml-utilities 20070815.
"""

from __future__ import annotations

import os
import sys
from typing import Final

from umlctl.compat.cow_files import NEW_MODE, Failed, ended, replacing
from umlctl.errors import HostError, UmlctlError
from umlctl.storage import cow, journal
from umlctl.storage.cow_file import check_no_cow, opened
from umlctl.storage.new_file import new_file

NAME: Final = "uml_mkcow"
USAGE: Final = (
    "{0} usage: \n\t{0} [-f] <COW file> <backing file>\n"
    "\t-f forces overwrite of an existing COW file\n"
)
USAGE_CODE: Final = 2


def main(argv: list[str]) -> int:
    """Run `uml_mkcow` with these arguments; the exit code. More than two files are not looked at,
    as the original does not."""
    words = argv[1:]
    force = words[:1] == ["-f"]
    if force:
        del words[0]
    if len(words) < 2:
        sys.stderr.write(USAGE.format(NAME))
        return USAGE_CODE
    try:
        _make(words[0], words[1], force=force)
    except (UmlctlError, OSError, Failed) as problem:
        return ended(NAME, problem)
    return 0


def _make(path: str, backing: str, *, force: bool) -> None:
    """Raises: Failed, HostError; OSError"""
    if not force and os.path.lexists(path):
        raise Failed("open COW file: File exists")
    directory = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(directory):
        raise Failed(f"open COW file: {directory} is no directory")
    real = os.path.join(os.path.realpath(os.path.dirname(backing)), os.path.basename(backing))
    if not os.path.exists(real):
        raise Failed(f"write_cow_header - backing file '{real}' mtime request failed: not there")
    with opened(real) as descriptor:
        header = cow.described(descriptor, real)
        for left in filter(os.path.lexists, journal.both_of(path)):
            raise HostError(
                f"{left} is of a merge or a reset of {path} that was interrupted; "
                f"`umlctl cow check {path}` finishes it"
            )
        # Both are whole when they have their name.
        new = replacing(NAME, path, real) if force else new_file(path, NEW_MODE)
        with new as made:
            cow.write(made, cow.encode(header), 0)
            os.ftruncate(made, cow.length(header.size))
        try:
            check_no_cow(real, descriptor)
        except HostError as problem:
            sys.stderr.write(f"{NAME}: {problem}\n")  # the original says nothing
