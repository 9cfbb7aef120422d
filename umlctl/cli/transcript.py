"""The log of a console, as far as a viewer has shown it.

What the guest prints is in its log before it comes by the socket: so what came and went before a
viewer was attached, or after its supervisor has ended, is not lost.
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
    """Tells a log from the one that takes its place; None if there is none, or nothing in it."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if found.st_size else None


def log_path(umid: str, console: str) -> str:
    """Where a console is logged."""
    return f"{paths.record_dir(umid)}/{console_socket.log_name(console)}"


class Transcript:
    """One console's log.

    Fields:
        offset: of the byte that is to be shown next; None: nothing was shown yet, and it begins
            with the last screen
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
        """Have the log of the guest's life at hand, as far as it may be read."""
        try:
            found = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return
        if self._descriptor >= 0 and os.path.samestat(os.fstat(found), os.fstat(self._descriptor)):
            os.close(found)
            return
        if self._descriptor >= 0:  # it was started again, and this is of its next life
            os.close(self._descriptor)
            self.offset = 0 if self.offset is not None else None
        self._descriptor = found

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    @property
    def is_open(self) -> bool:
        """A log of this guest's is at hand."""
        return self._descriptor >= 0

    @property
    def is_unseen(self) -> bool:
        """There is a log since the guest was started, of which all was to be shown."""
        found = identity(self._path)
        return self.offset is not None and found is not None and found != self._old

    def before(self, offset: int, size: int) -> bytes:
        """The last so many bytes before an offset, as far as they are there.

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
        """What was not shown, piece by piece; whoever shows a piece moves `offset` on.

        Raises: OSError
        """
        if self._descriptor < 0 or self.offset is None:
            return
        from umlctl.state import console_log

        size = os.fstat(self._descriptor).st_size
        yield from console_log.read(self._descriptor, self.offset, size)
