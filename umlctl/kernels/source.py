"""The source of a kernel that is to be built: a tree, or Debian's package of it."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from umlctl.errors import HostError, UsageError
from umlctl.host import paths
from umlctl.kernels import apt, cache_lock

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGE: Final = "linux-source"
"""The package that takes the one of the release's own version."""
_PACKAGES: Final = re.compile(r"linux-source(?:-\d+\.\d+)?")
_VERSIONED: Final = re.compile(r"\blinux-source-\d+\.\d+\b")
_INSTALLED: Final = Path("/usr/src")
_ROOM_BYTES: Final = 3 << 30
"""What a source, its archive and what is built of it take at most, bytes."""
_MARKS: Final = ("Makefile", "Kconfig", "arch/um/Makefile")


class Source(NamedTuple):
    """The source of a kernel.

    Fields:
        tree: its directory
        title: what it is called
    """

    tree: str
    title: str


def place() -> str:
    """The directory of what builds need and leave."""
    return paths.cache_dir() + "/build"


def is_package(name: str) -> bool:
    """Whether a name is that of a package of the source, and of no directory here."""
    return _PACKAGES.fullmatch(name) is not None and not os.path.isdir(name)


def of_tree(path: str) -> Source:
    """A tree of the kernel's source.

    Raises: UsageError, HostError
    """
    tree = os.path.realpath(os.path.expanduser(path))
    if not os.path.isdir(tree):
        raise UsageError(
            f"{path}: there is no such directory; a kernel is built of a tree of its source, or of "
            f"Debian's package, {PACKAGE} or {PACKAGE}-VERSION"
        )
    lacks = [mark for mark in _MARKS if not os.path.exists(f"{tree}/{mark}")]
    if lacks:
        raise HostError(f"{tree} is no tree of the kernel's source: it has no {lacks[0]}")
    if set(tree) & set(" \t\n:"):
        raise HostError(f"{tree}: the kernel's own make takes no path with a blank or a colon")
    return Source(tree, os.path.basename(tree))


def of_package(name: str, release: str, say: Callable[[str], None]) -> Source:
    """The source in a package, which is unpacked into the cache unless it is there.

    name: as is_package() takes it
    release: of Debian; empty: of this system
    say: is told what is happening, a line at a time

    Raises: UsageError, HostError
    """
    archive = None if release else _installed(name)
    above = Path(place())
    with cache_lock.alone(above, say, "`umlctl kernel build`, which fetches a source"):
        if archive is not None:
            changed = archive.stat().st_mtime_ns
            return _unpacked(archive, above / "sources" / f"{archive.stem}-{changed}", say)
        apt.check("the kernel's source")
        with tempfile.TemporaryDirectory(dir=above, prefix=cache_lock.NEW) as new:
            package = _download(name, release, Path(new), above / "packages", say)
            home = above / "sources" / package.stem
            if not home.exists():
                tree = Path(new, "tree")
                apt.extract(package, tree)
                found = next((tree / "usr/src").glob(f"{PACKAGE}-*.tar.*"), None)
                if found is None:
                    raise HostError(f"{package.name} has no source in it")
                _unpacked(found, home, say)
            package.unlink(missing_ok=True)
            return _in(home)


def _installed(name: str) -> Path | None:
    """The newest source that a package has put where they are put."""
    wanted = f"{PACKAGE}-*.tar.xz" if name == PACKAGE else f"{name}.tar.xz"
    found = [path for path in _INSTALLED.glob(wanted) if path.is_file()]
    return max(found, key=lambda path: _numbers(path.name), default=None)


def _numbers(name: str) -> list[int]:
    return [int(each) for each in re.findall(r"\d+", name)]


def _download(
    name: str, release: str, new: Path, packages: Path, say: Callable[[str], None]
) -> Path:
    """The package's file. It stays until it is unpacked, and is not downloaded a second time."""
    packages.mkdir(parents=True, exist_ok=True)
    room = shutil.disk_usage(packages).free
    if room < _ROOM_BYTES:
        raise HostError(
            f"the source and what is built of it take {_ROOM_BYTES >> 30}G at most, and {packages} "
            f"has {room / (1 << 30):.1f}G left: make room, or set XDG_CACHE_HOME to another place"
        )
    if not release:
        versioned = _versioned(name, apt.needs(name))
        return apt.download(versioned, packages, say)
    of_release = apt.Release(release, new, say)
    versioned = _versioned(name, of_release.needs(name))
    return of_release.download(versioned, packages)


def _versioned(name: str, needs: str) -> str:
    """The package that has a source, where the one of this name only takes another."""
    found = _VERSIONED.search(needs) if name == PACKAGE else None
    return found[0] if found else name


def _unpacked(archive: Path, home: Path, say: Callable[[str], None]) -> Source:
    """The source of an archive, unpacked unless it is there; it is whole, or not there.

    Raises: HostError
    """
    if not home.exists():
        say(f"unpacking {archive.name} into {home}, which takes about 2G")
        home.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home.parent.parent, prefix=".new-") as new:
            whole = Path(new, "whole")
            whole.mkdir()
            problem, _ = apt.run("tar", "--extract", f"--file={archive}", f"--directory={whole}")
            apt.insist(f"unpack {archive.name}", problem)
            whole.rename(home)
    return _in(home)


def _in(home: Path) -> Source:
    """The tree that an archive had in it.

    Raises: HostError
    """
    trees = [path for path in home.iterdir() if (path / "Makefile").exists()]
    if len(trees) != 1:
        raise HostError(f"{home} has no source of a kernel in it; remove it, and say it again")
    return of_tree(str(trees[0]))
