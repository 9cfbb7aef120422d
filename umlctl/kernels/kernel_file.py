"""Whether a file can be a UML kernel, seen without running anything of it.

A file that was named as a kernel by mistake, such as a script that was meant for `--init`, would
run as a program of this host, with all that its caller may do.
"""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

_ELF: Final = b"\x7fELF"
_HEAD_BYTES: Final = 64
_CLASS_64: Final = 2
_LITTLE: Final = 1
_EXECUTABLES: Final = (2, 3)
"""ET_EXEC and ET_DYN."""
_MACHINES: Final = {3: "i386", 62: "x86_64", 183: "aarch64", 243: "riscv64"}
"""Source: elf(5), e_machine."""
_LOADED: Final = 1
"""PT_LOAD."""
HELP_TEXTS: Final = (b"User Mode Linux v", b"uml_dir=")
"""Texts of the help that every UML kernel has in it. Source: arch/um/kernel/um_arch.c, umid.c"""


def flaw(path: str) -> str:
    """Why a file cannot be executed as a UML kernel; empty if it looks like one."""
    try:
        with open(path, "rb", opener=_open) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                return "it is not a file"
            if not os.access(path, os.X_OK):
                return f"it is not executable; is `chmod +x {path}` missing?"
            return _flaw_of(file.fileno(), found.st_size)
    except FileNotFoundError:
        return "there is no such file"
    except OSError as problem:
        return f"it cannot be read: {problem.strerror}"


def _open(path: str, flags: int) -> int:
    """Open a file without waiting for the other end of a FIFO."""
    return os.open(path, flags | os.O_NONBLOCK)


def _flaw_of(descriptor: int, size: int) -> str:
    head = os.pread(descriptor, _HEAD_BYTES, 0)
    if not head:
        return "it is empty, as while it is being built"
    if head.startswith(b"#!"):
        return (
            "it is a script, and a script is not run in place of a kernel; name the kernel that it "
            "starts, whose arguments follow `--`; a program for the guest to run goes to --init"
        )
    if not head.startswith(_ELF):
        return "it is no program"
    if len(head) < _HEAD_BYTES or (
        _runs_here(head) and any(n > size for n in _ends(descriptor, head))
    ):
        return "it is cut short, as while it is being built"
    if not _runs_here(head):
        return f"it is no program for this machine, {os.uname().machine}"
    return "" if _has_marks(descriptor, size) else "it is another program"


def _runs_here(head: bytes) -> bool:
    own = os.uname().machine
    machine = _MACHINES.get(_number(head, 18, 2))
    return (
        head[5] == _LITTLE
        and _number(head, 16, 2) in _EXECUTABLES
        and (machine == own or (machine == "i386" and own == "x86_64"))
    )


def _ends(descriptor: int, head: bytes) -> Iterator[int]:
    """Offsets that the file must reach, bytes: the ends of its tables, and of each piece that is
    loaded."""
    if head[4] == _CLASS_64:
        table, sections = _number(head, 32, 8), _number(head, 40, 8)
        entry, count, section, of_sections = (_number(head, at, 2) for at in (54, 56, 58, 60))
        where, filed, width = 8, 32, 8
    else:
        table, sections = _number(head, 28, 4), _number(head, 32, 4)
        entry, count, section, of_sections = (_number(head, at, 2) for at in (42, 44, 46, 48))
        where, filed, width = 4, 16, 4
    yield table + entry * count
    yield sections + section * of_sections
    for number in range(count):
        row = os.pread(descriptor, entry, table + number * entry)
        if _number(row, 0, 4) == _LOADED:
            yield _number(row, where, width) + _number(row, filed, width)


def _number(data: bytes, at: int, width: int) -> int:
    return int.from_bytes(data[at : at + width], "little")


def _has_marks(descriptor: int, size: int) -> bool:
    import mmap  # for those alone whose kernel is not known yet

    with mmap.mmap(descriptor, size, prot=mmap.PROT_READ) as image:
        return all(image.find(mark) >= 0 for mark in HELP_TEXTS)
