"""JSON that says of itself whether it is whole: the last field of an object is its checksum.

A file that was cut is no JSON any more. A file in which a byte has changed may still be JSON, and
say something else. An object without the field is taken as it is: a user may have written it by
hand.
"""

from __future__ import annotations

import re
from typing import Final
from zlib import crc32

_SEAL: Final = re.compile(rb',"crc":"([0-9a-f]{8})"\}\s*\Z')


class Damaged(ValueError):
    """The object is not what was sealed."""


def seal(data: bytes) -> bytes:
    """A JSON object with at least one field, with its checksum and a newline at the end."""
    assert data.startswith(b"{")
    assert data.endswith(b"}")
    body = data[:-1]
    return b'%s,"crc":"%08x"}\n' % (body, crc32(body))


def unseal(data: bytes) -> bytes:
    """The object as it was before it was sealed.

    Raises: Damaged
    """
    found = _SEAL.search(data, max(0, len(data) - 64))
    if found is None:
        return data
    body = data[: found.start()]
    if crc32(body) != int(found[1], 16):
        raise Damaged("its checksum does not fit: it is damaged, or was changed by hand")
    return body + b"}"
