"""The log of a console: what the guest has written, bounded, with its boots and times.

The kernel itself appends to the file, so nothing is lost without a supervisor. What is older than
the bound is cut off at the front by making a hole there. Offsets stay what they were, readers go
on, and no byte is copied. An index beside the log says when which byte was written, and where each
boot begins.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from umlctl.host.files import punch_hole

if TYPE_CHECKING:
    from collections.abc import Iterator

KEPT_BYTES: Final = 16 << 20
"""How much of a console's output is kept at least, bytes; a quarter more at most."""
INDEX_KEPT_BYTES: Final = 1 << 20
PANIC_LINES: Final = 200
PANIC_BYTES: Final = 64 << 10
"""How much of the console is told with the event of a panic: lines, and bytes."""
BANNER: Final = b"Core dump limits :"
"""The first words of every boot. Source: os_early_checks, arch/um/os-Linux/start_up.c"""
BOOT: Final = "boot"
LAUNCH: Final = "launch"
MOMENT: Final = "at"

_BLOCK_BYTES: Final = 4096
_ENTRY: Final = re.compile(rb"(at|boot|launch) (\d+\.\d+) (\d+)\n")


class IndexEntry(NamedTuple):
    """One line of an index.

    Fields:
        kind: MOMENT; BOOT: the guest rebooted; LAUNCH: it was started
        time: seconds since 1970
        offset: of the first byte that was written after that, or of the boot
    """

    kind: str
    time: float
    offset: int


def index_of(log: str) -> str:
    """The path of a log's index."""
    return log.removesuffix(".log") + ".index"


def start(descriptor: int) -> int:
    """The offset of the first byte that is still in a log.

    Raises: OSError
    """
    try:
        return os.lseek(descriptor, 0, os.SEEK_DATA)
    except OSError:  # all is a hole
        return os.fstat(descriptor).st_size


def begin(log: str) -> None:
    """Begin a log anew, for a guest that is being started; the last one becomes LOG.1.

    Raises: OSError
    """
    try:
        kept = os.stat(log).st_size > 0
    except FileNotFoundError:
        kept = False
    for each in (log, index_of(log)):
        try:
            if kept:
                os.rename(each, each + ".1")
            else:
                os.unlink(each)
        except FileNotFoundError:
            pass


def first_line(descriptor: int) -> int:
    """The offset of the first whole line that is still in a log.

    Raises: OSError
    """
    begin = start(descriptor)
    if begin == 0:
        return 0
    block = os.pread(descriptor, 65536, begin)
    return begin + block.find(b"\n") + 1


def last_lines(descriptor: int, lines: int, least: int = 0, end: int | None = None) -> int:
    """The offset of the last `lines` lines before `end`, not before `least`.

    Raises: OSError
    """
    end = os.fstat(descriptor).st_size if end is None else end
    position = end
    if end and os.pread(descriptor, 1, end - 1) == b"\n":
        position -= 1
    left = lines
    while position > least and left > 0:
        begin = max(least, position - 65536)
        block = os.pread(descriptor, position - begin, begin)
        while left and (found := block.rfind(b"\n")) >= 0:
            left -= 1
            position = begin + found
            block = block[:found]
            if not left:
                return position + 1
        if left:
            position = begin
    return max(least, position) if lines else end


def last_of(log: str) -> list[str]:
    """The last lines of a log, as an event tells of them; none if it cannot be read."""
    try:
        descriptor = os.open(log, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        size = os.fstat(descriptor).st_size
        begin = last_lines(descriptor, PANIC_LINES, max(0, size - PANIC_BYTES))
        text = os.pread(descriptor, size - begin, begin)
    except OSError:
        return []
    finally:
        os.close(descriptor)
    return text.lstrip(b"\0").decode("utf-8", "replace").splitlines()


def trim(path: str, bound: int = KEPT_BYTES) -> int:
    """Cut a log down to its bound if it is well above that; return how many bytes were cut.

    Raises: OSError: also when this file system cannot have holes
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        end = os.fstat(descriptor).st_size
        begin = start(descriptor)
        if end - begin <= bound + bound // 4:
            return 0
        cut = (end - bound) // _BLOCK_BYTES * _BLOCK_BYTES
        try:
            punch_hole(descriptor, 0, cut)
        except OSError as problem:
            problem.filename = path
            raise
        return cut - begin
    finally:
        os.close(descriptor)


class Index:
    """Says when which byte of a log was written. If it is lost, times are lost, and no output."""

    def __init__(self, log: str) -> None:
        self._path = index_of(log)
        self._size = 0

    def add(self, kind: str, time: float, offset: int) -> None:
        """Note a moment.

        Raises: OSError
        """
        descriptor = os.open(
            self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            os.write(descriptor, f"{kind} {time:.3f} {offset}\n".encode())
            self._size = os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)
        if self._size > INDEX_KEPT_BYTES:
            self._thin()

    def _thin(self) -> None:
        """Keep every other moment, and all boots."""
        kept = [
            entry
            for number, entry in enumerate(read_index(self._path))
            if entry.kind != MOMENT or number % 2
        ]
        with open(self._path + "~", "w") as file:
            file.writelines(f"{e.kind} {e.time:.3f} {e.offset}\n" for e in kept[-20000:])
        os.rename(self._path + "~", self._path)


def read_index(path: str) -> list[IndexEntry]:
    """All entries of an index, the first first; what is cut off or no entry is left out."""
    try:
        with open(path, "rb") as file:
            data = file.read(2 * INDEX_KEPT_BYTES)
    except OSError:
        return []
    return [
        IndexEntry(found[1].decode(), float(found[2]), int(found[3]))
        for line in data.splitlines(keepends=True)
        if (found := _ENTRY.fullmatch(line))
    ]


def boots(index: str) -> list[IndexEntry]:
    """Where each boot in a log begins, the first first; by the path of the log's index."""
    return [entry for entry in read_index(index) if entry.kind != MOMENT]


def written_since(log: str, time: float) -> int:
    """An offset with all output since a time behind it, and little else."""
    offset = 0
    for entry in read_index(index_of(log)):
        if entry.time >= time:
            break
        offset = entry.offset
    return offset


def find_boot(log: str, end: int) -> int:
    """Where the boot begins whose kernel has just said that it is there.

    end: the size of the log then

    Raises: OSError
    """
    with open(log, "rb") as file:
        begin = max(0, end - 65536)
        data = os.pread(file.fileno(), end - begin, begin)
    found = data.rfind(BANNER)
    return begin + found if found >= 0 else end


def read(descriptor: int, begin: int, end: int) -> Iterator[bytes]:
    """The bytes of a log between two offsets, in pieces; without what is cut off meanwhile.

    Raises: OSError
    """
    while begin < end:
        data = os.pread(descriptor, min(1 << 20, end - begin), begin)
        if not data:
            return
        cut = max(0, start(descriptor) - begin)  # afterwards, as the log may be cut during the read
        begin += len(data)
        if data[cut:]:
            yield data[cut:]
