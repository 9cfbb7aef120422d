"""A kernel's own socket, held by its supervisor: a socket whose name was removed can be reached
by nobody else, and a kernel makes none before its next boot.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import Final

from umlctl.host import sharing

UNREACHABLE: Final = "its kernel's socket was removed while nobody supervised it; `kill` ends it"


class KernelSocket:
    """What the name of a kernel's socket leads to, and the name for it should that be removed."""

    def __init__(self, path: str, *, links: bool) -> None:
        """links: the directory is ours, so that a name can be made there"""
        self.path = path
        self._links = links
        self._held = -1
        self._inode = 0
        self.hold()

    def hold(self) -> None:
        """The same as `look`, for a kernel that has just made one."""
        with suppress(OSError):  # it can be asked all the same, as long as the name stays
            self.look()

    def is_there(self) -> bool:
        return os.path.exists(self.path)

    def look(self) -> bool:
        """Hold what is there now; if the name is gone, make it anew. Whether it was.

        Raises: OSError
        """
        try:
            found = os.lstat(self.path)
        except FileNotFoundError:
            return self._links and self._held >= 0 and self._link()
        if stat.S_ISSOCK(found.st_mode) and found.st_ino != self._inode:
            held = os.open(self.path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
            self.close()
            self._held, self._inode = held, found.st_ino
        return False

    def close(self) -> None:
        if self._held >= 0:
            os.close(self._held)
            self._held = -1

    def _link(self) -> bool:
        """Raises: OSError"""
        held = f"/proc/{os.getpid()}/fd/{self._held}"
        if not sharing.answers(held):
            return False  # a kernel that reboots has closed it, and will bind another
        os.makedirs(os.path.dirname(self.path), 0o700, exist_ok=True)
        os.symlink(held, self.path)  # the kernel clears the directory before it binds the next
        return True
