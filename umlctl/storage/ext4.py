"""ext4 file systems in files, made and changed by the programs of e2fsprogs, as an ordinary user.

mke2fs copies a tree with the owners and times that it has here. debugfs then sets what each file
is to have there; and the same input makes the same bytes.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import uuid
from typing import TYPE_CHECKING, Final

from umlctl.errors import HostError
from umlctl.host import dependent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from umlctl.storage.image_tree import Node

PROGRAM_TIMEOUT: Final = 600.0
"""How long one of the programs may take, seconds."""
MORE_PLACES: Final = ":/usr/sbin:/sbin"
"""Where they are besides PATH."""
_SPACE: Final = uuid.UUID("6f1e1b2e-6c43-4a55-9b6e-3f1f6a0a1111")
"""Names of file systems are made unique in it."""
_STAT: Final = re.compile(
    r"Type: regular.*?Mode:\s+(\d+).*?User:\s+(\d+)\s+Group:\s+(\d+)", re.DOTALL
)
"""What debugfs says of a file: its mode, user and group."""
_CHECKED: Final = (0, 1)
"""How e2fsck ends where all is well, or is now."""


class NoProgram(HostError):
    """A program of e2fsprogs is not there, or cannot be executed."""


def make(descriptor: int, tree: str, nodes: Iterable[Node], label: str, epoch: int) -> None:
    """Make a file system of a tree in an open file, which has the size that it is to have.

    nodes: what is in the tree, with the owners and times that it is to have
    label: of the file system
    epoch: when it is said to be made, seconds since 1970

    Raises: HostError
    """
    number = str(uuid.uuid5(_SPACE, label))
    extended = f"hash_seed={number},root_owner=0:0"
    words = ["-q", "-F", "-t", "ext4", "-U", number, "-L", label[:16], "-E", extended, "-d", tree]
    _run("mke2fs", [*words, _place(descriptor)], descriptor, epoch)
    with tempfile.NamedTemporaryFile("w", prefix="umlctl-") as file:
        file.writelines(_commands(nodes, epoch))
        file.flush()
        said = _run("debugfs", ["-w", "-f", file.name, _place(descriptor)], descriptor, epoch)
    _check_said(said)
    check(descriptor)


def _commands(nodes: Iterable[Node], epoch: int) -> Iterable[str]:
    for node in nodes:
        facts: dict[str, object] = {"mode": f"0{node.mode:o}", "uid": node.uid, "gid": node.gid}
        facts |= dict.fromkeys(("atime", "ctime", "mtime"), f"@{node.mtime}")
        facts |= {"crtime": f"@{epoch}"}
        facts |= {f"{name}_extra": 0 for name in ("atime", "ctime", "mtime", "crtime")}
        for name, value in facts.items():
            yield f'set_inode_field "{node.path}" {name} {value}\n'


def check(descriptor: int) -> None:
    """Refuse a file system with anything wrong.

    Raises: HostError
    """
    _run("e2fsck", ["-fn", _place(descriptor)], descriptor)


def resize(descriptor: int, size: int) -> None:
    """Give the file system in an open file another size, and the file with it.

    size: bytes, a multiple of 4096

    Raises: HostError: it cannot be checked, or what is in it has no room
    """
    place = _place(descriptor)
    _run("e2fsck", ["-fp", place], descriptor, good=_CHECKED)
    now = os.lseek(descriptor, 0, os.SEEK_END)
    if size > now:
        os.ftruncate(descriptor, size)
    _run("resize2fs", [place, f"{size >> 10}K"], descriptor)
    os.ftruncate(descriptor, size)
    check(descriptor)


def replace(descriptor: int, inside: str, contents: bytes) -> None:
    """Have a file of the file system in an open file hold something else, with its owner and mode.

    Raises: HostError: among others, it is not there
    """
    place = _place(descriptor)
    mode, uid, gid = _status(_run("debugfs", ["-R", f'stat "{inside}"', place], descriptor), inside)
    with tempfile.TemporaryDirectory(prefix="umlctl-") as beside:
        with open(f"{beside}/contents", "xb") as file:
            file.write(contents)
        with open(f"{beside}/commands", "x") as commands:
            commands.write(f'rm "{inside}"\nwrite {beside}/contents "{inside}"\n')
            facts = (("mode", f"010{mode:04o}"), ("uid", uid), ("gid", gid))
            lines = (f'set_inode_field "{inside}" {name} {value}\n' for name, value in facts)
            commands.writelines(lines)
        said = _run("debugfs", ["-w", "-f", f"{beside}/commands", place], descriptor)
    _check_said(said)
    check(descriptor)


def status(path: str, inside: str) -> tuple[int, int, int]:
    """The mode, user and group of a file of the file system in an image.

    Raises: HostError: among others, it is not there
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        words = ["-R", f'stat "{inside}"', _place(descriptor)]
        return _status(_run("debugfs", words, descriptor), inside)
    finally:
        os.close(descriptor)


def _status(said: str, inside: str) -> tuple[int, int, int]:
    """Raises: HostError"""
    found = _STAT.search(said)
    if found is None:
        raise HostError(f"there is no file {inside} in it")
    return int(found[1], 8), int(found[2]), int(found[3])


def _check_said(said: str) -> None:
    """debugfs ends with 0 whatever it could not do.

    Raises: HostError
    """
    good = ("debugfs", "Allocated inode:")
    if wrong := [line for line in said.splitlines() if line and not line.startswith(good)]:
        raise HostError(f"debugfs: {wrong[0]}")


def usage(path: str) -> tuple[int, int] | None:
    """What the files of the file system in an image take, and what is free there, bytes; None as
    long as it is mounted, or was not unmounted: the kernel writes down another number then.

    Raises: HostError
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        said = _run("dumpe2fs", ["-h", _place(descriptor)], descriptor)
    finally:
        os.close(descriptor)
    if re.search(r"^Filesystem features:.*\bneeds_recovery\b", said, re.MULTILINE):
        return None
    names = ("Block count", "Free blocks", "Block size")
    found = [re.search(rf"^{name}:\s+(\d+)$", said, re.MULTILINE) for name in names]
    blocks, free, size = (int(each[1]) if each else 0 for each in found)
    return (blocks - free) * size, free * size


def contents(path: str, inside: str) -> bytes | None:
    """A file of the file system in an image; None if it has none.

    Raises: HostError
    """
    words = [find_program("debugfs"), "-R", f'cat "{inside}"', path]
    done = subprocess.run(words, capture_output=True, timeout=PROGRAM_TIMEOUT, check=False)
    missing = b"File not found" in done.stderr or b"not found by ext2_lookup" in done.stderr
    return None if missing else done.stdout


def names(path: str, inside: str) -> list[str]:
    """What is in a directory of the file system in an image; nothing of what is none.

    Raises: HostError
    """
    words = [find_program("debugfs"), "-R", f'ls -p "{inside}"', path]
    done = subprocess.run(words, capture_output=True, timeout=PROGRAM_TIMEOUT, check=False)
    rows = [line.split("/") for line in done.stdout.decode("utf-8", "replace").splitlines()]
    return sorted(row[5] for row in rows if len(row) > 5 and row[5] not in (".", ".."))


def exists(path: str, inside: str) -> bool:
    """Whether an image has a file, or a link, of a name.

    Raises: HostError
    """
    words = [find_program("debugfs"), "-R", f'stat "{inside}"', path]
    done = subprocess.run(words, capture_output=True, timeout=PROGRAM_TIMEOUT, check=False)
    return done.stdout.startswith(b"Inode:")


def _place(descriptor: int) -> str:
    return f"/proc/self/fd/{descriptor}"


def find_program(name: str) -> str:
    """The path of a program of e2fsprogs; a user's PATH may lack sbin.

    Raises: NoProgram
    """
    places = os.environ.get("PATH", "") + MORE_PLACES
    path = shutil.which(name, path=places)
    if path is not None:
        return path
    there = shutil.which(name, os.F_OK, places)
    if there is None:
        raise NoProgram(f"there is no {name}, which is in e2fsprogs: apt install e2fsprogs")
    noexec = os.statvfs(there).f_flag & os.ST_NOEXEC
    why = (
        "it is on what is mounted noexec" if noexec else "its mode forbids it: `chmod +x` mends it"
    )
    raise NoProgram(f"{there} cannot be executed: {why}")


def _run(
    name: str, words: list[str], descriptor: int, epoch: int = 0, *, good: tuple[int, ...] = (0,)
) -> str:
    """Raises: HostError"""
    environment = {**os.environ, "LC_ALL": "C"}
    if epoch:
        environment |= {"E2FSPROGS_FAKE_TIME": str(epoch), "SOURCE_DATE_EPOCH": str(epoch)}
    program = find_program(name)
    try:
        done = dependent.run(
            [program, *words],
            env=environment,
            pass_fds=(descriptor,),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PROGRAM_TIMEOUT,
        )
    except OSError as problem:
        raise NoProgram(f"{program} cannot be executed: {problem.strerror}") from problem
    said: str = done.stdout.decode("utf-8", "backslashreplace").strip()
    if done.returncode not in good:
        last = said.splitlines()[-1] if said else f"it ended with {done.returncode}"
        raise HostError(f"{name}: {last.replace(_place(descriptor), 'the image')}")
    return said
