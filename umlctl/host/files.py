"""How umlctl's files are written, removed, locked and told apart."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import struct
from typing import Final

FLOCK: Final = struct.Struct("hhqqi4x")
"""struct flock of fcntl(2): type, whence, start, length, pid."""
_KEEP_SIZE: Final = 1
_PUNCH_HOLE: Final = 2


def write_atomically(path: str, data: bytes, *, sync: bool = True) -> None:
    """Write a file so that it is the old one or the new one at any moment.

    sync: also when the host goes down

    Raises: OSError
    """
    beside = f"{path}~"
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        if sync:
            os.fsync(descriptor)
    except OSError as problem:
        with contextlib.suppress(OSError):
            os.unlink(beside)  # the little that it holds is room for other files
        if problem.errno:
            problem.filename = path
        raise
    finally:
        os.close(descriptor)
    os.rename(beside, path)


def punch_hole(descriptor: int, start: int, length: int) -> None:
    """Give a part of a file back; it reads as zeros then, and the file is as long as before.

    Raises: OSError: among them that this file system cannot have holes
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    if libc.fallocate(descriptor, _PUNCH_HOLE | _KEEP_SIZE, start, length):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def is_still_at(descriptor: int, path: str) -> bool:
    """Whether an open file still has this name: it was not removed, nor another put in its
    place."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False


def remove_tree(path: str) -> None:
    """Remove a directory with all that is in it, or a file in its place, if it is there.

    Its directories may be ones that their owner cannot write to, such as those of a guest's root.
    """
    with contextlib.suppress(FileNotFoundError):
        try:
            os.unlink(path)  # rmtree would open it, and wait where it is a FIFO
        except IsADirectoryError:
            try:
                shutil.rmtree(path)
            except PermissionError:
                _let_write(path)
                shutil.rmtree(path)


def _let_write(path: str) -> None:
    """Have the owner of a directory, and of all below it, write there. No link is followed.

    Raises: OSError
    """
    flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    pending = [path]
    while pending:
        above = pending.pop()
        descriptor = os.open(above, flags)
        try:
            os.chmod(f"/proc/self/fd/{descriptor}", 0o700)
        finally:
            os.close(descriptor)
        with os.scandir(above) as entries:
            pending += [each.path for each in entries if each.is_dir(follow_symlinks=False)]
