"""What goes into an image: the files of a tree.

The tree is a directory of an ordinary user's. Who owns what in the image, and when it changed, is
beside it.
"""

from __future__ import annotations

import math
import os
import shutil
import stat
from typing import TYPE_CHECKING, Final, NamedTuple

from umlctl.errors import HostError
from umlctl.storage.root_paths import resolve

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


LATEST_SECONDS: Final = 0x3_7FFF_FFFF
"""The latest time that ext4 has, seconds since 1970. Source: Documentation/filesystems/ext4"""


class Node(NamedTuple):
    """One file, directory or link.

    Fields:
        path: in the image, with a '/' before it
        mode: with its kind
        uid, gid: of its owner there
        mtime: seconds since 1970
    """

    path: str
    mode: int
    uid: int
    gid: int
    mtime: int


class ImageTree:
    """A directory of an ordinary user's, and what each file of it is to be in an image."""

    def __init__(self, directory: str, nodes: Iterable[Node], moment: int) -> None:
        """moment: when what is put into it is said to have changed, seconds since 1970"""
        self.directory = directory
        self._nodes = {node.path: node for node in nodes}
        self._moment = moment

    @property
    def nodes(self) -> list[Node]:
        """All that is in it, each before what is below it."""
        return [self._nodes[path] for path in sorted(self._nodes)]

    def exists(self, path: str) -> bool:
        """Whether there is anything of a path, its links followed as in the guest."""
        try:
            return os.path.lexists(self.directory + self._inside(path))
        except HostError:
            return False

    def read(self, path: str) -> bytes:
        """A file; nothing of what is none.

        Raises: OSError
        """
        place = self.directory + self._inside(path)
        if not os.path.isfile(place):
            return b""
        with open(place, "rb") as file:
            return file.read()

    def put(self, path: str, contents: bytes, mode: int = 0o644) -> None:
        """Put a file in, or another one in its place, which keeps owner and mode.

        Raises: OSError
        """
        inside = self._inside(path)
        place = self.directory + inside
        known = self._nodes.get(inside)
        self._make_above(inside)
        if os.path.lexists(place):
            os.unlink(place)  # it may be a file of several names, or cannot be written
        with open(place, "xb") as file:
            file.write(contents)
        os.chmod(place, mode | 0o600)
        if known is None or not stat.S_ISREG(known.mode):
            known = Node(inside, stat.S_IFREG | mode, 0, 0, 0)
        self._nodes[inside] = known._replace(mtime=self._moment)

    def text(self, path: str) -> str:
        """The same as text, whatever its encoding.

        Raises: OSError
        """
        return self.read(path).decode("utf-8", "surrogateescape")

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Put a file of what `text` gave in.

        Raises: OSError
        """
        self.put(path, text.encode("utf-8", "surrogateescape"), mode)

    def link(self, path: str, target: str) -> None:
        """Put a symbolic link in, or in the place of a file.

        Raises: OSError
        """
        inside = self._inside(path, last=False)
        self._make_above(inside)
        self.remove(inside)
        os.symlink(target, self.directory + inside)
        self._nodes[inside] = Node(inside, stat.S_IFLNK | 0o777, 0, 0, self._moment)

    def remove(self, path: str) -> None:
        """Remove a file or a link, if it is there.

        Raises: OSError
        """
        inside = self._inside(path, last=False)
        if os.path.lexists(self.directory + inside):
            os.unlink(self.directory + inside)
        self._nodes.pop(inside, None)

    def make_directory(self, path: str, mode: int, owner: int = 0) -> None:
        """Make a directory, if there is none.

        owner: user and group

        Raises: OSError
        """
        inside = self._inside(path)
        self._make_above(inside)
        if not os.path.isdir(self.directory + inside):
            os.mkdir(self.directory + inside)
            os.chmod(self.directory + inside, mode | 0o700)
            self._nodes[inside] = Node(inside, stat.S_IFDIR | mode, owner, owner, self._moment)

    def give(self, path: str, owner: int) -> None:
        """Have a file belong to a user, and the group of the same number."""
        inside = self._inside(path, last=False)
        self._nodes[inside] = self._nodes[inside]._replace(uid=owner, gid=owner)

    def copy_in(self, source: str, path: str) -> None:
        """Copy a directory of this host, as root's.

        Raises: HostError, OSError
        """
        inside = self._inside(path)
        self._make_above(inside)
        shutil.copytree(source, self.directory + inside, symlinks=True, dirs_exist_ok=True)
        for node in of_directory(source, None):
            own = inside if node.path == "/" else inside + node.path
            mtime = bounded(node.mtime, self._moment)
            self._nodes[own] = node._replace(path=own, uid=0, gid=0, mtime=mtime)

    def _inside(self, path: str, *, last: bool = True) -> str:
        """Where a path leads in the tree, as of `root_paths.resolve`.

        Raises: HostError: nowhere
        """
        try:
            return resolve(self.directory, path, last=last)
        except ValueError as problem:
            raise HostError(f"{path!r} is no place in the tree: {problem}") from problem

    def _make_above(self, inside: str) -> None:
        above = os.path.dirname(inside)
        if not os.path.isdir(self.directory + above):
            self.make_directory(above, 0o755)


def ended(text: str) -> str:
    """Text with an end to its last line."""
    return text if not text or text.endswith("\n") else f"{text}\n"


def of_directory(tree: str, epoch: int | None) -> list[Node]:
    """What is in a tree. What is the caller's is root's in the image.

    epoch: what nothing is newer than; None: no bound

    Raises: HostError, OSError
    """
    found = []
    mine = os.geteuid()
    for path in _walk(tree):
        status = os.lstat(tree + path)
        own = mine and status.st_uid == mine
        uid, gid = (0, 0) if own else (status.st_uid, status.st_gid)
        mtime = bounded(status.st_mtime, epoch)
        found.append(Node(path, status.st_mode, uid, gid, mtime))
    return found


def bounded(mtime: float, epoch: int | None) -> int:
    """A time of a file, whole seconds, and none that is newer than `epoch`, or that ext4 lacks."""
    moment = max(0, int(mtime)) if math.isfinite(mtime) else 0
    return min(moment, LATEST_SECONDS if epoch is None else epoch)


def _walk(tree: str) -> Iterator[str]:
    yield "/"
    for above, directories, files in os.walk(tree):
        inside = above.removeprefix(tree)
        for name in sorted([*directories, *files]):
            path = f"{inside}/{name}"
            if set(path) & set('"\n\r') or not path.isprintable():
                raise HostError(f"{path!r} has a letter that debugfs does not take")
            yield path
