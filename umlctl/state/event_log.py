"""The history of a guest on disk: one line of JSON for each event, in the order in which they
happened.

The history outlives the guest and its supervisors, and is bounded. When the file is full, it
becomes `events.jsonl.1`, in place of the one before. The last events of each kind in that one stay,
in `events.jsonl.2`, so a flood of one kind does not take the others with it. Readers leave out
lines that were cut off, as by a crash or a full disk.
"""

from __future__ import annotations

import os
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec

from umlctl.host import paths
from umlctl.host.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator

    from umlctl.protocol.events import Event

MAX_FILE_BYTES: Final = 1 << 20
"""How much of the history one file holds, bytes; there are two of them."""
KEPT_OF_EACH_KIND: Final = 50
"""How many older events of each kind stay; those of a panic without its console."""
KEPT_KINDS: Final = 50
"""How many kinds of older events stay: those that happened last."""
MAX_LINE_BYTES: Final = 256 << 10
"""A longer line was not written by umlctl, bytes."""


def path_of(umid: str) -> str:
    return f"{paths.record_dir(umid)}/events.jsonl"


def encode(event: Event) -> bytes:
    """An event as one line of JSON."""
    return msgspec.json.encode(event) + b"\n"


def decode(line: bytes) -> Event | None:
    """Read a line; None if it is no event."""
    try:
        event = msgspec.json.decode(line, type=dict[str, Any])
        if isinstance(event["event"], str) and isinstance(event["time"], int | float):
            return event
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, RecursionError):
        pass
    return None


def append(umid: str, line: bytes) -> None:
    """Add lines, all of them or none.

    Raises: OSError
    """
    path = path_of(umid)
    descriptor = _open(path)
    try:
        size = os.fstat(descriptor).st_size
        if size and size + len(line) > MAX_FILE_BYTES:
            with suppress(OSError):  # a full disk has room after the renaming
                _keep_some(umid)
            os.rename(path, path + ".1")
            os.close(descriptor)
            descriptor = -1
            descriptor = _open(path)
            size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line
        view = memoryview(line)
        try:
            while view:
                view = view[os.write(descriptor, view) :]
        except OSError:
            with suppress(OSError):
                os.ftruncate(descriptor, size)
            raise
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _keep_some(umid: str) -> None:
    """Keep the last events of each kind of the file that is about to be overwritten.

    Raises: OSError
    """
    kept: dict[str, deque[Event]] = {}
    reader = Reader(umid)
    for number in (2, 1):
        for event in reader.read_older(number):
            event.pop("console", None)
            kind = kept.pop(event["event"], deque(maxlen=KEPT_OF_EACH_KIND))
            kept[event["event"]] = kind  # now the last of the kinds
            if event not in kind:  # a crash may have left the event in both files
                kind.append(event)
    if kept:
        events = [event for kind in list(kept.values())[-KEPT_KINDS:] for event in kind]
        events.sort(key=lambda event: float(event["time"]))
        lines = b"".join(encode(event) for event in events)
        write_atomically(path_of(umid) + ".2", lines, sync=False)


def _open(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


def guests() -> list[str]:
    """Guests that have a history on disk.

    Raises: BadPlace
    """
    return [name for name in paths.listed(paths.guest_records()) if os.path.exists(path_of(name))]


class Reader:
    """Reads one guest's history from its beginning; `read` goes on where it ended the last time."""

    def __init__(self, umid: str) -> None:
        self._path = path_of(umid)
        self._rest = b""
        self._offset = 0
        self._inode = 0

    def read(self) -> Iterator[Event]:
        """The events that have not been read yet.

        Raises: OSError
        """
        if not self._inode:
            yield from self.read_older(2)
            yield from self.read_older(1)
        elif self._inode_of(self._path) != self._inode:
            if self._inode_of(self._path + ".1") == self._inode:
                yield from self._read(self._path + ".1")
            self._rest, self._offset = b"", 0
        yield from self._read(self._path)

    def read_older(self, number: int) -> Iterator[Event]:
        """The events of a file that is not written to any more.

        Raises: OSError
        """
        yield from self._read(f"{self._path}.{number}")
        self._rest, self._offset = b"", 0

    def _inode_of(self, path: str) -> int:
        try:
            return os.stat(path).st_ino
        except FileNotFoundError:
            return 0

    def _read(self, path: str) -> Iterator[Event]:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            self._inode = os.fstat(descriptor).st_ino
            while data := os.pread(descriptor, MAX_FILE_BYTES, self._offset):
                self._offset += len(data)
                *lines, self._rest = (self._rest + data).split(b"\n")
                self._rest = self._rest[:MAX_LINE_BYTES]
                for line in lines:
                    event = decode(line)
                    if event is not None:
                        yield event
        finally:
            os.close(descriptor)
