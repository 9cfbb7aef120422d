"""A place where other users reach what a guest's owner lets them use.

A guest's public socket is below its owner's home, which other users may not be able to enter. So a
guest that they may use has a second socket, in a directory that they can pass through and not list.
The socket takes datagrams from everybody; the supervisor that reads it checks the sender of each.

A kernel that runs as another user than its supervisor has its own socket there, and finds the
supervisor's for notifications.
"""

from __future__ import annotations

import os
import socket
import stat

from umlctl.errors import HostError
from umlctl.host import paths, users

MODE = 0o711
SOCKET_MODE = 0o666
SOCKETS = ("mconsole", "notify")
"""The names of a supervisor's sockets in such a place."""


def make(umid: str, name: str = "mconsole") -> str:
    """Make the place for one guest, whose umid the caller has taken; return the socket's path,
    still free.

    name: of the socket that is to be there

    Raises: HostError
    """
    path = f"{paths.open_dir(umid)}/{name}"
    make_place(umid)
    _refuse_other(path, umid)
    return path


def make_place(umid: str) -> None:
    """Make the directory of one guest, unless it is there.

    Raises: HostError
    """
    try:
        for directory in (paths.shared_dir(), paths.open_dir(umid)):
            try:
                os.mkdir(directory, 0o700)
            except FileExistsError:
                pass
            # The directory above may be one that all users can write to.
            found = os.lstat(directory)
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                raise HostError(
                    f"{umid}: {directory}, where other users are to find the guest, is not a "
                    "directory of yours: have it removed"
                )
            if stat.S_IMODE(found.st_mode) != MODE:
                os.chmod(directory, MODE)
    except OSError as problem:
        raise HostError(f"{umid}: cannot be shared: {problem}") from problem


def remove(umid: str) -> None:
    """Remove the place of one guest.

    Raises: HostError
    """
    users.remove([paths.open_dir(umid)])


def remove_dead(umid: str) -> None:
    """Remove the place of a guest that died without a supervisor.

    Raises: HostError
    """
    place = paths.open_dir(umid)
    if os.path.isdir(place) and not any(answers(f"{place}/{name}") for name in SOCKETS):
        remove(umid)


def _refuse_other(path: str, umid: str) -> None:
    """Refuse a place where a guest of the same name, under another UMLCTL_DIR, has its socket."""
    if answers(path):
        raise HostError(
            f"{umid}: {path} is the socket of another guest of yours; take another name"
        )


def answers(path: str) -> bool:
    """Whether a process has a socket at a path that can be sent to."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True
