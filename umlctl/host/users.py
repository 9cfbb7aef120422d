"""Running a guest as another user: its kernel then reaches what that user can, not what root can.

Only root can do that. The kernel's process becomes the user last of all, with what it needs open.
Its other files are given to the user. What it must be able to open is tried first, as the user.
"""

from __future__ import annotations

import os
import pwd
import subprocess
from typing import TYPE_CHECKING, NamedTuple

from umlctl.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Iterable

_TRY = """
while [ $# -gt 0 ]; do
    if [ ! "-$1" "$2" ]; then echo "$1 $2"; exit 1; fi
    shift 2
done
"""
_WORDS = {"r": "read", "w": "write", "x": "execute or enter"}


class User(NamedTuple):
    """A user that a guest can run as."""

    name: str
    uid: int
    gid: int
    home: str


def find(name: str) -> User:
    """The user of a name or number.

    Raises: HostError
    """
    try:
        number = name.isascii() and name.isdigit()
        found = pwd.getpwuid(int(name)) if number else pwd.getpwnam(name)
    except (KeyError, OverflowError, ValueError):
        raise HostError(f"this host has no user {name}, as whom the guest is to run") from None
    return User(found.pw_name, found.pw_uid, found.pw_gid, found.pw_dir)


def owner(name: str) -> int | None:
    """The uid that owns the files which a guest's kernel makes, if the guest was given a user; -1
    if there is no such user any more."""
    try:
        return find(name).uid if name else None
    except HostError:
        return -1


def become(user: User) -> list[str]:
    """The words before a command that make it run as the user, for good."""
    return [
        *("setpriv", "--reuid", str(user.uid), "--regid", str(user.gid), "--init-groups"),
        # What ends the kernel with its parent is to do so after that too.
        *("--pdeathsig", "keep", "--inh-caps", "-all", "--bounding-set", "-all", "--no-new-privs"),
    ]


def environment(user: User) -> dict[str, str]:
    """The environment of a process of the user's. It has nothing of this process's, which may be
    secret, but where programs and the memory files of kernels are."""
    kept = ("PATH", "TMPDIR", "TMP", "TEMP")
    ours = {name: os.environ[name] for name in kept if name in os.environ}
    return ours | {"HOME": user.home, "USER": user.name, "LOGNAME": user.name}


def check_reach(user: User, files: Iterable[tuple[str, str]]) -> None:
    """See that the user can read (r), write (w), or execute or enter (x) files.

    files: each as the letter and the path

    Raises: HostError
    """
    words = [word for pair in files for word in pair]
    try:
        done = subprocess.run(
            [*become(user), "/bin/sh", "-c", _TRY, "sh", *words],
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    except OSError as problem:
        raise HostError(f"cannot run setpriv: {problem.strerror}") from problem
    if done.returncode:
        letter, _, path = os.fsdecode(done.stdout).rstrip("\n").partition(" ")
        if not path:
            raise HostError(f"cannot become {user.name}: {os.fsdecode(done.stderr).strip()}")
        raise HostError(
            f"{user.name}, as whom the guest is to run, cannot {_WORDS[letter]} {path}; "
            "mind the directories above it"
        )


def remove(paths: Iterable[str]) -> None:
    """Remove what a user has made, whatever that is: it may be deeper than Python can recurse into,
    and have links in it that lead elsewhere.

    Raises: HostError
    """
    done = subprocess.run(
        ["rm", "-rf", "--", *paths], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    if done.returncode:
        said = os.fsdecode(done.stderr).partition("\n")[0]
        raise HostError(f"not everything that a kernel left can be removed: {said[:300]}")


def give(user: User, paths: Iterable[str]) -> None:
    """Make a user the owner of files.

    Raises: OSError
    """
    for path in paths:
        os.chown(path, user.uid, user.gid, follow_symlinks=False)
