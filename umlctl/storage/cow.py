"""COW files: what a header says, whether it still fits its backing file, and making a new one.

A COW file holds the sectors that were written over a read-only backing file, a bitmap that says
which these are, and the backing file's name, size and time of change: the kernel refuses a COW
file whose backing file has changed, and says so in its log only, when the disk is opened.

    version 3      offset size      version 2   offset      version 1
    magic "OOOM"        0    4      magic            0      0
    version             4    4      version          4      4
    mtime               8    4      backing          8      8 (256 bytes)
    size               12    8      mtime         4104      264
    sector size        20    4      size          4108      268
    alignment          24    4      sector size   4116      276
    format 0           28    4
    backing            32 4096

Numbers are big-endian, in version 1 in the order of the host that wrote it. Source:
arch/um/drivers/cow_user.c
"""

from __future__ import annotations

import os
import struct
from typing import Final, NamedTuple

from umlctl.errors import HostError

MAGIC: Final = 0x4F4F4F4D
SECTOR: Final = 512
ALIGNMENT: Final = 4096
PATH_MAX: Final = 4096
LONGEST: Final = 32 + PATH_MAX
"""Of a header's fields, bytes."""
V3_LENGTH: Final = 4128

_V1: Final = struct.Struct("=II256sIQI")
_V2: Final = struct.Struct(">II4096sIQI")
_V3: Final = struct.Struct(">IIIQIII4096s")


class BadCow(HostError):
    """A file that begins as a COW file and is none that a kernel would take."""


class Header(NamedTuple):
    """What a COW file says of itself.

    Fields:
        version: 1 to 3
        backing: path of the backing file, as it was when the file was made
        mtime: when the backing file had last been changed, seconds since 1970, 32 bits
        size: of the backing file, bytes
    """

    version: int
    backing: str
    mtime: int
    size: int


def decode(data: bytes) -> Header | None:
    """Read a header from the first LONGEST bytes of a file; None if it is no COW file.

    Raises: BadCow
    """
    version = _version(data)
    if version is None:
        return None
    layout = {1: _V1, 2: _V2, 3: _V3}.get(version)
    if layout is None:
        raise BadCow(f"its header says version {version}, and a kernel knows 1 to 3")
    if len(data) < layout.size:
        raise BadCow(f"its header ends after {len(data)} bytes")
    if version == 3:
        _, _, mtime, size, sector, align, cow_format, name = layout.unpack_from(data)
        if data[32:36] == b"\0\0\0\0":
            raise BadCow("its header was written by a broken 64-bit kernel")
        if cow_format:
            raise BadCow(f"its header says format {cow_format}, and a kernel knows 0, a bitmap")
        if not align:
            raise BadCow("its header says an alignment of 0, which kernels divide by")
    else:
        _, _, name, mtime, size, sector = layout.unpack_from(data)
    if sector != SECTOR:
        raise BadCow(f"its header says sectors of {sector} bytes, not {SECTOR}")
    path = name.split(b"\0")[0]
    if not path:
        raise BadCow("its header names no backing file")
    return Header(version, os.fsdecode(path), mtime, size)


def _version(data: bytes) -> int | None:
    """What a header says first; None if it is none. Version 1 is in its writer's byte order."""
    for order in (">", "="):
        if len(data) >= 8:
            magic, version = struct.unpack_from(f"{order}II", data)
            if magic == MAGIC:
                return int(version)
    return None


def encode(header: Header) -> bytes:
    """A version 3 header, as the kernel writes it.

    Raises: BadCow
    """
    path = os.fsencode(header.backing)
    if len(path) >= PATH_MAX:
        raise BadCow(f"the backing file's path has {len(path)} bytes; {PATH_MAX - 1} is the most")
    return _V3.pack(MAGIC, 3, header.mtime & 0xFFFFFFFF, header.size, SECTOR, ALIGNMENT, 0, path)


def length(size: int) -> int:
    """The logical length of a new COW file over `size` bytes: header, bitmap, data."""
    sectors = -(-size // SECTOR)
    bitmap = _up(V3_LENGTH)
    return _up(bitmap + -(-sectors // 8)) + size


def _up(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT


def read(path: str) -> Header | None:
    """The header of a file; None if it is no COW file.

    Raises: BadCow; OSError
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        data = os.read(descriptor, LONGEST)
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
    status = os.stat(backing)
    mtime = status.st_mtime_ns // 10**9  # as a float it would be rounded, up too
    return Header(3, os.path.abspath(backing), mtime & 0xFFFFFFFF, size_of(backing))


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
    now = describe(backing)
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
    beside = f"{path}~{os.getpid()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(beside, flags, 0o600)
    try:
        try:
            view = memoryview(encode(header))
            while view:  # a disk that fills up takes a part
                view = view[os.write(descriptor, view) :]
            os.ftruncate(descriptor, length(header.size))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.link(beside, path)  # unlike a rename it never replaces what is there
    finally:
        os.unlink(beside)
