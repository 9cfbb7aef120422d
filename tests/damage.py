"""What can become of a file on disk: cut at any byte, a bit turned over, or NULs for its end, as
after a power cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def damaged(data: bytes) -> Iterator[bytes]:
    """A file's content in every such way, none of which is the content itself."""
    for place in range(len(data)):
        yield data[:place]
        yield data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :]
    for place in range(0, len(data), 16):
        yield data[:place].ljust(len(data), b"\0")
    yield data + b"\0" * 64
