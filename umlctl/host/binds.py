"""Mounts of a confined process: files that appear in its namespace, put there from outside, while
it runs; and, before, which of what it sees can be changed at all.

Who is confined to what it was given is given more by this: a bind mount at a place that it
reaches. The process that does it enters the other's namespaces, its user namespace first, where
it has one: there its user may mount. It must have one thread alone to be let in, and keeps what
it may do there no longer than until it becomes another program: so it is a list of system calls.
"""

from __future__ import annotations

import os
import re
from errno import ELOOP, EPERM
from struct import pack
from typing import TYPE_CHECKING, Final, NamedTuple

from umlctl.host import processes
from umlctl.host.call_list import FIRST_DESCRIPTOR, CallList, CallResult, run

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_OCTAL: Final = re.compile(rb"\\([0-7]{3})")
"""How mountinfo has letters that would end a field."""
MOUNT_TIMEOUT: Final = 10.0
"""The longest that a mount may take, seconds."""
_SETNS: Final = 308
_UMOUNT: Final = 166
_DUP2: Final = 33
_OPEN_TREE: Final = 428
_MOVE_MOUNT: Final = 429
_OPENAT2: Final = 437
_MOUNT_SETATTR: Final = 442
_NEW_USER: Final = 0x10000000
_NEW_MOUNTS: Final = 0x00020000
_HERE: Final = -100
_EMPTY_PATH: Final = 0x1000
_CLONE: Final = 1 | os.O_CLOEXEC
_RECURSIVE: Final = 0x8000
_NOT_FOLLOWED: Final = 0x100
_RDONLY: Final = 1
_FROM_EMPTY: Final = 0x04
_BOTH_EMPTY: Final = 0x44
_RESOLVE_NO_SYMLINKS: Final = 4
_DETACH: Final = 2
_TREE: Final = 100
"""A descriptor that none of those that are passed on has."""
_NOFOLLOW: Final = 8
_NO_ENTRY: Final = "cannot enter the namespaces"


def has_own_mounts(pid: int) -> bool:
    """A process has a mount namespace that is not ours, and we may see it."""
    return _namespace(pid, "mnt") not in ("", _namespace(os.getpid(), "mnt"))


def bind(
    pid: int, started: int, source: str, target: str, *, seen: str = "", write: bool = True
) -> None:
    """Have a file appear at another path in the mount namespace of a process.

    pid, started: of the process; see `processes.start_time`
    source: a file or directory; under the same path it must be there too, where that process is
        in a user namespace
    target: an absolute path that is there already, of the same kind
    seen: the path of the source there, if it is another
    write: it can be changed there, if it can be here

    Raises: OSError: it could not be done, and nothing was
    """
    source, target = os.path.realpath(source), os.path.realpath(target)
    kinds = _namespaces(pid)
    calls = CallList()
    found = os.open(source, os.O_PATH | os.O_CLOEXEC)
    try:
        if kinds & _NEW_USER:  # what is not in its own namespace its user cannot mount
            calls.call(_NO_ENTRY, _SETNS, FIRST_DESCRIPTOR, kinds)
            tree = _clone(calls, source, _open(calls, seen or source))
        else:
            tree = _clone(calls, source, FIRST_DESCRIPTOR + 1)
            calls.call(_NO_ENTRY, _SETNS, FIRST_DESCRIPTOR, kinds)
        calls.call(f"cannot have {source}", _DUP2, tree, _TREE)
        if not write:  # before it is anywhere
            words = (f"cannot have {source} read-only", _MOUNT_SETATTR, _TREE, "", _EMPTY_PATH)
            calls.call(*words, pack("=4Q", _RDONLY, 0, 0, 0), 32)
        place = _open(calls, target)
        calls.call(f"cannot mount {source}", _MOVE_MOUNT, _TREE, "", place, "", _BOTH_EMPTY)
        if write and kinds & _NEW_USER:  # what is read-only for this host is so there for ever
            words = (f"cannot write {target}", _MOUNT_SETATTR, _HERE, target, _NOT_FOLLOWED)
            calls.call(*words, pack("=4Q", 0, _RDONLY, 0, 0), 32, tolerated=[EPERM])
        _run(calls, pid, started, found)
        # What is confined may have put another file in its place meanwhile, where it can write.
        same = os.path.samestat(os.fstat(found), os.stat(f"/proc/{pid}/root{target}"))
    finally:
        os.close(found)
    if not same:
        unbind(pid, started, target)
        raise OSError(f"cannot mount {source}: it is another file there")


def bind_tree(pid: int, started: int, source: str, target: str, *, write: bool) -> None:
    """Have a directory appear at another path in the mount namespace of a process, as it is there,
    with what covers some of it. What is mounted below it can be read.

    pid, started: of the process; see `processes.start_time`
    source: the real path of a directory: no link is followed, as what is confined may have made it
    target: an absolute path of a directory that is there already
    write: it can be changed there, if it can be here

    Raises: OSError: it could not be done, and nothing was
    """
    target = os.path.realpath(target)
    calls = CallList()
    found = os.open(source, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if os.readlink(f"/proc/self/fd/{found}") != source:
            raise OSError(ELOOP, "a link leads elsewhere by now")
        calls.call(_NO_ENTRY, _SETNS, FIRST_DESCRIPTOR, _namespaces(pid))
        opened = _open(calls, source)
        flags = _EMPTY_PATH | _CLONE | _RECURSIVE
        tree = calls.call(f"cannot have {source}", _OPEN_TREE, opened, "", flags)
        calls.call(f"cannot have {source}", _DUP2, tree, _TREE)
        words = (f"cannot have {source} as it is to be", _MOUNT_SETATTR, _TREE, "")
        calls.call(*words, _EMPTY_PATH | _RECURSIVE, pack("=4Q", _RDONLY, 0, 0, 0), 32)
        if write:  # what is read-only for this host is so there for ever
            change = pack("=4Q", 0, _RDONLY, 0, 0)
            calls.call(*words, _EMPTY_PATH, change, 32, tolerated=[EPERM])
        place = _open(calls, target)
        calls.call(f"cannot mount {source}", _MOVE_MOUNT, _TREE, "", place, "", _BOTH_EMPTY)
        _run(calls, pid, started)
        same = os.path.samestat(os.fstat(found), os.stat(f"/proc/{pid}/root{target}"))
    finally:
        os.close(found)
    if not same:
        unbind(pid, started, target)
        raise OSError(f"{source} is hidden from it, or is another directory there")


class Part(NamedTuple):
    """Something that is mounted at a place that is covered.

    Fields:
        name: its path from there; empty: it is what covers
        source: its path in the namespace where that is done
        write: it can be changed there
    """

    name: str
    source: str
    write: bool


def cover(pid: int, started: int, target: str, parts: Sequence[Part]) -> None:
    """Have something else appear in the place of a file or directory in the mount namespace of a
    process; nobody there sees one without the other.

    pid, started: of the process; see `processes.start_time`
    target: an absolute path, without links
    parts: what covers it, and then what is left of it, which may be in the place itself

    Raises: OSError: it could not be done, or not all of it
    """
    calls = CallList()
    calls.call(_NO_ENTRY, _SETNS, FIRST_DESCRIPTOR, _namespaces(pid))
    for number, part in enumerate(parts, _TREE):
        tree = _clone(calls, part.source, _open(calls, part.source))
        calls.call(f"cannot have {part.source}", _DUP2, tree, number)
        change = (0, _RDONLY) if part.write else (_RDONLY, 0)
        words = (f"cannot have {part.source} as it is to be", _MOUNT_SETATTR, number, "")
        flags = _EMPTY_PATH | _RECURSIVE
        calls.call(*words, flags, pack("=4Q", *change, 0, 0), 32, tolerated=[EPERM])
    for number, part in enumerate(parts, _TREE):
        place = _open(calls, os.path.join(target, part.name) if part.name else target)
        calls.call(f"cannot cover {target}", _MOVE_MOUNT, number, "", place, "", _BOTH_EMPTY)
    _run(calls, pid, started)


def source_of(pid: int, target: str) -> str:
    """The path of what was bound at another one in the mount namespace of a process, as this
    process finds it; empty if it does not."""
    try:
        device, root = next(row[2:4] for row in _mounts(pid) if row[4] == target)
        for row in _mounts(os.getpid()):
            inside = os.path.relpath(root, row[3])
            found = os.path.normpath(os.path.join(row[4], inside))
            there = f"/proc/{pid}/root{target}"
            if row[2] == device and not inside.startswith("..") and _is_same(found, there):
                return found
    except (OSError, StopIteration):
        pass
    return ""


def _mounts(pid: int) -> list[list[str]]:
    """The fields of what is mounted for a process, the last first: number, parent, device, the path
    of what is mounted on that, and of where.

    Raises: OSError
    """
    with open(f"/proc/{pid}/mountinfo", "rb") as file:
        rows = [line.split(b" ") for line in file]
    return [[os.fsdecode(_OCTAL.sub(_unescaped, each)) for each in row] for row in rows[::-1]]


def _unescaped(found: re.Match[bytes]) -> bytes:
    return bytes([int(found[1], 8)])


def _is_same(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def read_only(calls: CallList, but: Iterable[str]) -> None:
    """Have a process with mounts of its own change nothing in them but these files and directories,
    whatever may be changed of a file: Landlock bounds neither modes nor owners nor times.

    It may have nothing open for writing through them.

    but: absolute paths, which are there; what is mounted below one of them stays as it is, too
    """
    trees = [
        (path, calls.call(f"cannot have {path}", _OPEN_TREE, _HERE, path, _CLONE | _RECURSIVE))
        for path in but
    ]
    attributes = pack("=4Q", _RDONLY, 0, 0, 0)
    refused = "cannot have what is mounted read-only"
    calls.call(refused, _MOUNT_SETATTR, _HERE, "/", _RECURSIVE, attributes, len(attributes))
    for path, tree in trees:
        calls.call(f"cannot mount {path}", _MOVE_MOUNT, tree, "", _HERE, path, _FROM_EMPTY)


def unbind(pid: int, started: int, target: str) -> None:
    """Take what was bound there away again; who has it open keeps it.

    Raises: OSError
    """
    calls = CallList()
    calls.call(_NO_ENTRY, _SETNS, FIRST_DESCRIPTOR, _namespaces(pid))
    calls.call(f"cannot unmount {target}", _UMOUNT, target, _DETACH | _NOFOLLOW)
    _run(calls, pid, started)


def _namespaces(pid: int) -> int:
    """Those that must be entered to mount something for a process.

    Raises: OSError
    """
    if not has_own_mounts(pid):
        raise OSError(f"process {pid} has no mounts of its own")
    own = _namespace(pid, "user") == _namespace(os.getpid(), "user")
    return _NEW_MOUNTS if own else _NEW_MOUNTS | _NEW_USER


def _clone(calls: CallList, path: str, found: int | CallResult) -> CallResult:
    return calls.call(f"cannot have {path}", _OPEN_TREE, found, "", _EMPTY_PATH | _CLONE)


def _open(calls: CallList, path: str) -> CallResult:
    how = pack("=3Q", os.O_PATH | os.O_CLOEXEC, 0, _RESOLVE_NO_SYMLINKS)
    return calls.call(f"cannot open {path}", _OPENAT2, _HERE, path, how, len(how))


def _run(calls: CallList, pid: int, started: int, *others: int) -> None:
    """Raises: OSError"""
    process = os.pidfd_open(pid)
    try:
        if not processes.alive(pid, started):  # the descriptor is of who had the pid by then
            raise ProcessLookupError(f"there is no such process: {pid}")
        run(calls, [process, *others], timeout=MOUNT_TIMEOUT)
    finally:
        os.close(process)


def _namespace(pid: int, kind: str) -> str:
    """Which one a process is in; empty: there is no such process, or it is not ours to see."""
    try:
        return os.readlink(f"/proc/{pid}/ns/{kind}")
    except OSError:
        return ""
