"""COW files: what a header says, whether it still fits its backing file, and making a new one.

A COW file holds the sectors that were written over a read-only backing file, a bitmap that says
which these are, and the backing file's name, size and time of change: the kernel refuses a COW
file whose backing file has changed, and says so in its log only, when the disk is opened.

    version 3      offset size      broken 3   version 2   offset      version 1
    magic "OOOM"        0    4             0   magic            0      0
    version             4    4             4   version          4      4
    mtime               8    4          8, 8   backing          8      8 (256 bytes)
    size               12    8            16   mtime         4104      264
    sector size        20    4            24   size          4108      268
    alignment          24    4            28   sector size   4116      276
    format 0           28    4            32
    backing            32 4096            36
    length           4128               4136                 4120      280

Numbers are big-endian, in version 1 in the order of the host that wrote it. The broken version 3
was written by 64-bit kernels until December 2005, and is known by the format, 0, where version 3
has the name. Bit n of the bitmap is of sector n, the lowest of a byte first. In version 3 bitmap
and data begin at multiples of the alignment; before, the bitmap follows the header, the data
begin at the next sector, and the bitmap's length is rounded down: the last sectors, up to seven,
have no bit, and are the backing file's. Source: arch/um/drivers/cow_user.c
"""

from __future__ import annotations

import os
import struct
from typing import Final, NamedTuple

from umlctl.errors import HostError
from umlctl.storage.new_file import new_file

MAGIC: Final = 0x4F4F4F4D
SECTOR_BYTES: Final = 512
ALIGNMENT: Final = 4096
MAX_PATH_BYTES: Final = 4096
MAX_OLDEST_PATH_BYTES: Final = 256
"""In version 1, with the zero byte at its end."""
MAX_DATA_OFFSET: Final = 1 << 31
"""Kernels count the place where the data begin in an int: that is a disk of 8 TiB."""

_V1: Final = struct.Struct("=II256sIQI")
_V2: Final = struct.Struct(">II4096sIQI")
_V3: Final = struct.Struct(">IIIQIII4096s")
_BROKEN: Final = struct.Struct(">III4xQIII4096s4x")
MAX_HEADER_BYTES: Final = _BROKEN.size
"""Of a header's fields, bytes."""


class BadCow(HostError):
    """A file that begins as a COW file and is none that a kernel would take."""


class Header(NamedTuple):
    """What a COW file says of itself.

    Fields:
        version: 1 to 3
        backing: path of the backing file, as it was when the file was made
        mtime: when the backing file had last been changed, seconds since 1970, 32 bits
        size: of the backing file, bytes
        align: what bitmap and data are aligned to in version 3, bytes
        broken: it is the version 3 of old 64-bit kernels
    """

    version: int
    backing: str
    mtime: int
    size: int
    align: int = ALIGNMENT
    broken: bool = False


class Layout(NamedTuple):
    """Where a COW file has what.

    Fields:
        bitmap, bitmap_length: bytes
        data: where sector 0 of the disk would be
    """

    bitmap: int
    bitmap_length: int
    data: int


def decode(data: bytes) -> Header | None:
    """Read a header from the first LONGEST bytes of a file; None if it is no COW file.

    Raises: BadCow
    """
    version = _version(data)
    if version is None:
        return None
    broken = version == 3 and data[32:36] == b"\0\0\0\0"
    layout = _BROKEN if broken else {1: _V1, 2: _V2, 3: _V3}.get(version)
    if layout is None:
        raise BadCow(f"its header says version {version}, and a kernel knows 1 to 3")
    if len(data) < layout.size:
        raise BadCow(f"its header ends after {len(data)} bytes")
    align = ALIGNMENT
    if version == 3:
        _, _, mtime, size, sector, align, cow_format, name = layout.unpack_from(data)
        if cow_format:
            raise BadCow(f"its header says format {cow_format}, and a kernel knows 0, a bitmap")
        if not align:
            raise BadCow("its header says an alignment of 0, which kernels divide by")
    else:
        _, _, name, mtime, size, sector = layout.unpack_from(data)
    if sector != SECTOR_BYTES:
        raise BadCow(f"its header says sectors of {sector} bytes, not {SECTOR_BYTES}")
    path = name.split(b"\0")[0]
    if not path:
        raise BadCow("its header names no backing file")
    return Header(version, os.fsdecode(path), mtime, size, align, broken)


def _version(data: bytes) -> int | None:
    """What a header says first; None if it is none. Version 1 is in its writer's byte order."""
    for order in (">", "="):
        if len(data) >= 8:
            magic, version = struct.unpack_from(f"{order}II", data)
            if magic == MAGIC:
                return int(version)
    return None


def encode(header: Header) -> bytes:
    """A header as the kernel of its version writes it.

    Raises: BadCow
    """
    path = os.fsencode(header.backing)
    most = MAX_OLDEST_PATH_BYTES if header.version == 1 else MAX_PATH_BYTES
    if len(path) >= most:
        raise BadCow(f"the backing file's path has {len(path)} bytes; {most - 1} is the most")
    mtime = header.mtime & 0xFFFFFFFF
    if header.version == 3:
        layout = _BROKEN if header.broken else _V3
        return layout.pack(MAGIC, 3, mtime, header.size, SECTOR_BYTES, header.align, 0, path)
    layout = _V1 if header.version == 1 else _V2
    return layout.pack(MAGIC, header.version, path, mtime, header.size, SECTOR_BYTES)


def layout_of(header: Header) -> Layout:
    """Where a COW file with this header has what.

    Raises: BadCow: it is larger than a kernel can have it
    """
    if header.version == 3:
        bitmap = _up((_BROKEN if header.broken else _V3).size, header.align)
        length = -(-sectors(header) // 8)
        data = _up(bitmap + length, header.align)
    else:
        bitmap = (_V1 if header.version == 1 else _V2).size
        length = (header.size + SECTOR_BYTES - 1) // (8 * SECTOR_BYTES)
        data = _up(bitmap + length, SECTOR_BYTES)
    if data >= MAX_DATA_OFFSET:
        raise BadCow(
            f"a COW file over {header.size} bytes has its data from byte {data} on, and kernels "
            f"count to {MAX_DATA_OFFSET}: the largest disk has 8 TiB"
        )
    return Layout(bitmap, length, data)


def sectors(header: Header) -> int:
    """Of the disk, with a last one that is not whole in the backing file."""
    return -(-header.size // SECTOR_BYTES)


def length(size: int) -> int:
    """The logical length of a new COW file over `size` bytes: header, bitmap, data.

    Raises: BadCow
    """
    return layout_of(Header(3, "", 0, size)).data + size


def _up(offset: int, align: int) -> int:
    return -(-offset // align) * align


def read(path: str) -> Header | None:
    """The header of a file; None if it is no COW file.

    Raises: BadCow; OSError
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        data = os.read(descriptor, MAX_HEADER_BYTES)
    finally:
        os.close(descriptor)
    try:
        return decode(data)
    except BadCow as problem:
        raise BadCow(f"{path} is a COW file that no kernel takes: {problem}") from None


def describe(backing: str) -> Header:
    """The header of a COW file over `backing` as it is now.

    Raises: OSError
    """
    descriptor = os.open(backing, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return described(descriptor, os.path.abspath(backing))
    finally:
        os.close(descriptor)


def described(descriptor: int, path: str) -> Header:
    """The same of an open backing file.

    Raises: OSError
    """
    mtime = os.fstat(descriptor).st_mtime_ns // 10**9  # as a float it would be rounded, up too
    return Header(3, path, mtime & 0xFFFFFFFF, os.lseek(descriptor, 0, os.SEEK_END))


def size_of(path: str) -> int:
    """Bytes of a file or of a block device.

    Raises: OSError
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return os.lseek(descriptor, 0, os.SEEK_END)
    finally:
        os.close(descriptor)


def mismatch(header: Header, backing: str) -> str:
    """Why a kernel would not take the COW file over this backing file; empty if it would.

    Raises: OSError
    """
    return _mismatch(header, describe(backing), backing)


def difference(header: Header, descriptor: int, path: str) -> str:
    """The same of an open backing file.

    Raises: OSError
    """
    return _mismatch(header, described(descriptor, path), path)


def _mismatch(header: Header, now: Header, backing: str) -> str:
    if now.size != header.size:
        return f"{backing} has {now.size} bytes now, and had {header.size} when it was made"
    if now.mtime != header.mtime:
        return (
            f"{backing} was changed after it was made; if its bytes are as they were, "
            f"`touch -d @{header.mtime} {backing}` says so"
        )
    return ""


def create(path: str, backing: str) -> None:
    """Make a COW file over a backing file: whole, or not at all.

    Raises: OSError, FileExistsError among them; BadCow
    """
    header = describe(backing)
    size = length(header.size)
    with new_file(path, 0o600) as descriptor:
        write(descriptor, encode(header), 0)
        os.ftruncate(descriptor, size)


def write(descriptor: int, data: bytes, place: int) -> None:
    """Write all of it: a disk that fills up takes a part.

    Raises: OSError
    """
    view = memoryview(data)
    while view:
        count = os.pwrite(descriptor, view, place)
        view, place = view[count:], place + count
