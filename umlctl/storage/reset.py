"""Emptying a COW file: what was written over the backing file is forgotten.

The file stays the same one, under its name and with its owner: a kernel that is confined reaches no
other. That it was begun is written down beside it first, in a journal. A reset that was interrupted
can only be finished, and takes no room to be.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from umlctl.errors import HostError
from umlctl.storage.cow_file import check_fits
from umlctl.storage.extents import clear
from umlctl.storage.journal import forget, interrupted, reset_of
from umlctl.storage.new_file import new_file

if TYPE_CHECKING:
    from umlctl.storage.cow_file import CowFile


def reset(of: CowFile, backing: int) -> int:
    """Leave nothing in a COW file. Nobody else may have it.

    Returns: how much was in it, bytes
    Raises: HostError; OSError
    """
    if said := interrupted(of.path):
        raise HostError(said)
    check_fits(of, backing, of.header.backing)
    written = of.written()
    if written:
        with new_file(reset_of(of.path), 0o600):
            pass
        finish(of)
    return written


def finish(of: CowFile) -> bool:
    """Finish a reset that was interrupted. Nobody else may have the file.

    Returns: whether one was
    Raises: OSError
    """
    if not os.path.lexists(reset_of(of.path)):
        return False
    clear(of.descriptor, of.layout.bitmap, of.layout.bitmap + of.layout.bitmap_length)
    if stat.S_ISREG(os.fstat(of.descriptor).st_mode):
        os.ftruncate(of.descriptor, of.layout.data)
        os.ftruncate(of.descriptor, of.layout.data + of.header.size)
    os.fsync(of.descriptor)
    forget(reset_of(of.path))
    return True
