"""Which dead guests are kept, and which are forgotten."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Final

from umlctl.host import paths
from umlctl.host.files import write_atomically
from umlctl.state import records, umid_lock

if TYPE_CHECKING:
    from umlctl.state.records import Record

MIN_ENDED_GUESTS: Final = 50
"""How many dead guests are kept, however old they are and whatever room they take."""
MAX_ENDED_GUESTS: Final = 2000
MAX_ENDED_BYTES: Final = 1 << 30
MAX_ENDED_SECONDS: Final = 14 * 86400.0
"""Bounds for dead guests beyond those: how many there may be, how many bytes all may take together
with their logs, and how many seconds ago one may have ended. The oldest go first."""
PRUNE_INTERVAL: Final = 60.0
"""How often to look for the oldest, seconds: it takes the longer, the more there are."""


def tidy(umid: str) -> None:
    """Forget a guest that has ended, if its name was made up and it ended well; now and then,
    forget the oldest of all."""
    record = records.load(umid)
    if record is not None and _is_done_with(record):
        umid_lock.forget(umid)
    stamp = f"{paths.state_dir()}/pruned"
    with contextlib.suppress(OSError):
        if abs(time.time() - os.stat(stamp).st_mtime) < PRUNE_INTERVAL:
            return
    with contextlib.suppress(OSError):
        write_atomically(stamp, b"", sync=False)
    prune()


def _is_done_with(record: Record) -> bool:
    """Whether a guest ended well, under a name that was made up for it."""
    return record.ending is not None and record.ending.code == 0 and not record.definition.named


def prune() -> None:
    """Forget the oldest dead guests, and those that ended well under a name made up for them."""
    ended = []
    for umid in records.names():
        record = records.load(umid)
        if record is not None and record.ending is not None:
            ended.append((0.0 if _is_done_with(record) else record.ending.time, umid))
        elif aside := records.set_aside_names(umid):
            with contextlib.suppress(OSError):
                moment = os.stat(f"{paths.record_dir(umid)}/{aside[0]}").st_mtime
                ended.append((moment, umid))
    ended.sort(reverse=True)
    oldest = time.time() - MAX_ENDED_SECONDS
    taken = 0
    for place, (moment, umid) in enumerate(ended):
        taken += _size(umid)
        over = moment < oldest or taken > MAX_ENDED_BYTES or place >= MAX_ENDED_GUESTS
        if not moment or (over and place >= MIN_ENDED_GUESTS):
            umid_lock.forget(umid)


def _size(umid: str) -> int:
    """The room that all files kept of a guest take, bytes."""
    try:
        with os.scandir(paths.record_dir(umid)) as found:
            return sum(each.stat(follow_symlinks=False).st_blocks * 512 for each in found)
    except OSError:
        return 0
