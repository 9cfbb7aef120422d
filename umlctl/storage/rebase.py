"""A COW file over a backing file that was moved, or whose time of change is another.

Only the header changes, and it stays in its version. That the bytes of the backing file are what
they were, nobody can see: the header has no checksum.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from umlctl.errors import HostError
from umlctl.storage import cow

if TYPE_CHECKING:
    from umlctl.storage.cow_file import CowFile


class Difference(NamedTuple):
    """What a header says, and what is so.

    Fields:
        what: "path", "mtime"
        recorded, now: of each
    """

    what: str
    recorded: str | int
    now: str | int


def differences(of: CowFile, backing: int, path: str) -> list[Difference]:
    """What a rebase would change.

    backing, path: the backing file that it is to have

    Raises: HostError: it cannot have that one; OSError
    """
    now = cow.described(backing, os.path.abspath(path))
    if now.size != of.header.size:
        grown = now.size > of.header.size
        raise HostError(
            f"{path} has {now.size} bytes, and {of.path} was made over {of.header.size}: "
            + (
                f"if it has only grown, `truncate -s {of.header.size} {path}` makes it what it was"
                if grown
                else "the sectors beyond its end are lost, or it is another image"
            )
        )
    cow.encode(of.header._replace(backing=now.backing))
    found = []
    if now.backing != of.header.backing:
        found.append(Difference("path", of.header.backing, now.backing))
    if now.mtime != of.header.mtime:
        found.append(Difference("mtime", of.header.mtime, now.mtime))
    return found


def rebase(of: CowFile, found: list[Difference]) -> None:
    """Write these into the header.

    Raises: OSError; BadCow
    """
    header = of.header
    for each in found:
        if each.what == "path":
            header = header._replace(backing=str(each.now))
        else:
            header = header._replace(mtime=int(each.now))
    cow.write(of.descriptor, cow.encode(header), 0)
    os.fsync(of.descriptor)
