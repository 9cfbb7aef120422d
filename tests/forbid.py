"""A program as on a host that forbids a system call.

    python -m tests.forbid NUMBER PROGRAM [ARGUMENTS...]

The call fails with EPERM, as under the filter of a container. x86-64.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from errno import EPERM
from typing import Final

PTRACE: Final = 101
UNSHARE: Final = 272
MEMFD_CREATE: Final = 319
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_SECCOMP: Final = 22
_FILTER: Final = 2
_ERRNO: Final = 0x00050000
_KILL: Final = 0x80000000
_ALLOW: Final = 0x7FFF0000


def forbid(number: int, signal: int = 0) -> None:
    """Have this process, and all that it starts, not make a system call.

    signal: 31 for SIGSYS, which ends who makes it; else the call fails

    Raises: OSError
    """
    rows = [
        (0x20, 0, 0, 0),
        (0x15, 0, 1, number),
        (0x06, 0, 0, _KILL if signal else _ERRNO | EPERM),
        (0x06, 0, 0, _ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *row) for row in rows))
    fprog = struct.pack("@HP", len(rows), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.prctl(_PR_SET_SECCOMP, _FILTER, fprog, 0, 0):
        raise OSError(ctypes.get_errno(), "no such filter can be had here")


if __name__ == "__main__":
    forbid(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])
