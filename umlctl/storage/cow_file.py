"""An open COW file, and the backing file under it: both are what the header says, or are refused.

Nothing is read whole: the bitmap of a disk of a terabyte has 256 MB, most of it a hole.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from typing import TYPE_CHECKING, Final

from umlctl.errors import HostError
from umlctl.host.files import FLOCK
from umlctl.storage import bitmap, cow
from umlctl.storage.cow import SECTOR_BYTES, BadCow
from umlctl.storage.extents import extents

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK_BYTES: Final = 1 << 18
"""Of a bitmap, read at once, bytes."""


class NoCow(HostError):
    """A file that is no COW file."""


class CowFile:
    """A COW file whose bitmap and data are all there.

    Fields:
        path: as it was given
        descriptor: of the open file
        header, layout: what it says of itself
        size: of the disk, bytes, in whole sectors as a guest has it
        length: of the file, bytes
    """

    def __init__(self, path: str, descriptor: int) -> None:
        """Raises: NoCow, BadCow; OSError"""
        self.path = path
        self.descriptor = descriptor
        header = decoded(path, os.pread(descriptor, cow.MAX_HEADER_BYTES, 0))
        if header is None:
            raise NoCow(f"{path} is no COW file; `umlctl cow create` makes one over an image")
        self.header = header
        self.layout = _layout(path, header)
        self.size = cow.sectors(header) * SECTOR_BYTES
        self.length = os.lseek(descriptor, 0, os.SEEK_END)
        self._check_whole()

    def _check_whole(self) -> None:
        """Raises: BadCow"""
        end = self.layout.bitmap + self.layout.bitmap_length
        if self.length < end:
            raise BadCow(
                f"{self.path} is cut: its bitmap ends at byte {end}, and the file at {self.length}"
            )
        final = -1
        for first, data in self._chunks():
            found = bitmap.last(data)
            final = first + found if found >= 0 else final
        end = self.layout.data + min((final + 1) * SECTOR_BYTES, self.header.size)
        if final >= 0 and self.length < end:
            raise BadCow(
                f"{self.path} is cut: it has sectors up to byte {end}, and ends at {self.length}; "
                "what was written there is lost"
            )

    def _chunks(self) -> Iterator[tuple[int, bytes]]:
        """The bitmap, without its holes and what is behind the last sector."""
        begin, length, _ = self.layout
        total = self.size // SECTOR_BYTES
        for start, end in extents(self.descriptor, begin, begin + length):
            for place in range(start, end, CHUNK_BYTES):
                data = os.pread(self.descriptor, min(CHUNK_BYTES, end - place), place)
                first = 8 * (place - begin)
                if first + 8 * len(data) > total:  # the last byte has bits of no sector
                    data = data[:-1] + bytes([data[-1] & ((1 << (total - 1) % 8 + 1) - 1)])
                yield first, data

    def runs(self) -> Iterator[tuple[int, int]]:
        """The parts of the disk that are in this file: first byte, and the one behind the last."""
        for first, last in bitmap.runs(self._chunks()):
            yield first * SECTOR_BYTES, last * SECTOR_BYTES

    def written(self) -> int:
        """How much of the disk is in this file, bytes."""
        return sum(bitmap.count(data) for _, data in self._chunks()) * SECTOR_BYTES

    def data(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The parts of the disk between these that may hold anything but zeros in this file."""
        data = self.layout.data
        for first, last in extents(self.descriptor, data + start, min(data + end, self.length)):
            yield first - data, last - data

    def read(self, start: int, length: int) -> bytes:
        """Bytes of the disk that are in this file, with zeros for what no guest wrote."""
        return os.pread(self.descriptor, length, self.layout.data + start).ljust(length, b"\0")


def decoded(path: str, data: bytes) -> cow.Header | None:
    """The header that a file begins with; None if it is no COW file.

    Raises: BadCow
    """
    try:
        return cow.decode(data)
    except BadCow as problem:
        raise BadCow(f"{path} is a COW file that no kernel takes: {problem}") from None


def _layout(path: str, header: cow.Header) -> cow.Layout:
    try:
        return cow.layout_of(header)
    except BadCow as problem:
        raise BadCow(f"{path} is a COW file that no kernel takes: {problem}") from None


@contextlib.contextmanager
def opened(path: str, *, write: bool = False, lock: bool = False) -> Iterator[int]:
    """A file or a block device, for as long as it is used here.

    lock: keep kernels from it meanwhile; who only reads it keeps away those that write

    Raises: HostError
    """
    flags = (os.O_RDWR if write else os.O_RDONLY) | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    verb = "write" if write else "read"
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise HostError(f"{path} is a directory, and a disk is a file")
        if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
            raise HostError(f"{path} is neither a file nor a block device")
        descriptor = os.open(path, flags)
    except OSError as problem:
        raise HostError(f"cannot {verb} {path}: {problem.strerror}") from problem
    try:
        if lock:
            _lock(descriptor, path, write=write)
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: str, *, write: bool) -> None:
    """Take a lock that meets those of kernels, until the file is closed.

    It is of the open file: other than theirs, it is not lost when this process closes the same file
    elsewhere. Where there are no locks there is none.

    Raises: HostError
    """
    kind = fcntl.F_WRLCK if write else fcntl.F_RDLCK
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, FLOCK.pack(kind, os.SEEK_SET, 0, 0, 0))
    except OSError as problem:
        if problem.errno in (errno.EAGAIN, errno.EACCES):
            raise HostError(
                f"{path} is locked: a guest has it open, or another command; end that first"
            ) from None


@contextlib.contextmanager
def open_cow(path: str, *, write: bool = False, lock: bool = False) -> Iterator[CowFile]:
    """A COW file, for as long as it is used here. write, lock: as of `opened`

    Raises: HostError, NoCow and BadCow among them
    """
    with opened(path, write=write, lock=lock) as descriptor:
        try:
            found = CowFile(path, descriptor)
        except OSError as problem:
            raise HostError(f"cannot read {path}: {problem.strerror}") from problem
        yield found


@contextlib.contextmanager
def open_backing(
    of: CowFile, path: str = "", *, write: bool = False, lock: bool = False
) -> Iterator[int]:
    """The backing file of a COW file, which can be one: no COW file, and not that file itself.

    path: where it is; otherwise where the header says
    write, lock: as of `opened`

    Raises: HostError
    """
    path = path or of.header.backing
    with contextlib.ExitStack() as stack:
        try:
            descriptor = stack.enter_context(opened(path, write=write, lock=lock))
        except HostError as problem:
            if isinstance(problem.__cause__, FileNotFoundError):
                raise HostError(
                    f"{of.path}: its backing file {path} is not there; "
                    f"`umlctl cow rebase {of.path} FILE` says where it is"
                ) from None
            raise
        if os.path.samestat(os.fstat(descriptor), os.fstat(of.descriptor)):
            raise HostError(f"{path} is the COW file itself, and it can have no data of itself")
        check_no_cow(path, descriptor)
        yield descriptor


def check_no_cow(path: str, descriptor: int) -> None:
    """Refuse a COW file where a backing file is wanted: kernels have no chains.

    Raises: HostError; OSError
    """
    try:
        header = cow.decode(os.pread(descriptor, cow.MAX_HEADER_BYTES, 0))
    except BadCow:
        header = None
    if header is not None:
        raise HostError(
            f"{path} is a COW file itself, and a kernel would take it for a disk, header and all; "
            f"merge it first: `umlctl cow merge {path} IMAGE`, and take IMAGE"
        )


def check_fits(of: CowFile, backing: int, path: str) -> None:
    """Refuse a backing file that a kernel would.

    Raises: HostError; OSError
    """
    why = cow.difference(of.header, backing, path)
    if why:
        raise HostError(
            f"{of.path} does not fit its backing file: {why}; `umlctl cow rebase {of.path}` shows "
            "what differs"
        )
