"""What an image holds, as its first bytes say.

A guest sees a file as a disk, byte for byte. What is no disk byte for byte is lost when it writes:
an image of another program's format, a compressed file, an archive. Such a file looks like an
empty disk to the guest, and is asked for as one by mistake only.

Three reads, of a page and of a few bytes each; a fourth where there is a partition table.
"""

from __future__ import annotations

import os
import stat
import struct
from typing import Final, NamedTuple

FORMAT: Final = "format"
"""A disk in the format of another program."""
PACKED: Final = "packed"
"""A compressed file, or an archive."""
MEDIUM: Final = "medium"
"""A file system that is never written to."""
PARTITIONED: Final = "partitioned"
ENCRYPTED: Final = "encrypted"
FILE_SYSTEM: Final = "file system"

_FIRST: Final = (
    (b"QFI\xfb", "a qcow2 image", FORMAT),
    (b"KDMV", "a VMDK image", FORMAT),
    (b"COWD", "a VMDK image", FORMAT),
    (b"# Disk DescriptorFile", "the description of a VMDK image", FORMAT),
    (b"vhdxfile", "a VHDX image", FORMAT),
    (b"conectix", "a VHD image", FORMAT),
    (b"QED\0", "a QED image", FORMAT),
    (b"WithoutFreeSpace", "a Parallels image", FORMAT),
    (b"WithouFreSpacExt", "a Parallels image", FORMAT),
    (b"\x1f\x8b\x08", "compressed with gzip", PACKED),
    (b"\xfd7zXZ\0", "compressed with xz", PACKED),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", PACKED),
    (b"\x04\x22\x4d\x18", "compressed with lz4", PACKED),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", PACKED),
    (b"PK\3\4", "a zip archive", PACKED),
    (b"070701", "a cpio archive", PACKED),
    (b"LUKS\xba\xbe", "encrypted with LUKS", ENCRYPTED),
    (b"XFSB", "an XFS file system", FILE_SYSTEM),
)
"""What a file begins with."""
_CONVERT: Final = "qemu-img convert -O raw"
_UNPACK: Final = {
    "compressed with gzip": "gunzip -k",
    "compressed with xz": "unxz -k",
    "compressed with zstd": "unzstd",
    "compressed with bzip2": "bunzip2 -k",
    "compressed with lz4": "unlz4",
    "a 7z archive": "7z x",
    "a zip archive": "unzip",
}
_SECTOR_BYTES: Final = 512
_PAGE_BYTES: Final = 4096
_ISO: Final = 16 * 2048 + 1
_BTRFS: Final = 65536 + 64
_MAX_GPT_ENTRIES: Final = 128
"""Entries of a partition table that are looked at; the usual number."""
_MAX_PARTITIONS: Final = 15
"""A guest has so many partitions of a disk. Source: UBD_SHIFT in arch/um/drivers/ubd_kern.c"""
_LINUX: Final = 0x83
_PROTECTIVE: Final = 0xEE
_FAT: Final = (b"FAT12", b"FAT16", b"FAT32", b"NTFS ", b"EXFAT")


class Image(NamedTuple):
    """What was found.

    Fields:
        what: in words, to follow "is"
        kind: FORMAT, PACKED and so on
        root: of PARTITIONED, the number of the partition that is most likely a root
    """

    what: str
    kind: str
    root: int = 0

    @property
    def is_lost_by_writing(self) -> bool:
        """No guest writes to it as it stands and means it."""
        return self.kind in (FORMAT, PACKED, MEDIUM)

    def remedy(self, path: str) -> str:
        """The command that makes a disk of it; empty if there is none."""
        from shlex import quote

        if self.kind == FORMAT:
            stem, suffix = os.path.splitext(path)
            raw = f"{path if suffix == '.raw' else stem}.raw"
            return f"{_CONVERT} {quote(path)} {quote(raw)}"
        return f"{_UNPACK[self.what]} {quote(path)}" if self.what in _UNPACK else ""


def read(path: str) -> Image | None:
    """`look` by a path; None also of what is neither file nor block device.

    Raises: OSError
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        mode = os.fstat(descriptor).st_mode
        return look(descriptor) if stat.S_ISREG(mode) or stat.S_ISBLK(mode) else None
    finally:
        os.close(descriptor)


def look(descriptor: int) -> Image | None:
    """What an open file or block device holds; None: nothing that is known here.

    Raises: OSError
    """
    head = os.pread(descriptor, _PAGE_BYTES, 0)
    if _is_ext(head):
        return Image("an ext file system", FILE_SYSTEM)
    for begin, what, kind in _FIRST:
        if head.startswith(begin):
            return Image(what, kind)
    if head[:3] == b"BZh" and head[4:10] == b"1AY&SY":
        return Image("compressed with bzip2", PACKED)
    if head[64:68] == b"\x7f\x10\xda\xbe":
        return Image("a VDI image", FORMAT)
    if head[257:262] == b"ustar":
        return Image("a tar archive", PACKED)
    if os.pread(descriptor, 5, _ISO) == b"CD001":
        return Image("an ISO 9660 file system", MEDIUM)
    if os.pread(descriptor, 8, _BTRFS) == b"_BHRfS_M":
        return Image("a btrfs file system", FILE_SYSTEM)
    return _partitions(descriptor, head)


def _is_ext(head: bytes) -> bool:
    """It has the superblock of ext2, 3 or 4, and that can be one: two bytes alone are too few."""
    block = head[1024:]
    if len(block) < 1024 or block[56:58] != b"\x53\xef":
        return False
    inodes, blocks = struct.unpack_from("<II", block)
    (size,) = struct.unpack_from("<I", block, 24)
    (revision,) = struct.unpack_from("<I", block, 76)
    return bool(inodes and blocks) and size <= 6 and revision <= 1


def _partitions(descriptor: int, head: bytes) -> Image | None:
    """A partition table, of which each entry is sound."""
    if len(head) < _SECTOR_BYTES or head[510:512] != b"\x55\xaa":
        return None
    if any(head[place : place + 5] in _FAT for place in (3, 54, 82)):
        return Image("a FAT or NTFS file system", FILE_SYSTEM)
    entries = [head[446 + 16 * index : 462 + 16 * index] for index in range(4)]
    if any(entry[0] not in (0, 0x80) for entry in entries):
        return None
    found = {}
    for number, entry in enumerate(entries, 1):
        kind = entry[4]
        start, length = struct.unpack_from("<II", entry, 8)
        if kind and not (start and length):
            return None
        if kind:
            found[number] = (kind == _LINUX, length)
    if any(entry[4] == _PROTECTIVE for entry in entries):
        found = _gpt(descriptor, head) or found
    if not found:
        return None
    root = max(found, key=lambda number: found[number])
    return Image("partitioned", PARTITIONED, root if root <= _MAX_PARTITIONS else 0)


def _gpt(descriptor: int, head: bytes) -> dict[int, tuple[bool, int]]:
    """Of each partition: whether it says to be of Linux, and its length, sectors."""
    if head[_SECTOR_BYTES : _SECTOR_BYTES + 8] != b"EFI PART":
        return {}
    place, count, size = struct.unpack_from("<QII", head, _SECTOR_BYTES + 72)
    if not 128 <= size <= _PAGE_BYTES or place >= 1 << 40:
        return {}
    count = min(count, _MAX_GPT_ENTRIES)
    table = os.pread(descriptor, count * size, place * _SECTOR_BYTES)
    found = {}
    for index in range(len(table) // size):
        kind = table[index * size : index * size + 16]
        first, last = struct.unpack_from("<QQ", table, index * size + 32)
        if any(kind) and 0 < first <= last:
            found[index + 1] = (kind in _GPT_LINUX, last - first + 1)
    return found


def _guid(text: str) -> bytes:
    """As a partition table has it: the first three parts are little-endian."""
    one, two, three, *rest = text.split("-")
    return b"".join(bytes.fromhex(part)[::-1] for part in (one, two, three)) + bytes.fromhex(
        "".join(rest)
    )


_GPT_LINUX: Final = (
    _guid("0fc63daf-8483-4772-8e79-3d69d8477de4"),  # data
    _guid("4f68bce3-e8cd-4db1-96e7-fbcaf984b709"),  # root, x86-64
    _guid("44479540-f297-41b2-9af7-d131d5f0458a"),  # root, x86
)
