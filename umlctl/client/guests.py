"""All guests of a user, as they are now: running ones, bare kernels, and those that have ended.

This is a look: no guest is adopted, and nothing is written.
"""

from __future__ import annotations

import contextlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import msgspec

from socketproto.exchange import GONE
from umlctl.client import unsupervised
from umlctl.client.ask import Deadline, GuestClient
from umlctl.errors import NoGuest, NotOnBareKernel
from umlctl.host import limits, paths, processes
from umlctl.protocol.status import DEAD, Status, read_status
from umlctl.recovery import bare, discover
from umlctl.state import records, umid_lock

LOOK_INTERVAL: Final = 0.02
"""The time between two looks at whether a supervisor listens, seconds."""
ANSWER_TIMEOUT: Final = 2.0
"""How long one guest may hold up the others, seconds; all are asked side by side."""


def gather() -> list[Status]:
    """The status of every guest, by name; those that have ended come last.

    This is a look: guests without a supervisor are shown, and left to the next supervisor.
    """
    kept = {record.definition.umid: record for record in records.load_all()}
    for record in discover.unrecorded(kept):
        # A guest that is being started has an owner.
        if not umid_lock.has_owner(record.definition.umid):
            kept[record.definition.umid] = record
    live = {umid for umid, record in kept.items() if records.lives(record)}
    # Guests whose supervisor makes their directory again.
    removed = (umid for umid in live if umid_lock.has_owner(umid))
    names = sorted({*paths.guest_names(), *removed})
    answers = dict(zip(names, _ask_all(names, live), strict=True)) if names else {}
    found = {name: status for name, status in answers.items() if status is not None}
    for umid, record in kept.items():
        if umid not in found:
            found[umid] = unsupervised.unsupervised_status(record)
    return [
        found[name] for name in sorted(found, key=lambda umid: (found[umid].state == DEAD, umid))
    ]


def _ask_all(names: list[str], live: set[str]) -> list[Status | None]:
    """Ask all guests: side by side, as one may take long; one after another if there are no
    threads.

    live: the guests whose kernel runs
    """

    def ask(name: str) -> Status | None:
        return _ask_soon(name) if name in live else _ask(name)

    try:
        with ThreadPoolExecutor(min(32, len(names))) as pool:
            return list(pool.map(ask, names))
    except RuntimeError as problem:
        if not limits.is_lacking(problem):
            raise
        return [ask(name) for name in names]


def _ask_soon(name: str) -> Status | None:
    """The status of a guest that runs. A supervisor that adopts the guest just now, or makes its
    removed directory again, is waited for."""
    end = time.monotonic() + unsupervised.LOCK_RELEASE_TIMEOUT
    while True:
        found = _ask(name)
        if found is not None or not umid_lock.has_owner(name) or time.monotonic() > end:
            return found
        time.sleep(LOOK_INTERVAL)


def _ask(name: str) -> Status | None:
    """What the guest says of itself; None if no server listens."""
    deadline = Deadline(patience=ANSWER_TIMEOUT)
    with GuestClient(name, looks=True) as guest:
        path = guest.link.path
        try:
            if guest.is_bare():
                return _bare(name, guest, deadline)
            outcome = guest.ask("status", deadline)
        except NoGuest:
            return None
        except NotOnBareKernel:  # a bare kernel has begun to listen since
            return _bare(name, guest, deadline)
    if outcome.kind == GONE:
        return None
    if not outcome.ok:
        return _unknown(name, path, str(outcome))
    try:
        status = read_status(outcome.data)
    except msgspec.DecodeError:  # another program's answer must not spoil the list
        return _unknown(name, path, "its answer is not a status")
    return msgspec.structs.replace(status, umid=name)


def _bare(name: str, guest: GuestClient, deadline: Deadline) -> Status:
    """What can be told of a kernel that a user has started by hand."""
    path = guest.link.path
    outcome = guest.ask("version", deadline)
    trouble = "" if outcome.ok else bare.held(path) or str(outcome)
    status = msgspec.structs.replace(
        _unknown(name, path, trouble), state="unmanaged" if outcome.ok else "silent"
    )
    with contextlib.suppress(OSError, ValueError):
        with open(os.path.join(os.path.dirname(path), "pid")) as file:
            pid = int(file.read())
        status = msgspec.structs.replace(
            status,
            pid=pid,
            cpu=processes.cpu_seconds(pid),
            memory=processes.memory_used(pid),
            since=os.stat(path).st_mtime,
        )
    return status


def _unknown(name: str, path: str, trouble: str) -> Status:
    return Status(
        umid=name,
        state="silent",
        since=time.time(),
        trouble=trouble or None,
        sockets={"mconsole": path},
    )
