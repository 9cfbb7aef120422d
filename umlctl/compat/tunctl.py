"""`tunctl`: make and remove taps that stay.

    tunctl [-b] [-u OWNER] [-g GROUP] [-t NAME] [-n|-p] [-f FILE]
    tunctl -d NAME [-f FILE]

`-n` (a tun) and `-p` (a tap, as without) are of the versions of other distributions. The original
takes an empty owner for root, and the rest of a number that is too large; here both are errors.
Source: tunctl of uml-utilities 20070815.
"""

from __future__ import annotations

import fcntl
import os
import sys
from struct import pack
from typing import TYPE_CHECKING, Final

from umlctl.networks.interfaces import IFF_TAP
from umlctl.networks.taps import (
    IFF_NO_PI,
    TUN_DEVICE,
    TUNSETGROUP,
    TUNSETIFF,
    TUNSETOWNER,
    TUNSETPERSIST,
)

if TYPE_CHECKING:
    from collections.abc import Callable

NAME: Final = "tunctl"
USAGE: Final = (
    "Create: {0} [-b] [-u owner] [-g group] [-t device-name] [-f tun-clone-device]\n"
    "Delete: {0} -d device-name [-f tun-clone-device]\n\n"
    "The default tun clone device is /dev/net/tun - some systems use\n"
    "/dev/misc/net/tun instead\n\n"
    "-b will result in brief output (just the device name)\n"
)
IFF_TUN: Final = 0x0001
MAX_NAME_BYTES: Final = 15
"""Of an interface; the original cuts what is longer."""
MAX_ID: Final = 0xFFFFFFFE


class Wrong(Exception):
    """What is wrong with the command line, as it is said."""


class Asked:
    """What a command line asks for.

    Fields:
        device: where taps are made
        name: of the interface; empty: the kernel chooses
        owner, group: None if it has none
        delete, brief: -d, -b
        kind: a tap or a tun
    """

    def __init__(self) -> None:
        self.device = TUN_DEVICE
        self.name = ""
        self.owner: int | None = None
        self.group: int | None = None
        self.delete = self.brief = False
        self.kind = IFF_TAP


def main(argv: list[str]) -> int:
    """Run `tunctl` with these arguments; the exit code."""
    try:
        asked = read(argv[1:])
    except Wrong as problem:
        sys.stderr.write(f"{problem}\n" if str(problem) else "")
        sys.stderr.write(USAGE.format(NAME))
        return 1
    try:
        descriptor = os.open(asked.device, os.O_RDWR | os.O_CLOEXEC)
    except (OSError, ValueError) as problem:
        why = getattr(problem, "strerror", None) or problem
        sys.stderr.write(f"Failed to open '{asked.device}' : {why}\n")
        return 1
    try:
        return _do(asked, descriptor)
    finally:
        os.close(descriptor)


def read(words: list[str]) -> Asked:
    """Read a command line as getopt(3) does; a word that is no option may stand anywhere, and is
    wrong.

    Raises: Wrong
    """
    import getopt

    try:
        options, rest = getopt.gnu_getopt(words, "bd:f:t:u:g:np")
    except getopt.GetoptError as problem:
        what = "option requires an argument" if "requires" in problem.msg else "invalid option"
        raise Wrong(f"{NAME}: {what} -- '{problem.opt}'") from None
    asked = Asked()
    for option, value in options:
        _take(asked, option, value)
    if rest:
        raise Wrong
    return asked


def _take(asked: Asked, option: str, value: str) -> None:
    """Raises: Wrong"""
    match option:
        case "-b":
            asked.brief = True
        case "-d" | "-t":
            asked.name = value
            asked.delete = asked.delete or option == "-d"
        case "-f":
            asked.device = value
        case "-u":
            asked.owner = _id(value, _user, "a username nor a numeric uid")
        case "-g":
            asked.group = _id(value, _group, "a groupname nor a numeric group")
        case "-n":
            asked.kind = IFF_TUN
        case "-p":
            asked.kind = IFF_TAP


def _user(name: str) -> int:
    import pwd

    return pwd.getpwnam(name).pw_uid


def _group(name: str) -> int:
    import grp

    return grp.getgrnam(name).gr_gid


def _id(text: str, look: Callable[[str], int], what: str) -> int:
    """The number of a user or group.

    Raises: Wrong
    """
    try:
        return look(text)
    except (KeyError, ValueError):
        pass
    digits = text.lower()
    base = 16 if digits.startswith("0x") else 8 if digits.startswith("0") else 10
    try:
        number = int(text, base) if text.isascii() and text.isalnum() else -1
    except ValueError:
        number = -1
    if not 0 <= number <= MAX_ID:
        raise Wrong(f"'{text}' is neither {what}.")
    return number


def _do(asked: Asked, descriptor: int) -> int:
    what = "TUNSETIFF"
    name = os.fsencode(asked.name)[:MAX_NAME_BYTES]
    try:
        flags = asked.kind | IFF_NO_PI
        found = fcntl.ioctl(descriptor, TUNSETIFF, pack("16sH22x", name, flags))
        shown = os.fsdecode(found[:16].partition(b"\0")[0])
        if asked.delete:
            what = "TUNSETPERSIST"
            fcntl.ioctl(descriptor, TUNSETPERSIST, 0)
            sys.stdout.write(f"Set '{shown}' nonpersistent\n")
            return 0
        owner = asked.owner
        if owner is None and asked.group is None:
            owner = os.geteuid()
        for step, request, number in (
            ("TUNSETOWNER", TUNSETOWNER, owner),
            ("TUNSETGROUP", TUNSETGROUP, asked.group),
            ("TUNSETPERSIST", TUNSETPERSIST, 1),
        ):
            what = step
            if number is not None:
                fcntl.ioctl(descriptor, request, number - (1 << 32 if number >= 1 << 31 else 0))
    except OSError as problem:
        sys.stderr.write(f"{what}: {problem.strerror}\n")
        return 1
    if asked.brief:
        sys.stdout.write(f"{shown}\n")
        return 0
    whose = [f" uid {owner}"] if owner is not None else []
    whose += [f" gid {asked.group}"] if asked.group is not None else []
    sys.stdout.write(f"Set '{shown}' persistent and owned by{''.join(whose)}\n")
    return 0
