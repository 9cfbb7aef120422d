"""Running a guest as another user: what its kernel reaches is then that user's reach, not root's.

Only root can. The kernel's process becomes the user last of all, with what it needs open; the
rest of what is its, is given to it, and what it must be able to open is tried first, as the user.
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
    """Somebody a guest can run as."""

    name: str
    uid: int
    gid: int


def find(name: str) -> User:
    """The user of a name or number.

    Raises: HostError
    """
    try:
        number = name.isascii() and name.isdigit()
        found = pwd.getpwuid(int(name)) if number else pwd.getpwnam(name)
    except (KeyError, OverflowError, ValueError):
        raise HostError(f"this host has no user {name}, as whom the guest is to run") from None
    return User(found.pw_name, found.pw_uid, found.pw_gid)


def become(user: User) -> list[str]:
    """The words before a command that has it run as the user, for good."""
    return [
        *("setpriv", "--reuid", str(user.uid), "--regid", str(user.gid), "--init-groups"),
        # What ends the kernel with its parent is to do so still.
        *("--pdeathsig", "keep", "--inh-caps", "-all", "--bounding-set", "-all", "--no-new-privs"),
    ]


def check_reach(user: User, files: Iterable[tuple[str, str]]) -> None:
    """See that the user can read (r), write (w), or execute or enter (x) files.

    files: each with one of these letters before it

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


def give(user: User, paths: Iterable[str]) -> None:
    """Have files of ours be the user's.

    Raises: OSError
    """
    for path in paths:
        os.chown(path, user.uid, user.gid, follow_symlinks=False)
