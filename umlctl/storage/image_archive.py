"""Unpacking archives of trees, as an ordinary user; they may be anybody's.

Paths lead where they would lead in the guest, see `root_paths`: nothing outside of the tree is
read or written. Devices are left out, since a guest's kernel makes its own.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tarfile
import zlib
from lzma import LZMAError
from typing import TYPE_CHECKING, Final

from umlctl.errors import HostError
from umlctl.host.files import remove_tree
from umlctl.storage.image_tree import Node, bounded, of_directory
from umlctl.storage.root_paths import resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DAMAGED: Final = (
    *(tarfile.TarError, EOFError, ValueError, OverflowError, KeyError, TypeError),
    *(zlib.error, LZMAError),
)
"""What the reader of archives says to one that is none, or that leads out of its tree."""
MAX_NAME_BYTES: Final = 4096
"""The longest path of a file. Source: PATH_MAX in linux/limits.h"""
_CHUNK_BYTES: Final = 1 << 20


class Unpacking:
    """A tree that archives are unpacked into, one over the other."""

    def __init__(self, tree: str, say: Callable[[int], object] = lambda _count: None) -> None:
        """tree: an empty directory

        say: is told how many bytes more of files have been written
        """
        self.devices = 0
        """How many were left out."""
        self._tree = tree
        self._say = say
        self._known: dict[str, tarfile.TarInfo] = {}
        self._left: set[str] = set()

    def add(
        self, archive: tarfile.TarFile, skip: Callable[[str], bool] = lambda _name: False
    ) -> None:
        """Unpack an archive over what is there.

        skip: of which names nothing is unpacked

        Raises: ValueError and others of DAMAGED, OSError
        """
        for member in archive:
            if self._is_device(member):
                self.devices += 1
                self._left.add(self._place(member.name))
            elif not skip(member.name):
                self._unpack(archive, member)

    def _is_device(self, member: tarfile.TarInfo) -> bool:
        """Whether a file of an archive is a device, or one more name of one that was left out.

        Raises: ValueError
        """
        if member.islnk():
            return self._place(member.linkname) in self._left
        return member.ischr() or member.isblk()

    def nodes(self, epoch: int | None) -> list[Node]:
        """What is in the tree, as the archives say.

        A directory that they only have files of is as old as the newest of all their files.

        epoch: what nothing is newer than; None: no bound

        Raises: HostError, OSError
        """
        found = of_directory(self._tree, epoch)
        newest = max((bounded(each.mtime, epoch) for each in self._known.values()), default=0)
        return [
            _as_known(node, self._known[node.path], epoch)
            if node.path in self._known
            else node._replace(mode=stat.S_IFDIR | 0o755, mtime=newest)
            for node in found
        ]

    def remove(self, inside: str) -> None:
        """Remove what is there of a path, with all below it.

        Raises: ValueError, OSError
        """
        self._clear(self._place(inside))

    def empty(self, inside: str) -> None:
        """Remove what is there in a directory, if it is one.

        Raises: ValueError, OSError
        """
        inside = self._place(inside)
        place = self._tree + inside
        if os.path.isdir(place) and not os.path.islink(place):
            for name in os.listdir(place):
                self._clear(f"{inside.rstrip('/')}/{name}")

    def _place(self, name: str) -> str:
        """Where a name of an archive leads: its last part as it is, the rest by its links.

        Raises: ValueError
        """
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise ValueError(f"{name!r} leads out of it")
        if len(os.fsencode(name)) > MAX_NAME_BYTES:
            raise ValueError(f"{name[:60]!r}... is longer than any path")
        return resolve(self._tree, "/".join(parts), last=False)

    def _clear(self, inside: str) -> None:
        place = self._tree + inside
        if os.path.isdir(place) and not os.path.islink(place):
            remove_tree(place)
            below = f"{inside}/"
            for path in [path for path in self._known if path.startswith(below)]:
                del self._known[path]
        elif os.path.lexists(place):
            os.unlink(place)
        self._known.pop(inside, None)

    def _unpack(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        """Unpack one file. What is unpacked can be read by who copies it.

        Raises: ValueError, HostError, OSError
        """
        inside = self._place(member.name)
        place = self._tree + inside
        self._left.discard(inside)
        if member.isdir():
            if not os.path.isdir(place) or os.path.islink(place):
                self._clear(inside)
                os.makedirs(place)
            os.chmod(place, member.mode & 0o777 | 0o700)
            self._known[inside] = member
            return
        if inside == "/":
            raise ValueError("its root is no directory")
        if member.islnk():
            target = self._place(member.linkname)
            self._link(target, inside)
            self._known[inside] = self._known.get(target, member)
            return
        self._clear(inside)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        if member.issym():
            os.symlink(member.linkname, place)
        elif member.isfifo():
            os.mkfifo(place, 0o600)
        else:
            self._write(archive, member, place)
        self._known[inside] = member

    def _link(self, target: str, inside: str) -> None:
        """Raises: ValueError, OSError"""
        kind = os.lstat(self._tree + target).st_mode if os.path.lexists(self._tree + target) else 0
        if not kind or stat.S_ISDIR(kind):
            raise ValueError(f"{inside!r} is a link to {target!r}, which is no file in it")
        if target == inside:
            return
        self._clear(inside)
        os.makedirs(os.path.dirname(self._tree + inside), exist_ok=True)
        os.link(self._tree + target, self._tree + inside, follow_symlinks=False)

    def _write(self, archive: tarfile.TarFile, member: tarfile.TarInfo, place: str) -> None:
        """Raises: ValueError, HostError, OSError"""
        there = os.statvfs(self._tree)
        if member.size > there.f_bavail * there.f_frsize:
            raise HostError(
                f"{member.name!r} has {member.size} bytes, for which there is no room in "
                f"{os.path.dirname(self._tree)}"
            )
        reader = archive.extractfile(member)
        assert reader is not None
        left = member.size
        with open(place, "xb") as file:
            while left:
                piece = reader.read(min(_CHUNK_BYTES, left))
                if not piece:
                    raise ValueError(f"{member.name!r} is cut")
                file.write(piece)
                left -= len(piece)
                self._say(len(piece))
        os.chmod(place, member.mode & 0o777 | 0o600)


def unpack(
    path: str, tree: str, epoch: int | None, say: Callable[[int], object] = lambda _count: None
) -> tuple[list[Node], int]:
    """Unpack an archive of a tree into an empty directory.

    say: is told how many bytes more of files have been written

    Returns: what is in it, and how many devices were left out, which a guest's kernel makes
    Raises: HostError, OSError
    """
    unpacking = Unpacking(tree, say)
    with opened(path) as archive:
        unpacking.add(archive)
    return unpacking.nodes(epoch), unpacking.devices


@contextlib.contextmanager
def opened(path: str) -> Iterator[tarfile.TarFile]:
    """An archive, compressed or not.

    Raises: HostError: it is none, or damaged, as far as it is read meanwhile
    """
    try:
        with tarfile.open(path) as archive:
            yield archive
    except tarfile.ReadError as problem:
        said = str(problem)
        if "\n" in said:  # what each way of reading it said
            said = "it is no tar archive, plain or compressed by gzip, bzip2 or xz"
        raise HostError(f"{path} cannot be unpacked: {said}") from problem
    except DAMAGED as problem:
        raise HostError(f"{path} cannot be unpacked: {problem}") from problem


def _as_known(node: Node, member: tarfile.TarInfo, epoch: int | None) -> Node:
    """A file as its archive has it."""
    kind = stat.S_IFMT(node.mode)
    mode = kind | (member.mode & 0o7777 if kind != stat.S_IFLNK else 0o777)
    return Node(node.path, mode, member.uid, member.gid, bounded(member.mtime, epoch))
