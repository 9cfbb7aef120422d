"""The log of a console, as far as a viewer has shown it.

What the guest prints is in its log before it comes by the socket. So output is not lost that came
before a viewer was attached, or after the guest's supervisor has ended.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from umlctl.host import paths
from umlctl.protocol import console_socket

if TYPE_CHECKING:
    from collections.abc import Iterator

Identity = tuple[int, int]


def identity(path: str) -> Identity | None:
    """A value that tells a log from the one that takes its place; None if there is none, or it is
    empty."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if found.st_size else None


def log_path(umid: str, console: str) -> str:
    """The path of a console's log."""
    return f"{paths.record_dir(umid)}/{console_socket.log_name(console)}"


class Transcript:
    """One console's log.

    Fields:
        offset: of the byte that is to be shown next; None: nothing was shown yet, and the last
            screen comes first
    """

    def __init__(
        self, umid: str, console: str, offset: int | None, *, old: Identity | None = None
    ) -> None:
        """old: what `identity` said of the log before the guest was started"""
        self.offset = offset
        self._path = log_path(umid, console)
        self._old = old
        self._descriptor = -1

    def take(self) -> None:
        """Open the log of the guest's life, as far as it may be read."""
        try:
            found = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return
        if self._descriptor >= 0 and os.path.samestat(os.fstat(found), os.fstat(self._descriptor)):
            os.close(found)
            return
        if self._descriptor >= 0:  # the guest was started again, and this log is of its next life
            os.close(self._descriptor)
            self.offset = 0 if self.offset is not None else None
        self._descriptor = found

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    @property
    def is_open(self) -> bool:
        """Whether a log of this guest is open."""
        return self._descriptor >= 0

    @property
    def is_unseen(self) -> bool:
        """Whether there is a log since the guest was started, all of which was to be shown."""
        found = identity(self._path)
        return self.offset is not None and found is not None and found != self._old

    def before(self, offset: int, size: int) -> bytes:
        """The last `size` bytes before an offset, as far as they are there.

        Raises: OSError
        """
        if self._descriptor < 0:
            return b""
        begin = max(0, offset - size)
        return os.pread(self._descriptor, offset - begin, begin)

    def skip(self, count: int) -> None:
        """Pass over bytes that were cut off before they were shown."""
        self.offset = (self.offset or 0) + count

    def cut_off(self) -> int:
        """How many bytes were cut off before they were shown.

        Raises: OSError
        """
        if self._descriptor < 0 or self.offset is None:
            return 0
        from umlctl.state import console_log

        return max(0, console_log.start(self._descriptor) - self.offset)

    def rest(self) -> Iterator[bytes]:
        """What was not shown, piece by piece; the caller that shows a piece moves `offset` on.

        Raises: OSError
        """
        if self._descriptor < 0 or self.offset is None:
            return
        from umlctl.state import console_log

        size = os.fstat(self._descriptor).st_size
        yield from console_log.read(self._descriptor, self.offset, size)
