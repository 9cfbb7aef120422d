"""The symbols of a kernel: its vmlinux, where one is at hand.

A build leaves it in its tree; a distribution has it, or what was stripped of the kernel, in a
package of its own. Two files are of one build if they have the same build ID. Source: elf(5),
gdb(1), "Debugging Information in Separate Files".
"""

from __future__ import annotations

import os
from contextlib import suppress
from struct import Struct, error
from typing import TYPE_CHECKING, Final, NamedTuple

from umlctl.errors import HostError
from umlctl.kernels import modules, registry

if TYPE_CHECKING:
    from collections.abc import Iterator

DEBUG_DIRECTORY: Final = "/usr/lib/debug"
SYMBOLS: Final = ".symtab"
LINES: Final = ".debug_line"
_ID: Final = ".note.gnu.build-id"
_MAGIC: Final = b"\x7fELF\x02\x01"
_HEADER: Final = Struct("<40xQ10xHHH")
"""e_shoff, e_shentsize, e_shnum, e_shstrndx."""
_SECTION: Final = Struct("<I20xQQ24x")
"""sh_name, sh_offset, sh_size."""
_NOTE: Final = Struct("<III")
_MAX_SECTIONS: Final = 4096
_MAX_NAMES_BYTES: Final = 1 << 20


class Elf(NamedTuple):
    """What an ELF file has.

    Fields:
        build_id: which build it is of, in hex; empty if it does not say
        sections: their names
    """

    build_id: str
    sections: frozenset[str]


def read(path: str) -> Elf | None:
    """What an ELF file has; None: it is none, or cannot be read."""
    try:
        with open(path, "rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                return None
            return _read(file.fileno())
    except (OSError, error):
        return None


def _read(descriptor: int) -> Elf:
    """Raises: OSError, struct.error"""
    at, width, count, of_names = _HEADER.unpack(os.pread(descriptor, _HEADER.size, 0))
    rows = [
        _SECTION.unpack(os.pread(descriptor, _SECTION.size, at + width * number))
        for number in range(min(count, _MAX_SECTIONS))
    ]
    if of_names >= len(rows):
        return Elf("", frozenset())
    _, where, size = rows[of_names]
    names = os.pread(descriptor, min(size, _MAX_NAMES_BYTES), where)
    found = {
        names[name:].partition(b"\0")[0].decode("ascii", "replace"): (offset, length)
        for name, offset, length in rows
    }
    return Elf(_build_id(descriptor, *found.get(_ID, (0, 0))), frozenset(found))


def _build_id(descriptor: int, offset: int, size: int) -> str:
    """Raises: OSError, struct.error"""
    if not size:
        return ""
    note = os.pread(descriptor, min(size, _MAX_NAMES_BYTES), offset)
    of_name, length, _ = _NOTE.unpack_from(note)
    begin = _NOTE.size + (of_name + 3) // 4 * 4
    return note[begin : begin + length].hex()


def find(kernel: str, release: str, wanted: str = SYMBOLS) -> str:
    """A file with the symbols of a kernel.

    kernel: its path; release: its version; empty if it is not known
    wanted: the section that the file must have

    Raises: HostError: there is none, with what is missing
    """
    own = read(kernel)
    others = []
    for path in _places(kernel, release, own.build_id if own else ""):
        found = read(path)
        if found is None or wanted not in found.sections:
            continue
        if own is None or not own.build_id or own.build_id == found.build_id:
            return path
        others.append(path)
    has = "line numbers" if wanted == LINES else "symbols"
    if others:
        raise HostError(
            f"{others[0]} is of another build than {kernel}: build that kernel again, or start "
            "the guest with the new one"
        )
    where = f"{DEBUG_DIRECTORY}/.build-id" if own and own.build_id else DEBUG_DIRECTORY
    made = "CONFIG_DEBUG_INFO" if wanted == LINES else "its vmlinux"
    raise HostError(
        f"there are no {has} of {kernel}: neither has it any itself, nor is there a vmlinux with "
        f"them beside it, nor a file of its build in {where}; a kernel from a build tree with "
        f"{made} has them"
    )


def trees(kernel: str, release: str) -> Iterator[str]:
    """Directories where a kernel may have been built."""
    beside = os.path.dirname(os.path.realpath(kernel))
    yield beside
    origin = registry.origin_of(kernel)
    if origin:
        yield os.path.dirname(origin)
    for place in modules.places(kernel) if release else ():
        with suppress(OSError):
            yield os.path.realpath(f"{place}/{release}/build", strict=True)


def _places(kernel: str, release: str, build_id: str) -> Iterator[str]:
    yield kernel
    for tree in trees(kernel, release):
        yield f"{tree}/vmlinux"
    if build_id:
        yield f"{DEBUG_DIRECTORY}/.build-id/{build_id[:2]}/{build_id[2:]}.debug"
    yield f"{DEBUG_DIRECTORY}{os.path.realpath(kernel)}.debug"
    yield f"{DEBUG_DIRECTORY}{os.path.realpath(kernel)}"
