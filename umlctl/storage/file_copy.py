"""Copying a file whole, with its holes: its blocks are shared where the file system can do that."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from typing import TYPE_CHECKING, Final

from umlctl.storage.extents import copy, extents

if TYPE_CHECKING:
    from collections.abc import Callable

FICLONE: Final = 0x40049409
"""ioctl(2): have one file share all blocks of another."""
_NOT_SO: Final = (
    *(errno.EOPNOTSUPP, errno.EINVAL, errno.EXDEV, errno.ENOTTY, errno.ENOSYS, errno.EPERM),
    errno.ETXTBSY,
)
"""How a file system says that it cannot."""


def copy_whole(source: int, target: int, say: Callable[[int], object]) -> None:
    """Make an empty file what another one is.

    What is written to that meanwhile may be in the copy or not; of two parts, that which stands
    further back in the file is read later.

    say: is told how many bytes more have been copied, if they have to be

    Raises: OSError
    """
    if _shared(source, target):
        return
    size = os.lseek(source, 0, os.SEEK_END)
    os.ftruncate(target, size)
    for start, end in extents(source, 0, size):
        copy(source, start, end, target, start, say)


def _shared(source: int, target: int) -> bool:
    """Have an empty file share the blocks of another; whether the file system can do that.

    Raises: OSError
    """
    try:
        fcntl.ioctl(target, FICLONE, source)
    except OSError as problem:
        if problem.errno not in _NOT_SO:
            raise
        return False
    return True


def room_for(source: int, directory: str) -> int:
    """How much a copy of a file in a directory would take there, bytes; 0 where it would share all
    blocks.

    Raises: OSError
    """
    with tempfile.TemporaryFile(dir=directory) as target:
        if _shared(source, target.fileno()):
            return 0
    return os.fstat(source).st_blocks * 512
