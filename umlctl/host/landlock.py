"""Landlock: what a process may do with files and sockets, settled by itself, for good, and without
a privilege; what it starts and traces is bound by the same.

A ruleset is made here, with what it allows; who is to obey it restricts itself to it (see
`restrict`). Source: landlock(7), include/uapi/linux/landlock.h.
"""

from __future__ import annotations

import os
import stat
from enum import IntFlag
from errno import ENOENT, ENOTDIR
from struct import pack
from typing import TYPE_CHECKING, Final, NamedTuple

from umlctl.host import call_list

if TYPE_CHECKING:
    import ctypes
    from collections.abc import Iterable

    from umlctl.host.call_list import CallList

NEWEST_VERSION: Final = 6
"""The newest version of Landlock that is made use of."""
_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_PRCTL: Final = 157
_CLOSE: Final = 3
_VERSION: Final = 1
_PATH_BENEATH: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38


class Files(IntFlag):
    """What may be done with files (LANDLOCK_ACCESS_FS_*)."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14
    IOCTL_DEV = 1 << 15


class Ports(IntFlag):
    """What may be done with TCP (LANDLOCK_ACCESS_NET_*)."""

    BIND = 1 << 0
    CONNECT = 1 << 1


class Scopes(IntFlag):
    """What stays among those that obey (LANDLOCK_SCOPE_*)."""

    ABSTRACT_SOCKETS = 1 << 0
    SIGNALS = 1 << 1


READ: Final = Files.READ_FILE | Files.READ_DIR
EXECUTE: Final = READ | Files.EXECUTE
DEVICES: Final = Files.MAKE_CHAR | Files.MAKE_BLOCK
CHANGE: Final = Files((1 << 15) - 1) & ~(EXECUTE | DEVICES)
"""All that changes files and directories; device nodes can be made nowhere."""
WRITE: Final = READ | CHANGE
DEVICE: Final = Files.READ_FILE | Files.WRITE_FILE | Files.IOCTL_DEV
"""What a device is opened for."""
_OF_A_FILE: Final = (
    Files.EXECUTE | Files.WRITE_FILE | Files.READ_FILE | Files.TRUNCATE | Files.IOCTL_DEV
)
TRUNCATION_SINCE: Final = 3
"""The first version that bounds who truncates a file by its path."""
_SINCE: Final = ((2, Files.REFER), (TRUNCATION_SINCE, Files.TRUNCATE), (5, Files.IOCTL_DEV))


class FileRule(NamedTuple):
    """What is allowed on a file, or on a directory and all that is below it."""

    path: str
    allowed: Files


def version() -> int:
    """Which Landlock this host has, 0 if none or if it is not to be had here.

    1: files. 2: files can be moved to other directories. 3: and truncated. 4: TCP. 5: ioctl(2) of
    devices. 6: abstract sockets and signals.
    """
    return max(0, _call(_CREATE_RULESET, None, 0, _VERSION))


def unable() -> str:
    """Why this host can confine no kernel; empty if it can."""
    machine = os.uname().machine
    if machine not in call_list.MACHINES:
        return f"that is for x86-64, and this is {machine}"
    if not version():
        return (
            "its kernel has no Landlock, or lets nobody use it here; Linux 5.13 has it, if "
            "`landlock` is among CONFIG_LSM or lsm="
        )
    return ""


def ruleset(
    rules: Iterable[FileRule],
    *,
    handled: Files,
    ports: int = 0,
    scopes: int = 0,
    version: int,
) -> int:
    """Make a ruleset: a descriptor, not inherited.

    rules: what is allowed of it; a path that is not there is left out
    handled: what is refused but for the rules; what an older Landlock does not know, it allows,
        except that it moves no file to another directory
    ports: what is refused of TCP (Ports)
    scopes: what is refused outside the domain (Scopes)
    version: of Landlock: that of this host, or an older one

    Raises: OSError
    """
    known = handled & ~Files(sum(right for since, right in _SINCE if version < since))
    attributes = pack("=Q", known)
    if version >= 4:
        attributes += pack("=Q", ports)
    if version >= 6:
        attributes += pack("=Q", scopes)
    made = _call(_CREATE_RULESET, attributes, len(attributes), 0)
    if made < 0:
        raise OSError(-made, f"cannot make a Landlock ruleset: {os.strerror(-made)}")
    try:
        for rule in rules:
            _allow(made, rule, known)
    except BaseException:
        os.close(made)
        raise
    return made


def _allow(made: int, rule: FileRule, known: Files) -> None:
    """Raises: OSError"""
    try:
        path = os.open(rule.path, os.O_PATH | os.O_CLOEXEC)
    except OSError as problem:
        if problem.errno in (ENOENT, ENOTDIR):
            return
        raise
    try:
        allowed = rule.allowed & known
        if not stat.S_ISDIR(os.fstat(path).st_mode):
            allowed &= _OF_A_FILE
        if allowed:  # nothing is no rule
            failure = _call(_ADD_RULE, made, _PATH_BENEATH, pack("=Qi", allowed, path), 0)
            if failure:
                raise OSError(-failure, os.strerror(-failure), rule.path)
    finally:
        os.close(path)


def restrict(calls: CallList, descriptor: int) -> None:
    """Have who makes these calls obey a ruleset, and close it; it can gain no privileges then.

    descriptor: of the ruleset, there
    """
    refused = "cannot restrict the kernel by Landlock"
    calls.call(refused, _PRCTL, _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    calls.call(refused, _RESTRICT_SELF, descriptor, 0)
    calls.call(refused, _CLOSE, descriptor)


def _call(number: int, *arguments: int | bytes | None) -> int:
    """Make a system call: what it returns, or the errno, negative."""
    import ctypes

    libc: ctypes.CDLL = ctypes.CDLL(None, use_errno=True)
    words = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result = int(libc.syscall(ctypes.c_long(number), *words))
    return result if result >= 0 else -ctypes.get_errno()
