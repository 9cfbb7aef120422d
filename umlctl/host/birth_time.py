"""When a file was made: that tells it from another file which was given its inode.

Python's `os.stat` does not tell that on Linux. Source: statx(2)
"""

from __future__ import annotations

import ctypes
import os
from struct import unpack_from
from typing import Final

_AT_FDCWD: Final = -100
_STATX_BTIME: Final = 0x800
_STATX_BYTES: Final = 256
_BTIME_OFFSET: Final = 80
"""Where the time of birth is in a struct statx."""


def of(path: str) -> int:
    """When a file was made, nanoseconds since 1970; 0 where the file system does not know, or this
    host cannot say."""
    statx = getattr(ctypes.CDLL(None), "statx", None)
    if statx is None:
        return 0
    found = ctypes.create_string_buffer(_STATX_BYTES)
    if statx(_AT_FDCWD, os.fsencode(path), 0, _STATX_BTIME, found):
        return 0
    if not unpack_from("I", found)[0] & _STATX_BTIME:
        return 0
    seconds, nanoseconds = unpack_from("qI", found, _BTIME_OFFSET)
    return int(seconds) * 10**9 + int(nanoseconds)
