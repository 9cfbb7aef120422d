"""Files with holes in tar archives: GNU's format 1.0 in pax headers, as tar(1) reads and writes it.

An archive that is read may be anybody's: what it says of places and lengths is checked, and
nothing is written but what the caller opened.
"""

from __future__ import annotations

import os
import tarfile
from typing import TYPE_CHECKING, Final, NamedTuple

from umlctl.errors import HostError
from umlctl.storage.extents import extents

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

BLOCK_BYTES: Final = 512
CHUNK_BYTES: Final = 1 << 20
MAX_DISK_BYTES: Final = 8 << 40
"""The largest disk that kernels have, bytes."""
_WRONG: Final = (tarfile.TarError, ValueError, EOFError, OverflowError, KeyError, TypeError)
"""What the reader of archives says to one that is none."""


class Found(NamedTuple):
    """One file of an archive.

    Fields:
        name: as it is there: anything
        size: bytes, with holes
        parts: where there is data: first byte, and length
    """

    name: str
    size: int
    parts: tuple[tuple[int, int], ...]


def add(archive: tarfile.TarFile, descriptor: int, name: str) -> None:
    """Add an open file under a name, its holes left out.

    Raises: OSError
    """
    size = os.lseek(descriptor, 0, os.SEEK_END)
    parts = [(start, end - start) for start, end in extents(descriptor, 0, size)]
    if not parts or sum(parts[-1]) < size:
        parts.append((size, 0))
    lines = [str(len(parts)), *(str(number) for part in parts for number in part)]
    listing = "".join(f"{line}\n" for line in lines).encode()
    listing = listing.ljust(-(-len(listing) // BLOCK_BYTES) * BLOCK_BYTES, b"\0")
    info = tarfile.TarInfo(f"GNUSparseFile.0/{name}")
    info.size = len(listing) + sum(length for _, length in parts)
    info.mode = 0o600
    info.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": name,
        "GNU.sparse.realsize": str(size),
    }
    archive.addfile(info, _Reader(descriptor, listing, parts))  # type: ignore[arg-type]


class _Reader:
    """The listing of a file's parts, and these, as one file."""

    def __init__(self, descriptor: int, listing: bytes, parts: list[tuple[int, int]]) -> None:
        self._pieces = self._read(descriptor, listing, parts)
        self._rest = b""

    @staticmethod
    def _read(descriptor: int, listing: bytes, parts: list[tuple[int, int]]) -> Iterator[bytes]:
        yield listing
        for start, length in parts:
            for place in range(start, start + length, CHUNK_BYTES):
                count = min(CHUNK_BYTES, start + length - place)
                yield os.pread(descriptor, count, place).ljust(count, b"\0")

    def read(self, count: int) -> bytes:
        while len(self._rest) < count:
            piece = next(self._pieces, b"")
            if not piece:
                break
            self._rest += piece
        found, self._rest = self._rest[:count], self._rest[count:]
        return found


def read(file: BinaryIO, most: int) -> Iterator[tuple[Found, tarfile.ExFileObject]]:
    """The files of an archive, each with what reads it, before the next is asked for.

    most: how many there may be

    Raises: HostError; OSError
    """
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for count, member in enumerate(archive):
                if count >= most:
                    raise HostError(f"it has more than {most} files, and is none of ours")
                if not member.isreg():
                    raise HostError(f"{member.name!r} is no file, which none of ours has")
                reader = archive.extractfile(member)
                assert reader is not None
                yield _found(member), reader  # type: ignore[misc]
    except _WRONG as problem:
        raise HostError(f"it is no archive, or is damaged: {problem}") from None


def _found(member: tarfile.TarInfo) -> Found:
    """Raises: HostError"""
    sparse = getattr(member, "sparse", None)
    parts = tuple((start, length) for start, length in sparse or [(0, member.size)] if length)
    end = 0
    for start, length in parts:
        if start < end or length < 0 or start + length > member.size:
            raise HostError(f"{member.name!r} has parts that it cannot have")
        end = start + length
    if not 0 <= member.size <= MAX_DISK_BYTES:
        raise HostError(f"{member.name!r} has {member.size} bytes, more than any disk")
    return Found(member.name, member.size, parts)


def extract(found: Found, reader: tarfile.ExFileObject, descriptor: int) -> None:
    """Write one to an empty file, with its holes.

    Raises: HostError; OSError
    """
    os.ftruncate(descriptor, found.size)
    for start, length in found.parts:
        for place in range(start, start + length, CHUNK_BYTES):
            view = memoryview(
                contents(found, reader, place, min(CHUNK_BYTES, start + length - place))
            )
            while view:
                written = os.pwrite(descriptor, view, place)
                view, place = view[written:], place + written  # noqa: PLW2901


def contents(found: Found, reader: tarfile.ExFileObject, place: int, length: int) -> bytes:
    """A part of one.

    Raises: HostError: it is not there
    """
    try:
        reader.seek(place)
        data = reader.read(length)
    except _WRONG:
        data = b""
    if len(data) < length:
        raise HostError(f"{found.name!r} is cut")
    return data
