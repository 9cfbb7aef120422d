"""Notices at once when a file has grown: inotify(7)."""

from __future__ import annotations

import ctypes
import os
from typing import Final

_MODIFY: Final = 2


class Watch:
    """Becomes readable when one of its files is written to."""

    def __init__(self) -> None:
        """Raises: OSError: as when this host has no more of them"""
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = self._checked(
            self._libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK), "inotify"
        )

    def add(self, path: str) -> None:
        """Watch one more file; a file that is watched already stays so.

        Raises: OSError
        """
        name = ctypes.c_char_p(os.fsencode(path))
        self._checked(self._libc.inotify_add_watch(self._descriptor, name, _MODIFY), path)

    def fileno(self) -> int:
        return self._descriptor

    def clear(self) -> None:
        """Make it unreadable until the next time."""
        try:
            os.read(self._descriptor, 1 << 16)
        except BlockingIOError:
            pass

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _checked(self, result: int, what: str) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), what)
        return result
