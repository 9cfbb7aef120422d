"""Fetching the UML kernel from the distribution, as root or as any user.

Debian has it in the package `user-mode-linux`. Root installs the package. For any other user,
apt-get downloads it, which needs no privilege, and it is unpacked into the cache; see
`umlctl.kernels.apt` for what lists are taken.

Ubuntu has no such package (none from 24.04 to 26.04), but has Debian's keys. There every user, root
too, gets Debian's package into the cache; the system's sources stay as they are. So does who wants
the kernel of another release of Debian, if this host's C library can run it.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from umlctl.errors import HostError, UnfitHost
from umlctl.kernels import apt, cache_lock, find

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["PACKAGE", "fetch", "fetch_of_release"]

PACKAGE: Final = "user-mode-linux"
_LIBRARY: Final = re.compile(r"\blibc6 \(>= (\d+)\.(\d+)")
_ELSE: Final = (
    f"name a kernel that you have with --kernel PATH or ${find.KERNEL_VARIABLE}; "
    "`umlctl kernel build` builds one"
)


def fetch(say: Callable[[str], None]) -> str:
    """Install the kernel, or unpack it into the cache; return its absolute path.

    `say` is told what is happening, a line at a time.

    Raises: HostError
    """
    with _with_ways_out():
        apt.check("a UML kernel")
        if os.geteuid() == 0 and apt.install(PACKAGE, say):
            path = shutil.which("linux.uml")
            if path is None:
                raise HostError(f"{PACKAGE} was installed, but there is no linux.uml in PATH")
            return path
        return _unpack(lambda directory: apt.download(PACKAGE, directory, say), say)


def fetch_of_release(release: str, say: Callable[[str], None]) -> str:
    """Unpack the kernel of a release of Debian into the cache; return its absolute path.

    Raises: UsageError, UnfitHost: this host's C library is too old for it, HostError
    """

    def download(directory: Path) -> Path:
        packages = apt.Release(release, directory, say)
        _check_library(packages.needs(PACKAGE), release)
        return packages.download(PACKAGE, directory)

    with _with_ways_out():
        apt.check("a UML kernel")
        return _unpack(download, say)


@contextlib.contextmanager
def _with_ways_out() -> Iterator[None]:
    """Say what else can be done.

    Raises: HostError
    """
    try:
        yield
    except UnfitHost:
        raise
    except HostError as problem:
        raise HostError(f"{problem}; {_ELSE}") from problem


def _check_library(needs: str, release: str) -> None:
    """Raises: UnfitHost"""
    wanted = _LIBRARY.search(needs)
    here = re.fullmatch(r"glibc (\d+)\.(\d+)", _own_library())
    if wanted is None or here is None:
        return
    if (int(wanted[1]), int(wanted[2])) > (int(here[1]), int(here[2])):
        raise UnfitHost(
            f"{PACKAGE} of {release} takes the C library {wanted[1]}.{wanted[2]}, and this host "
            f"has {here[1]}.{here[2]}: its kernel does not run here, and nothing was downloaded; "
            "`umlctl kernel build` builds a kernel that does"
        )


def _own_library() -> str:
    """The C library of this host, with its version; empty if it is another."""
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):
        return ""


def _unpack(download: Callable[[Path], Path], say: Callable[[str], None]) -> str:
    cache = Path(find.cache())
    with (
        cache_lock.alone(cache, say, "`umlctl setup` to end"),
        tempfile.TemporaryDirectory(dir=cache, prefix=cache_lock.NEW) as new,
    ):
        package = download(Path(new))
        home = cache / package.stem
        kernel = home / find.IN_PACKAGE
        if not kernel.exists():
            say(f"unpacking into {home}")
            tree = Path(new, "tree")
            apt.extract(package, tree)
            if not os.access(tree / find.IN_PACKAGE, os.X_OK):
                raise HostError(f"{package.name} has no {find.IN_PACKAGE} in it")
            # A directory there without a kernel in it was damaged by hand.
            shutil.rmtree(home, ignore_errors=True)
            tree.rename(home)
    return str(kernel)
