"""What of a guest's memory can be taken, and what has been."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from umlctl.devices import mem
from umlctl.errors import Refusal

if TYPE_CHECKING:
    from umlctl.host.records import Entry

SPARE: Final = 8 << 20
"""What a guest keeps when memory is taken from it: with less its kernel may die, bytes."""


def change_of(entry: Entry) -> int:
    """The change that the table has, bytes; negative: taken from the guest."""
    return mem.parse(entry.kernel).change


def most(free: int) -> int:
    """The most that can be taken from a guest that has so much free, bytes."""
    return _pages(free - SPARE)


def check(change: int, taken: int, free: int) -> None:
    """Refuse what the kernel would say OK to and not do, or not survive.

    Raises: Refusal
    """
    if change > 0 and change > taken:
        had = f"{taken >> 10}K was taken from it" if taken else "nothing was taken from it"
        raise Refusal(
            f"mem: a guest gets back at most what was taken from it, and {had}; "
            "start it with a larger --mem",
            -errno.EINVAL,
        )
    if change < 0 and -change > free - SPARE:
        raise Refusal(
            f"mem: the guest has {free >> 10}K free and keeps {SPARE >> 10}K of it; "
            f"{-change >> 10}K is too much; `echo 3 >/proc/sys/vm/drop_caches` there frees some",
            -errno.ENOMEM,
        )


def really_taken(change: int, free: int, after: dict[str, int] | None) -> int:
    """What a change comes to: the kernel says OK, and takes no more than it finds.

    change: as asked for, bytes, negative: to be taken; free: what was free before
    """
    if change > 0 or after is None or after["free"] >= SPARE:
        return -change
    return min(-change, _pages(free - after["free"]))


def _pages(size: int) -> int:
    return max(size, 0) // mem.PAGE * mem.PAGE
