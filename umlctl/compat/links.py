"""The links by which umlctl is called as other programs."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING, Final, NamedTuple

from umlctl.compat.programs import PROGRAMS
from umlctl.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Iterable

SCRIPT: Final = "umlctl"
"""The name of the installed program."""


class Link(NamedTuple):
    """A program of a directory.

    Fields:
        name: of the program
        path: where it is
        target: what it leads to
        done: "made", "there", which was there already, or "removed"
    """

    name: str
    path: str
    target: str
    done: str


def script() -> str:
    """The path of the installed program, as the user calls it: where pipx or an administrator has
    put a link to it, that stays when what is behind it is replaced.

    Raises: HostError
    """
    beside = os.path.join(os.path.dirname(sys.executable), SCRIPT)
    for path in (os.path.abspath(sys.argv[0]), beside, shutil.which(SCRIPT) or ""):
        if os.path.basename(path) == SCRIPT and os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    raise HostError(
        f"no installed program {SCRIPT!r} that a link could lead to: neither beside "
        f"{sys.executable} nor in PATH; install umlctl, or put it into PATH"
    )


def make(directory: str) -> list[Link]:
    """Link every program into a directory, which is made if it is not there. Nothing is replaced
    but links to umlctl; if something else is in the way, no link is made at all.

    Raises: HostError
    """
    target = script()
    try:
        os.makedirs(directory, exist_ok=True)
    except OSError as problem:
        raise HostError(f"compat: cannot make {directory}: {problem.strerror}") from problem
    paths = {name: os.path.join(directory, name) for name in PROGRAMS}
    if others := [path for path in paths.values() if os.path.lexists(path) and not is_ours(path)]:
        raise HostError(
            f"compat: {', '.join(others)}: there already, and no link to {SCRIPT}, so nothing was "
            "changed; remove it, or take a directory that comes earlier in PATH"
        )
    return [_link(name, path, target) for name, path in paths.items()]


def _link(name: str, path: str, target: str) -> Link:
    """Raises: HostError"""
    if os.path.islink(path) and os.readlink(path) == target:
        return Link(name, path, target, "there")
    beside = f"{path}~{os.getpid()}"
    try:
        os.symlink(target, beside)
        os.replace(beside, path)
    except OSError as problem:
        raise HostError(f"compat: cannot make {path}: {problem.strerror}") from problem
    return Link(name, path, target, "made")


def remove(directory: str) -> list[Link]:
    """Remove the links that lead to umlctl from a directory, and nothing else.

    Raises: HostError
    """
    return list(_removed(os.path.join(directory, name) for name in PROGRAMS))


def _removed(paths: Iterable[str]) -> Iterable[Link]:
    for path in paths:
        if is_ours(path):
            target = os.readlink(path)
            try:
                os.unlink(path)
            except OSError as problem:
                raise HostError(f"compat: cannot remove {path}: {problem.strerror}") from problem
            yield Link(os.path.basename(path), path, target, "removed")


def is_ours(path: str) -> bool:
    """Whether it is a link to umlctl, of this installation or of one that is gone."""
    return os.path.islink(path) and os.path.basename(os.readlink(path)) == SCRIPT
