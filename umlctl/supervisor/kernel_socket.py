"""A kernel's own socket, held by its supervisor. Nobody else can reach a socket whose name was
removed, and a kernel makes none before its next boot.

So the supervisor gives the socket a second name, in another directory. Where both names were
removed, a process that has the socket open still reaches it, but no later supervisor does.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import Final

from socketproto.blocking import Unreachable
from socketproto.client import Client
from socketproto.exchange import ANSWERED, REFUSED
from socketproto.wire import WireError
from umlctl.host import limits, processes, shared_socket

HEARS_TIMEOUT: Final = 2.0
"""How long a kernel may take to answer by a socket whose name is gone, seconds."""
UNREACHABLE: Final = "its kernel's socket was removed while nobody supervised it; `kill` ends it"


def is_open(pid: int, path: str) -> bool:
    """Whether a kernel still has its socket open, though it may have no name. A kernel that ends
    closes it."""
    return _has_socket(pid, path) is True


def is_closed(pid: int, path: str) -> bool:
    """Whether a kernel runs without its socket, as one that begins anew, or is about to end."""
    return _has_socket(pid, path) is False


def _has_socket(pid: int, path: str) -> bool | None:
    """None: that cannot be seen, or the kernel is gone."""
    held = set(processes.descriptors(pid))
    try:
        with open(f"/proc/{pid}/net/unix", "rb") as file:
            rows = [line.split(None, 7) for line in file]
    except OSError:
        return None
    if not held:
        return None
    name = os.fsencode(path)
    return any(
        len(row) == 8 and row[7].rstrip() == name and f"socket:[{row[6].decode()}]" in held
        for row in rows
    )


class KernelSocket:
    """The socket that a kernel's path leads to, and a new name should that be removed."""

    def __init__(self, path: str, kept: str) -> None:
        """kept: the socket's second name; empty if the directory of the first is another user's,
        where the supervisor makes none
        """
        self.path = path
        self._kept = kept
        self._held = -1
        self._inode = 0
        self.look_at_new()

    def look_at_new(self) -> None:
        """Do what `look` does, for a kernel that has just made its socket."""
        with suppress(OSError):  # the kernel can be asked all the same, as long as the name stays
            self.look()

    def is_there(self) -> bool:
        return os.path.exists(self.path)

    def is_nameless(self, pid: int) -> bool:
        """Whether the kernel has its socket open, but no name leads there.

        pid: of the kernel
        """
        if self.is_there():
            return False  # a kernel that cannot be asked then has panicked, or reboots
        return is_open(pid, self.path)

    def is_of_this_boot(self, pid: int) -> bool:
        """Whether the kernel has yet the socket open that was there last, named or not: one that
        begins anew makes another.

        pid: of the kernel
        """
        if not is_open(pid, self.path):
            return False
        try:
            return os.stat(self.path).st_ino == self._inode
        except FileNotFoundError:
            return True

    def look(self) -> bool:
        """Hold the socket that is there now; if its name is gone, make that anew. True if it was
        made.

        Raises: OSError
        """
        try:
            found = os.lstat(self.path)
            if stat.S_ISLNK(found.st_mode) and not self.is_there():
                os.unlink(self.path)  # it led to a supervisor that was killed
                raise FileNotFoundError
        except FileNotFoundError:
            return bool(self._kept) and self._name()
        if stat.S_ISSOCK(found.st_mode) and found.st_ino != self._inode:
            held = os.open(self.path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
            self.close()
            self._held, self._inode = held, found.st_ino
            self._keep()
            if held >= limits.most_to_keep() and self._kept and os.path.exists(self._kept):
                self.close()  # others need the descriptor more, and the socket has its second name
        elif self._kept and stat.S_ISSOCK(found.st_mode) and not os.path.exists(self._kept):
            self._keep()
        return False

    async def hears(self, question: str, owner: int | None, replies: str) -> bool:
        """Whether the kernel answers by its socket, whose name is gone. A kernel that begins anew
        does not, though it has the sockets of all its boots open.

        question: that does no harm, whatever the kernel is doing
        owner, replies: as of `KernelClient`
        """
        if not self._kept:
            return False  # nor does `look` make a name then
        for path in filter(os.path.exists, (self._kept, self._of_process())):
            with (
                suppress(OSError, Unreachable, WireError),
                Client(path, owner, replies=replies) as client,
            ):
                outcome = await client.request(question, HEARS_TIMEOUT)
                if outcome.kind in (ANSWERED, REFUSED):
                    return True
        return False

    def _of_process(self) -> str:
        """A path to the held socket; empty if none is held."""
        return f"/proc/{os.getpid()}/fd/{self._held}" if self._held >= 0 else ""

    def close(self) -> None:
        if self._held >= 0:
            os.close(self._held)
            self._held = -1

    def _keep(self) -> None:
        """Give the socket its second name; without one, only this process holds it."""
        if self._kept:
            with suppress(OSError):
                with suppress(FileNotFoundError):
                    os.unlink(self._kept)
                os.link(self.path, self._kept)

    def _name(self) -> bool:
        """Give the held socket its name again, unless the kernel has closed it. A kernel that
        reboots binds another socket, and clears the directory before that.

        Raises: OSError
        """
        # That of a confined kernel is elsewhere.
        directory = os.path.realpath(os.path.dirname(self.path))
        held = self._of_process()
        if shared_socket.answers(self._kept):
            os.makedirs(directory, 0o700, exist_ok=True)
            os.link(self._kept, self.path)
        elif held and shared_socket.answers(held):
            os.makedirs(directory, 0o700, exist_ok=True)
            os.symlink(held, self.path)
        else:
            return False
        return True
