"""Guests that another guest comes after: they have to run before it is started."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from umlctl.client.ask import GuestClient
from umlctl.client.unsupervised import is_served
from umlctl.errors import NeverStarted, NoGuest
from umlctl.protocol.status import COMING_STATES, DEAD, read_status
from umlctl.state import umid_lock

if TYPE_CHECKING:
    from umlctl.guest.definition import Definition
    from umlctl.protocol.status import State

LOOK_INTERVAL: Final = 0.05
"""The time between two looks at a guest that is booting, seconds."""


def await_earlier(definition: Definition) -> None:
    """Wait for the earlier guests that are booting, as long as this guest's own boot may take.

    Raises: NoGuest: one does not run; NeverStarted: one is not ready in time
    """
    deadline = time.monotonic() + definition.timeout
    for name in definition.after:
        while (state := _state(name)) in COMING_STATES:
            if time.monotonic() > deadline:
                raise NeverStarted(
                    f"{definition.umid} comes after {name}, which is not ready within "
                    f"{definition.timeout:g} seconds; see `umlctl logs {name}`"
                )
            time.sleep(LOOK_INTERVAL)
        if not state:
            raise NoGuest(
                f"{definition.umid} comes after {name}, which does not run; start {name} first"
            )


def _state(name: str) -> State | Literal[""]:
    """The state of a guest; empty if it does not run."""
    if umid_lock.has_owner(name) and not is_served(name):
        return "booting"  # its supervisor has not opened the socket yet
    try:
        with GuestClient(name) as guest:
            if guest.is_bare():
                return "running"  # a bare kernel can say no more
            outcome = guest.ask("status")
    except NoGuest:
        return "booting" if umid_lock.has_owner(name) else ""
    try:
        state = read_status(outcome.data).state
    except msgspec.DecodeError:
        return "booting"  # it is asked again
    return "" if state == DEAD else state
