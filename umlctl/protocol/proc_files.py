"""Files of the guest, as `proc 1/root/PATH` reads them; pure.

The kernel reads a file in blocks and sends each as a C string: what follows a zero byte in a block
is left out, and nothing says so. But a block that is not the last one is full, and how the answer
was cut into replies shows the blocks. Source: mconsole_proc of arch/um/drivers/mconsole_kern.c
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from socketproto.wire import MAX_TEXT_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

BLOCK_BYTES: Final = 4095
"""Bytes that the kernel reads at a time: a page, less the NUL."""
_CONTROL: Final = re.compile(rb"[\x00-\x06\x0e-\x1a\x1c-\x1f\x7f]")
"""Bytes that no text has."""
_OCTAL: Final = re.compile(r"\\([0-7]{3})")


def is_cut(sizes: Sequence[int], replies: int) -> bool:
    """Something is missing in the answer, other than at the end of its last block.

    sizes: of the replies that carried something; the first is the newline that begins each file
    replies: all of them; the last carries nothing, and one before it only where a block was empty
    """
    if replies > len(sizes) + 1:
        return True
    filled = 0
    over = False
    for size in sizes[1:]:
        room = min(MAX_TEXT_BYTES, BLOCK_BYTES - filled)
        if over or size > room:
            return True
        over = size < room  # which the last block alone may be
        filled = (filled + size) % BLOCK_BYTES
    return False


def may_be_cut(data: bytes) -> bool:
    """It cannot be told whether the end of the last block is missing: only a text that ends its
    last line, and what is empty, are surely whole."""
    return bool(data) and (not data.endswith(b"\n") or _CONTROL.search(data) is not None)


def unescaped(word: str) -> str:
    """A field of /proc/mounts: a blank in it is \\040."""
    return _OCTAL.sub(lambda found: chr(int(found[1], 8)), word)
