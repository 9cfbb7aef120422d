"""What a guest with `ethN=daemon` says to a switch, and what it is told. Pure.

    request  magic 0xfeedface, version 3, type 0, the guest's struct sockaddr_un
    answer   the switch's struct sockaddr_un, where frames go, one a datagram

Numbers have 32 bits, in host order. Kernels up to 6.15 speak version 3, and nothing else since
2.6; an abstract address of theirs fills its whole field with zeros. Source:
arch/um/drivers/daemon_user.c
"""

from __future__ import annotations

import os
import struct
from typing import Final

MAGIC: Final = 0xFEEDFACE
VERSION: Final = 3
NEW_CONTROL: Final = 0
AF_UNIX: Final = 1
PATH_BYTES: Final = 108
"""Of the field with the path or the abstract address, bytes."""

_HEADER: Final = struct.Struct("=III")
_ADDRESS: Final = struct.Struct(f"=H{PATH_BYTES}s")
REQUEST_BYTES: Final = _HEADER.size + _ADDRESS.size
"""What is needed of a request; kernels send two bytes more, which are padding."""


class BadRequest(ValueError):
    """The message is what the original says."""


def decode(data: bytes) -> bytes | None:
    """Where a guest wants its frames: a path, or an abstract address, which begins with a zero.

    None: there is more to come

    Raises: BadRequest
    """
    if len(data) < _HEADER.size:
        return None
    magic, version, kind = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise BadRequest("Bad request: no kernel since 2.6 sends this")
    if version != VERSION:
        raise BadRequest(
            f"Request for a version {version} port, which this uml_switch doesn't support"
        )
    if kind != NEW_CONTROL:
        raise BadRequest(f"Bad request type : {kind}")
    if len(data) < REQUEST_BYTES:
        return None
    family, path = _ADDRESS.unpack_from(data, _HEADER.size)
    if family != AF_UNIX or not path.strip(b"\0"):
        raise BadRequest("Bad request: it names no unix socket")
    if path[0]:
        path = path.partition(b"\0")[0]
    return bytes(path)


def abstract(name: str) -> bytes:
    """The abstract address of this name, as long as kernels take it to be."""
    return (b"\0" + os.fsencode(name)).ljust(PATH_BYTES, b"\0")


def answer(address: bytes) -> bytes:
    """What a guest is told."""
    return _ADDRESS.pack(AF_UNIX, address)
