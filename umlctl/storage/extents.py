"""Parts of files: which of them hold data, and copying them with their holes.

What is copied goes from file to file inside the host's kernel, which shares the blocks of the two
where the file system can.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from umlctl.host.files import punch_hole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHUNK_BYTES: Final = 16 << 20
"""Copied at once, bytes: so often is progress told, and an interrupt heard."""
BUFFER_BYTES: Final = 1 << 20
"""Where it has to go through this process, bytes."""
_NO_COPY_ERRORS: Final = (
    *(errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EPERM),
    errno.ETXTBSY,
)
"""How copy_file_range says that it is not for these two files."""


class Short(OSError):
    """A file ended before what was to be copied of it."""


def extents(descriptor: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The parts of a file that may hold anything but zeros, from `start` to `end`.

    Raises: OSError
    """
    while start < end:
        try:
            begin = os.lseek(descriptor, start, os.SEEK_DATA)
        except OSError as problem:
            if problem.errno == errno.ENXIO:
                return
            if problem.errno != errno.EINVAL:  # which is of a device that has no holes
                raise
            yield start, end
            return
        if begin >= end:
            return
        stop = min(os.lseek(descriptor, begin, os.SEEK_HOLE), end)
        yield begin, stop
        start = stop


def allocated(descriptor: int) -> int:
    """What a file takes of its file system, bytes.

    Raises: OSError
    """
    return os.fstat(descriptor).st_blocks * 512


def copy(
    source: int, start: int, end: int, target: int, place: int, say: Callable[[int], object]
) -> None:
    """Copy bytes `start` to `end` of one file to a place in another.

    say: is told how many more have been copied, again and again

    Raises: OSError; Short
    """
    inside = True
    while start < end:
        count = min(end - start, CHUNK_BYTES if inside else BUFFER_BYTES)
        try:
            if inside:
                done = os.copy_file_range(source, target, count, start, place)
            else:
                done = _by_hand(source, start, count, target, place)
        except OSError as problem:
            if not inside or problem.errno not in _NO_COPY_ERRORS:
                raise
            inside = False
            continue
        if not done:
            if inside:  # some file systems say that of what they cannot copy
                inside = False
                continue
            raise Short(errno.EIO, f"it ends at byte {start}, before byte {end}")
        start, place = start + done, place + done
        say(done)


def _by_hand(source: int, start: int, count: int, target: int, place: int) -> int:
    view = memoryview(os.pread(source, count, start))
    done = len(view)
    while view:
        written = os.pwrite(target, view, place)
        view, place = view[written:], place + written
    return done


def clear(descriptor: int, start: int, end: int) -> None:
    """Have a part of a file read as zeros, and take no room where that can be.

    Raises: OSError
    """
    try:
        punch_hole(descriptor, start, end - start)
    except OSError as problem:
        if problem.errno not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.ENODEV, errno.EINVAL):
            raise
        zeros = bytes(min(BUFFER_BYTES, end - start))
        while start < end:
            start += os.pwrite(descriptor, zeros[: end - start], start)
