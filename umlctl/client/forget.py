"""Forgetting a guest that has ended."""

from __future__ import annotations

from umlctl.client import unsupervised
from umlctl.errors import GuestInUse, HostError, NoGuest
from umlctl.recovery import discover
from umlctl.state import records, umid_lock


def forget(umid: str) -> None:
    """Remove the records of a guest that has ended, with its name locked, so that none can take it.
    A guest that has died unseen is seen to by a supervisor first, which releases its devices.

    Raises: NoGuest, GuestInUse, HostError
    """
    if umid not in records.names():
        raise NoGuest(f"nothing is known of a guest {umid!r}; `umlctl list` shows the guests")
    record = discover.find(umid)
    if record is not None:
        if records.lives(record):
            raise GuestInUse(f"{umid} runs; `umlctl shutdown {umid}` ends it")
        if record.ending is None and unsupervised.ask_to_adopt(umid):
            raise GuestInUse(
                f"{umid} had died unseen, and its policy has it started again; "
                f"`umlctl shutdown {umid}` ends it"
            )
    left = records.load(umid)
    if left is not None and left.ending is None:
        raise HostError(f"{umid} cannot be forgotten: no supervisor has seen to what it left")
    try:
        umid_lock.remove_records(umid)
    except OSError as problem:
        raise HostError(f"{umid} cannot be forgotten: {problem}") from problem
