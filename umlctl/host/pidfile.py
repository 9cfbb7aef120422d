"""Pidfiles: each says a pid, and only its lock says that it is in use."""

from __future__ import annotations

import fcntl
import os
import stat
from typing import Final, Self

from umlctl.errors import HostError
from umlctl.host.files import is_still_at

MODE: Final = 0o644


class Pidfile:
    """A pidfile that is locked. Where the user wants none, there is no path and no file.

    Fields:
        path: where it is; empty if none is wanted
        descriptor: holds its lock; -1 once it was let go
    """

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor

    @classmethod
    def lock(cls, path: str, running: int = 0) -> Self:
        """Open a pidfile and lock it, if one is wanted.

        path: empty: none is wanted
        running: the kernel's pid if it runs already: its tiny parent has the lock then

        Raises: HostError
        """
        while path:
            descriptor = _open(path)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
                if running and owner == str(running):
                    return cls(path, descriptor)
                os.close(descriptor)
                raise HostError(
                    f"the pidfile {path} is locked by a running guest, pid {owner}"
                ) from None
            if is_still_at(descriptor, path):
                return cls(path, descriptor)
            os.close(descriptor)  # the holder removed the file while this process waited for it
        return cls("", -1)

    def write(self, pid: int) -> None:
        """Write the pid of the guest's kernel.

        Raises: OSError
        """
        if self.descriptor >= 0:
            os.ftruncate(self.descriptor, 0)
            os.pwrite(self.descriptor, f"{pid}\n".encode(), 0)

    def remove(self) -> None:
        """Remove the pidfile and let it go; a file that a user has put in its place is kept.

        Raises: OSError: it could not be removed, and is let go all the same
        """
        try:
            if self.descriptor >= 0 and is_still_at(self.descriptor, self.path):
                os.unlink(self.path)
        finally:
            self.close()

    def close(self) -> None:
        """Let the pidfile go, and leave it where it is."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _open(path: str) -> int:
    """Raises: HostError"""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, MODE)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise HostError(f"cannot write the pidfile {path}: it is no regular file")
    except OSError as problem:
        raise HostError(f"cannot write the pidfile {path}: {problem.strerror}") from problem
    return descriptor
