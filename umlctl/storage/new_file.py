"""A file that is there when it is whole and safe on the disk, and not before.

Until then it has no name where the file system can do that, so that whatever ends its maker leaves
nothing of it.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAMELESS_FLAGS: Final = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
_NO_NAMELESS_ERRORS: Final = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL)
"""What file systems and kernels without nameless files say."""


@contextlib.contextmanager
def new_file(path: str, mode: int) -> Iterator[int]:
    """Have the file filled by who uses this; then it is synced, and stands at its path.

    mode: less the umask

    Raises: OSError, FileExistsError among them: what is there is never replaced
    """
    directory = os.path.dirname(path) or "."
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
    above = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    beside = ""
    try:
        try:
            descriptor = os.open(directory, _NAMELESS_FLAGS, mode)
        except OSError as problem:
            if problem.errno not in _NO_NAMELESS_ERRORS:
                raise
            beside = f"{path}~{os.getpid()}"
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            descriptor = os.open(beside, flags, mode)
        try:
            yield descriptor
            os.fsync(descriptor)
            if beside:
                os.link(beside, path)  # unlike a rename it never replaces what is there
            else:
                os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=above)
        finally:
            os.close(descriptor)
        os.fsync(above)
    finally:
        if beside:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(beside)
        os.close(above)
