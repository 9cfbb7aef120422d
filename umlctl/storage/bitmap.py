"""The bitmap of a COW file: which sectors it has. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_PIECE: Final = re.compile(rb"\x00+|\xff+|[^\x00\xff]")


def runs(chunks: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, int]]:
    """Each longest run of bits that are set: the first, and the one behind the last.

    chunks: pieces of the bitmap in order, each behind the number of its first bit, a multiple of 8;
        what lies between them is not set
    """
    begin = end = -1
    for first, data in chunks:
        for piece in _PIECE.finditer(data):
            value = data[piece.start()]
            if not value:
                continue
            base = first + 8 * piece.start()
            of_piece = _OF_BYTE[value] if value != 0xFF else ((0, 8 * len(piece[0])),)
            for start, stop in of_piece:
                if base + start == end:
                    end = base + stop
                    continue
                if end > begin:
                    yield begin, end
                begin, end = base + start, base + stop
    if end > begin:
        yield begin, end


def _of_byte(value: int) -> tuple[tuple[int, int], ...]:
    text = f"{value:08b}"[::-1]
    return tuple(match.span() for match in re.finditer("1+", text))


_OF_BYTE: Final = tuple(_of_byte(value) for value in range(256))
"""The runs of each value that a byte can have."""


def count(data: bytes) -> int:
    """How many bits are set."""
    return int.from_bytes(data, "little").bit_count()


def last(data: bytes) -> int:
    """The number of the last bit that is set; -1: none is."""
    data = data.rstrip(b"\0")
    return 8 * len(data) - 9 + data[-1].bit_length() if data else -1


def joined(runs: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Runs in order of their begin, those that touch or overlap made one."""
    begin = end = -1
    for start, stop in runs:
        if start <= end:
            end = max(end, stop)
            continue
        if end > begin:
            yield begin, end
        begin, end = start, stop
    if end > begin:
        yield begin, end
