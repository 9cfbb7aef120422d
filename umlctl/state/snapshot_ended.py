"""Snapshots of guests that have ended: nobody stops them, and nobody else writes to their disks
meanwhile.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

from umlctl.errors import HostError
from umlctl.state import leases, records, snapshot_making, umid_lock
from umlctl.state.file_identity import check_free, hold_of
from umlctl.state.snapshots import Snapshot
from umlctl.storage import journal
from umlctl.storage.cow_file import opened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from umlctl.state.leases import Use
    from umlctl.state.records import Record
    from umlctl.state.snapshots import Layer

    Users = Callable[[], Iterable[Use]]

WHAT: Final = "snapshot create"
MAX_COPY_SECONDS: Final = 86400.0
"""How long copying may take where no guest is stopped for it, seconds."""


def find(umid: str) -> Record | None:
    """What is written down of a guest that has ended; None: it has not, or nobody knows it."""
    record = records.load(umid)
    if record is None or records.lives(record) or record.again or umid_lock.has_owner(umid):
        return None
    return record


@contextmanager
def held(record: Record, users: Users) -> Iterator[list[Layer]]:
    """What a guest has written, which nobody changes meanwhile.

    users: the devices of guests that run, as they are under the lock of all devices

    Raises: HostError
    """
    layers = snapshot_making.layers_of(record)
    with ExitStack() as stack:
        with leases.lock():  # a supervisor that looks later sees the locks of the files
            for layer in layers:
                if said := journal.interrupted(layer.path):
                    raise HostError(f"{WHAT}: {said}")
                check_free(WHAT, [hold_of(layer.path, write=False)], users())
                stack.enter_context(opened(layer.path, lock=True))
        yield layers


def take(guests: Sequence[Record], name: str, place: str, users: Users) -> Snapshot:
    """Take a snapshot of guests that have ended; the caller holds `snapshots.lock`.

    place: of `snapshots.making`
    users: as of `held`

    Raises: HostError, UsageError, OSError
    """
    moment = time.time()
    with ExitStack() as stack:
        layers = [each for guest in guests for each in stack.enter_context(held(guest, users))]
        snapshot_making.check_room(layers, place)
        snapshot_making.copy_all(layers, place, time.monotonic() + MAX_COPY_SECONDS)
    made = Snapshot(
        guest=guests[0].definition.umid,
        name=name,
        time=round(moment, 3),
        pause=0.0,
        members=tuple(snapshot_making.member_of(each, ended=True) for each in guests),
        layers=tuple(layers),
    )
    snapshot_making.finish(place, made)
    return made
