"""The lock that makes a process the one background supervisor of its user."""

from __future__ import annotations

import fcntl
import os

from umlctl.host import paths, place
from umlctl.host.files import is_still_at


class Lock:
    """A lock that this process holds once `take` says so, until the process ends."""

    def __init__(self) -> None:
        """Raises: BadPlace, OSError"""
        paths.make_run_dir()
        place.keep()
        self._path = paths.supervisor_lock()
        self._descriptor = -1

    def take(self, flags: int) -> bool:
        """Become the supervisor, unless there is one.

        flags: LOCK_NB, or 0 to wait until there is none

        Raises: OSError
        """
        while True:
            lock = self._open()
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | flags)
            except BlockingIOError:
                os.close(lock)
                return False
            if is_still_at(lock, self._path):
                break
            os.close(lock)  # its holder has made another, or has ended
        if not os.fstat(lock).st_size and place.holder([self._path], os.getpid(), but=lock):
            os.close(lock)  # the holder of a lock that was removed will take this one soon
            return False
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = lock
        return True

    def restore(self) -> None:
        """Make the run directory, and the lock in it, again when they were removed.

        Raises: OSError
        """
        paths.make_run_dir()
        place.keep()
        if not is_still_at(self._descriptor, self._path):
            last = self._descriptor
            if self.take(fcntl.LOCK_NB):
                os.close(last)

    def _open(self) -> int:
        return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
