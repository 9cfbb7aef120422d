"""Where who starts a kernel looks for it: the directory that its words name, with its socket and
its pid. The socket there leads to the supervisor's.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from umlctl.errors import GuestInUse
from umlctl.host import paths, processes

if TYPE_CHECKING:
    from umlctl.guest.kernel_line import Told


def find(told: Told, umid: str) -> str:
    """The directory where who starts the guest expects its socket and its pid; empty: where every
    guest has them.

    Raises: GuestInUse: a kernel has it, and this one would take another name
    """
    if not told.uml_dir:
        return ""
    place = os.path.abspath(os.path.join(told.uml_dir, umid))
    if os.path.realpath(place) == os.path.realpath(os.path.dirname(paths.public_socket(umid))):
        return ""
    with suppress(OSError, ValueError), open(f"{place}/pid") as file:
        pid = int(file.read(32))
        if processes.start_time(pid) is not None:
            raise GuestInUse(f"{place} belongs to a kernel that runs, pid {pid}")
    return place


def make(place: str, umid: str) -> None:
    """Raises: OSError"""
    leave(place, umid)
    for directory in (os.path.dirname(place), place):
        with suppress(FileExistsError):
            os.mkdir(directory, 0o700)
    for name in ("pid", "mconsole"):
        with suppress(FileNotFoundError):
            os.unlink(f"{place}/{name}")  # a kernel does so too
    with open(f"{place}/pid", "w") as file:
        file.write(f"{os.getpid()}\n")
    os.symlink(paths.guest_socket(umid), f"{place}/mconsole")


def leave(place: str, umid: str) -> None:
    """Remove what was made there for a guest, and nothing else."""
    with suppress(OSError):
        if os.readlink(f"{place}/mconsole") == paths.guest_socket(umid):
            os.unlink(f"{place}/mconsole")
            os.unlink(f"{place}/pid")
            os.rmdir(place)
