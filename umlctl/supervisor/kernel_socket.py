"""A kernel's own socket, held by its supervisor: a socket whose name was removed can be reached
by nobody else, and a kernel makes none before its next boot.

It has a second name for that, in another directory. Where both were removed, who has it open still
reaches it, but no supervisor after this one does.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import Final

from umlctl.host import processes, scarce, shared_socket

UNREACHABLE: Final = "its kernel's socket was removed while nobody supervised it; `kill` ends it"


def is_open(pid: int, path: str) -> bool:
    """A kernel has its socket yet, though nobody may reach it: one that ends closes it."""
    return _has_socket(pid, path) is True


def is_closed(pid: int, path: str) -> bool:
    """A kernel that runs has no socket, as one that begins anew, or is about to end."""
    return _has_socket(pid, path) is False


def _has_socket(pid: int, path: str) -> bool | None:
    """None where that cannot be seen, or it is no more."""
    held = set(processes.descriptors(pid))
    try:
        with open(f"/proc/{pid}/net/unix", "rb") as file:
            rows = [line.split(None, 7) for line in file]
    except OSError:
        return None
    if not held:
        return None
    name = os.fsencode(path)
    return any(
        len(row) == 8 and row[7].rstrip() == name and f"socket:[{row[6].decode()}]" in held
        for row in rows
    )


class KernelSocket:
    """What the name of a kernel's socket leads to, and the name for it should that be removed."""

    def __init__(self, path: str, kept: str) -> None:
        """kept: its second name; empty if the directory of the first is another user's, where we
        make none
        """
        self.path = path
        self._kept = kept
        self._held = -1
        self._inode = 0
        self.hold()

    def hold(self) -> None:
        """The same as `look`, for a kernel that has just made one."""
        with suppress(OSError):  # it can be asked all the same, as long as the name stays
            self.look()

    def is_there(self) -> bool:
        return os.path.exists(self.path)

    def is_nameless(self, pid: int) -> bool:
        """The kernel has it, but the name is gone that leads there.

        pid: of the kernel
        """
        if self.is_there():
            return False  # a kernel that cannot be asked then has panicked, or reboots
        return is_open(pid, self.path)

    def look(self) -> bool:
        """Hold what is there now; if the name is gone, make it anew. Whether it was.

        Raises: OSError
        """
        try:
            found = os.lstat(self.path)
            if stat.S_ISLNK(found.st_mode) and not self.is_there():
                os.unlink(self.path)  # it led to a supervisor that was killed
                raise FileNotFoundError
        except FileNotFoundError:
            return bool(self._kept) and self._name()
        if stat.S_ISSOCK(found.st_mode) and found.st_ino != self._inode:
            held = os.open(self.path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
            self.close()
            self._held, self._inode = held, found.st_ino
            self._keep()
            if held >= scarce.most_to_keep() and self._kept and os.path.exists(self._kept):
                self.close()  # others need the descriptor more, and it has its second name
        elif self._kept and stat.S_ISSOCK(found.st_mode) and not os.path.exists(self._kept):
            self._keep()
        return False

    def close(self) -> None:
        if self._held >= 0:
            os.close(self._held)
            self._held = -1

    def _keep(self) -> None:
        """Give it its second name; without, it is held by us alone."""
        if self._kept:
            with suppress(OSError):
                with suppress(FileNotFoundError):
                    os.unlink(self._kept)
                os.link(self.path, self._kept)

    def _name(self) -> bool:
        """Give what is held a name again, unless the kernel has closed it: one that reboots binds
        another, and clears the directory before.

        Raises: OSError
        """
        held = f"/proc/{os.getpid()}/fd/{self._held}"
        if shared_socket.answers(self._kept):
            os.makedirs(os.path.dirname(self.path), 0o700, exist_ok=True)
            os.link(self._kept, self.path)
        elif self._held >= 0 and shared_socket.answers(held):
            os.makedirs(os.path.dirname(self.path), 0o700, exist_ok=True)
            os.symlink(held, self.path)
        else:
            return False
        return True
