"""Notifications of a kernel that are handed on to another program, which its starter named.

Such a program asks the kernel at the socket that a notification names. So it is told the
supervisor's, which takes all requests in turn.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from socketproto.wire import SOCKET, Notification, WireError
from umlctl.host.relay import Relay
from umlctl.state import records

if TYPE_CHECKING:
    from umlctl.state.records import Record

RETRY_INTERVAL: Final = 0.05
"""The time between two tries to hand on what the program has not taken, seconds."""


class Relayed:
    """Hands on what the kernel of one guest notifies, if somebody wants that."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._relay = Relay(record.relay) if record.relay else None

    def hand_on(self, datagram: bytes) -> None:
        """Hand on one notification, as it came but for the socket's path."""
        if self._relay is None:
            return
        try:
            is_socket = Notification.decode(datagram).kind == SOCKET
        except WireError:
            is_socket = False
        self._relay.send(announcement(self._record) if is_socket else datagram)

    def wait(self) -> float:
        """How soon `retry` is to be called, seconds; infinite if nothing waits."""
        return float("inf") if self._relay is None or self._relay.flush() else RETRY_INTERVAL


def announcement(record: Record) -> bytes:
    """The notification that a guest can be asked, at its supervisor's socket."""
    path = os.fsencode(records.expected_socket(record))
    return Notification(SOCKET, path + b"\0").encode()
