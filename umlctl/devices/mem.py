"""Memory: `mem=-64M` takes pages from a guest, `mem=+64M` gives back what was taken.

A guest never gets more than it booted with, and the kernel stops without an error when there is
nothing left to take or to give: only /proc/meminfo tells. Its query, `config mem`, answers with
an address. Source: mem_config in arch/um/drivers/mconsole_kern.c
"""

from __future__ import annotations

import re
from typing import Final

from umlctl.errors import UsageError

PAGE_BYTES: Final = 4096
MAX_CHANGE_BYTES: Final = 1 << 47
"""The largest change, bytes: the address space of a process."""

_CHANGE: Final = re.compile(r"mem=([+-])([1-9][0-9]{0,19})([kKmMgG]?)")
_UNITS: Final = {"": 0, "k": 10, "m": 20, "g": 30}


class Mem:
    """One change of a guest's memory.

    Fields:
        change: bytes; negative: taken from the guest
    """

    __slots__ = ("change",)

    name: Final = "mem"

    def __init__(self, change: int) -> None:
        self.change = change

    def __str__(self) -> str:
        size = abs(self.change)
        bits = next(bits for bits in (30, 20, 10, 0) if not size % (1 << bits))
        unit = {30: "G", 20: "M", 10: "K", 0: ""}[bits]
        return f"mem={'-' if self.change < 0 else '+'}{size >> bits}{unit}"

    def __repr__(self) -> str:
        return f"Mem({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mem):
            return NotImplemented
        return self.change == other.change

    def __hash__(self) -> int:
        return hash(self.change)


def parse(text: str) -> Mem:
    """Read `mem=+SIZE` or `mem=-SIZE`; k, M and G are of 1024.

    Raises: UsageError
    """
    found = _CHANGE.fullmatch(text)
    if found is None:
        raise UsageError(
            "memory is changed by mem=+SIZE or mem=-SIZE, with k, M or G and no leading zeros, "
            f"such as mem=-64M, not by {text!r}"
        )
    size = int(found[2]) << _UNITS[found[3].lower()]
    if size % PAGE_BYTES or size > MAX_CHANGE_BYTES:
        raise UsageError(
            f"memory is changed by whole pages of {PAGE_BYTES} bytes, {MAX_CHANGE_BYTES >> 30}G at "
            f"most, not by {text!r}"
        )
    return Mem(-size if found[1] == "-" else size)
