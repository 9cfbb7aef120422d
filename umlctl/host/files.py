"""How umlctl's files are written, removed, locked and told apart."""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
from typing import Final

FLOCK: Final = struct.Struct("hhqqi4x")
"""struct flock of fcntl(2): type, whence, start, length, pid."""


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


def stands_at(descriptor: int, path: str) -> bool:
    """Whether an open file still has this name: it was not removed, nor another put in its
    place."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False


def remove_tree(path: str) -> None:
    """Remove a directory with all that is in it, or a file in its place, if it is there."""
    with contextlib.suppress(FileNotFoundError):
        try:
            os.unlink(path)  # rmtree would open it, and wait where it is a FIFO
        except IsADirectoryError:
            shutil.rmtree(path)
