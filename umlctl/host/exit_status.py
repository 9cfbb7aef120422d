"""The exit status of a process that is no child of this one, where the host tells it."""

from __future__ import annotations

import fcntl
import os
import struct
from typing import Final

from umlctl import exitcodes

_INFO: Final = struct.Struct("=QQ11IiII")
"""struct pidfd_info: mask, cgroup, pids and ids, the wait status, what is about a core dump.
Source: include/uapi/linux/pidfd.h"""
_GET_INFO: Final = 0xC000FF0B | _INFO.size << 16
"""PIDFD_GET_INFO, since Linux 6.13; a wait status since Linux 6.15."""
_EXIT: Final = 1 << 3


def of(pidfd: int) -> int | None:
    """How a process ended, as a shell says it; None: its parent has yet to ask.

    pidfd: of a process that has ended

    Raises: OSError: this host does not tell
    """
    request = bytearray(_INFO.size)
    _INFO.pack_into(request, 0, _EXIT, *[0] * 15)
    fcntl.ioctl(pidfd, _GET_INFO, request)
    mask, *_, status, _, _ = _INFO.unpack(request)
    if not mask & _EXIT:
        return None
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else exitcodes.SIGNALLED - code
