"""Frames that a switch passes on to who captures them: each with where it came by. Pure.

A packet is the frame and then what is known of it. So a filter for frames, which the host's kernel
applies to packets, finds everything where it looks for it.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from umlctl.networks.forwarding import HEADER_BYTES

SENT: Final = 1
RECEIVED: Final = 2
_KNOWN: Final = struct.Struct("=QIIB")
"""The time, the port, how many were lost before, and the direction: see Captured."""
KNOWN_BYTES: Final = _KNOWN.size
"""What a packet has more than its frame, bytes."""


class Captured(NamedTuple):
    """A frame that was captured.

    Fields:
        time: when the switch had it, nanoseconds since 1970
        port: of the switch, where it came in
        lost: how many frames before it the switch had to drop for this client, in all
        direction: SENT or RECEIVED by what is looked at: the guest, or what is at the port
    """

    frame: bytes
    time: int
    port: int
    lost: int
    direction: int


def encode(frame: memoryview, time: int, port: int, lost: int, direction: int) -> bytes:
    """A packet of a frame, see Captured."""
    return bytes(frame) + _KNOWN.pack(time, port, lost & 0xFFFFFFFF, direction)


def decode(packet: bytes) -> Captured | None:
    """The frame of a packet; None if it is none."""
    end = len(packet) - KNOWN_BYTES
    if end < HEADER_BYTES:
        return None
    time, port, lost, direction = _KNOWN.unpack_from(packet, end)
    if direction not in (SENT, RECEIVED):
        return None
    return Captured(packet[:end], time, port, lost, direction)
