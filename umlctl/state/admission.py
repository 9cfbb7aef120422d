"""Whether one guest more may start beside those that run: by what is written down of this host, and
by the memory that it has.

A guest has its memory in a file that grows as it is touched, so several may be promised more than
there is. What a guest is promised, and has not touched, is still free for all who look.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from umlctl.errors import HostError, UnfitHost
from umlctl.host import processes, room

if TYPE_CHECKING:
    from collections.abc import Collection

    from umlctl.guest.bounds import Bounds
    from umlctl.guest.definition import Definition
    from umlctl.state.records import Record


class Promised(NamedTuple):
    """Memory that guests which run may still come to have, bytes.

    Fields:
        guests: how many they are
        untouched: what they were promised, less what they have
    """

    guests: int
    untouched: int


def check(
    definition: Definition, directory: str, bounds: Bounds, others: Collection[Record]
) -> None:
    """See that a guest may start.

    directory: in which it is to have its memory
    others: guests that run; nobody else may start one before this guest is among them, see
        `umlctl.state.leases.lock`

    Raises: HostError
    """
    umid = definition.umid
    most = bounds.max_guests
    if most is not None and len(others) >= most:
        raise HostError(
            f"{umid}: {_running(len(others))}, and {bounds.place('max_guests')} allows {most}: end "
            "one with `umlctl shutdown`, or raise max_guests there"
        )
    have = sum(record.definition.mem for record in others)
    total = bounds.max_total_mem
    if total is not None and have + definition.mem > total:
        raise HostError(
            f"{umid}: it is to have {_size(definition.mem)} of memory, {_running(len(others))} "
            f"with {_size(have)}, and {bounds.place('max_total_mem')} allows {_size(total)} in "
            "all: take less --mem, end one with `umlctl shutdown`, or raise max_total_mem there"
        )
    if bounds.overcommit is False:
        doubt = room.memory_doubt(directory, definition.mem, *promised(directory, others))
        if doubt:
            raise UnfitHost(
                f"{umid}: {doubt}; {bounds.place('overcommit')} allows no such promise: take less "
                "--mem, or another --mem-dir"
            )


def promised(directory: str, guests: Collection[Record]) -> Promised:
    """What guests that run may still take of the file system of a directory."""
    count = untouched = 0
    for record in guests:
        if _is_same(directory, _place(record)):
            count += 1
            have = processes.memory_used(record.pid) or 0
            untouched += max(0, record.definition.mem - have)
    return Promised(count, untouched)


def _place(record: Record) -> str:
    """Where a guest that runs has its memory."""
    try:
        return room.place_of(record.definition, processes.environment(record.pid))
    except OSError:  # it has just ended
        return ""


def _is_same(directory: str, other: str) -> bool:
    """Whether two directories have the same space."""
    try:
        return os.stat(directory).st_dev == os.stat(other).st_dev
    except OSError:
        return False


def _running(count: int) -> str:
    return "no guest runs" if not count else f"{count} guest{'s run' if count > 1 else ' runs'}"


def _size(count: int) -> str:
    return f"{count >> 20}M"
