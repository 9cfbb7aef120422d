"""Where uml_mconsole looks for a guest: a directory of its name below a user's ~/.uml.

The directory has a link to the guest's socket, and the pid of its kernel, as a kernel that was
started by hand would have them. The home may be another user's, as root's HOME is after some ways
to become root. It is then for that user alone, who may have it lead to any file.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import Final

from umlctl.errors import GuestInUse
from umlctl.host import paths, processes
from umlctl.host.files import remove_tree

SOCKET_NAME: Final = "mconsole"
"""The name of the socket for clients in a guest's directory, and of the link to it here."""


class PublicDirectory:
    """The public directory of one guest.

    Fields:
        link: to its socket
    """

    def __init__(self, umid: str, home: str, directory: str) -> None:
        """home: the directory is below it; empty: the caller's home; directory: of the running
        guest"""
        self._umid = umid
        self._path = os.path.dirname(paths.public_socket(umid, home))
        self._door = f"{directory}/{SOCKET_NAME}"
        self.link = f"{self._path}/{SOCKET_NAME}"

    def publish(self, pid: int) -> None:
        """Have uml_mconsole find the guest, and its kernel's pid, which its `int` needs.

        Raises: OSError: as when the home cannot be written to, or is another user's
        """
        others = self._others()
        if others:
            raise PermissionError(
                errno.EPERM,
                f"uml_mconsole does not find it: {others} is another user's, or open to all",
            )
        for directory in (os.path.dirname(self._path), self._path):
            with suppress(FileExistsError):
                os.mkdir(directory, 0o700)
        with open(f"{self._path}/pid~", "w") as file:
            file.write(f"{pid}\n")
        os.rename(f"{self._path}/pid~", f"{self._path}/pid")
        if not self._leads_there():
            _unlink(self.link + "~")
            os.symlink(self._door, self.link + "~")
            os.rename(self.link + "~", self.link)
        if len(os.fsencode(self.link)) > paths.MAX_UNIX_PATH_BYTES:
            raise OSError(errno.ENAMETOOLONG, "uml_mconsole can open no socket of so long a name")

    def withdraw(self) -> None:
        """Remove what was published, and nothing else."""
        if self._others() or not self._leads_there():
            return
        for name in ("pid", "pid~", f"{SOCKET_NAME}~", SOCKET_NAME):
            _unlink(f"{self._path}/{name}")
        with suppress(OSError):  # a user has put a file into it
            os.rmdir(self._path)

    def clear(self) -> None:
        """Remove what a dead guest of that name has left.

        Raises: GuestInUse: a kernel that a user started by hand has the name
        """
        if self._others():
            return
        self._refuse_strangers()
        with suppress(OSError):  # a home that cannot be written to
            remove_tree(self._path)

    def _leads_there(self) -> bool:
        """Whether the link leads to this guest."""
        try:
            return os.readlink(self.link) == self._door
        except OSError:
            return False

    def _others(self) -> str:
        """The first directory on the way that is another user's, or open to all; empty if none
        is."""
        directory = os.path.dirname(self._path)
        home = os.path.dirname(directory)
        for path in (home, directory, self._path):
            try:
                link, found = os.lstat(path), os.stat(path)
            except OSError:
                break  # a caller that needs the directory will see why
            open_to_all = found.st_mode & (stat.S_IWOTH | stat.S_ISVTX) == stat.S_IWOTH
            owners = {found.st_uid, found.st_uid if path == home else link.st_uid}
            if open_to_all or owners != {os.geteuid()}:
                return path
        return ""

    def _refuse_strangers(self) -> None:
        """Raises: GuestInUse"""
        try:
            with open(f"{self._path}/pid") as file:
                pid = int(file.read())
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
        except (OSError, ValueError):
            return
        if f"umid={self._umid}".encode() in words and processes.start_time(pid) is not None:
            raise GuestInUse(
                f"{self._umid} is the name of another kernel, pid {pid}, whose socket is in "
                f"{self._path}; take another name"
            )


def _unlink(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)
