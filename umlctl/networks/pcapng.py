"""Captured frames as a pcapng file, block by block. Pure.

Source: draft-ietf-opsawg-pcapng, sections 4.1 to 4.6
"""

from __future__ import annotations

import struct
from typing import Final

INBOUND: Final = 1
OUTBOUND: Final = 2
_SECTION, _INTERFACE, _STATISTICS, _PACKET = 0x0A0D0D0A, 1, 5, 6
_MAGIC: Final = 0x1A2B3C4D
_ETHERNET: Final = 1
"""LINKTYPE_ETHERNET"""
_END: Final = b"\0\0\0\0"
_NANOSECONDS: Final = b"\x09"
"""if_tsresol: the times are in units of 10^-9 seconds."""
_APPLICATION, _NAME, _RESOLUTION, _FLAGS, _DROPPED = 4, 2, 9, 2, 5


def section(application: str) -> bytes:
    """The beginning of a file.

    application: that writes it
    """
    body = struct.pack("=IHHq", _MAGIC, 1, 0, -1)
    return _block(_SECTION, body + _option(_APPLICATION, application.encode()) + _END)


def interface(name: str) -> bytes:
    """An interface: the first has the number 0, and each further one the next."""
    options = _option(_NAME, name.encode()) + _option(_RESOLUTION, _NANOSECONDS) + _END
    return _block(_INTERFACE, struct.pack("=HHI", _ETHERNET, 0, 0) + options)


def packet(number: int, time: int, frame: bytes, direction: int) -> bytes:
    """A frame.

    number: of the interface
    time: nanoseconds since 1970
    direction: INBOUND or OUTBOUND
    """
    size = len(frame)
    head = struct.pack("=IIIII", number, time >> 32, time & 0xFFFFFFFF, size, size)
    options = _option(_FLAGS, struct.pack("=I", direction)) + _END
    return _block(_PACKET, head + _padded(frame) + options)


def statistics(number: int, time: int, dropped: int) -> bytes:
    """What became of an interface, at the end: how many frames were dropped, and are not there."""
    head = struct.pack("=III", number, time >> 32, time & 0xFFFFFFFF)
    return _block(_STATISTICS, head + _option(_DROPPED, struct.pack("=Q", dropped)) + _END)


def _block(kind: int, body: bytes) -> bytes:
    size = struct.pack("=I", len(body) + 12)
    return struct.pack("=I", kind) + size + body + size


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("=HH", code, len(value)) + _padded(value)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
