"""What a command in a guest reads: files of the host, one after the other, with numbers for names.

A serial line of UML reads a byte at a time; a file is read as fast as any. A few are handed over
before the first is read, and each goes once it was.
"""

from __future__ import annotations

import os
import select
from contextlib import suppress
from typing import Final

from umlctl import streams

PIECE_BYTES: Final = 1 << 20
"""The most that is handed over at once, bytes."""
GATHER_TIMEOUT: Final = 0.01
"""How long more is waited for while the command is behind, seconds."""
AHEAD: Final = 4
"""How many pieces the command may be behind."""


class Feed:
    """Standard input, for a command in a guest.

    Fields:
        is_open: there may be more, and the command may read it
    """

    def __init__(self, directory: str, source: int) -> None:
        """directory: where the guest finds the pieces; source: what they are pieces of"""
        self.is_open = True
        self._directory = directory
        self._source = source
        self._fed = self._taken = 0

    def has_room(self) -> bool:
        """Whether the command is not too far behind."""
        return self.is_open and self._fed - self._taken < AHEAD

    def read(self) -> int:
        """Hand over what there is; the number of the piece, 0 at the end of all.

        Raises: OSError: it cannot be written
        """
        data = self._take()
        if not data:
            self.is_open = False
            return 0
        self._fed += 1
        write(self._directory, str(self._fed), data)
        return self._fed

    def taken(self, number: int) -> None:
        """The command has read a piece."""
        if self._taken < number <= self._fed:
            self._taken = number
            with suppress(OSError):
                os.unlink(f"{self._directory}/{number}")

    def _take(self) -> bytes:
        """What there is; nothing at its end."""
        pieces = []
        size = 0
        while size < PIECE_BYTES:
            try:
                data = os.read(self._source, PIECE_BYTES - size)
            except BlockingIOError:
                self._await(None)
                continue
            except OSError:
                data = b""  # as of a terminal that is gone
            pieces.append(data)
            size += len(data)
            if not data or os.isatty(self._source):
                break
            # While it has something to read, more may come to go with this.
            patience = GATHER_TIMEOUT if self._fed > self._taken else 0
            if not self._await(patience):
                break
        return b"".join(pieces)

    def _await(self, seconds: float | None) -> bool:
        """Whether there is something to read, within some time."""
        poll = select.poll()
        poll.register(self._source, select.POLLIN)
        return bool(poll.poll(None if seconds is None else seconds * 1000))


def write(directory: str, name: str, data: bytes) -> None:
    """Make a file that a guest reads, whose kernel may run as another user, who owns the directory.

    Raises: OSError
    """
    path = f"{directory}/{name}"
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        streams.write_all(file, data)
        if os.geteuid() == 0:
            owner = os.stat(directory)
            os.fchown(file, owner.st_uid, owner.st_gid)
    finally:
        os.close(file)
