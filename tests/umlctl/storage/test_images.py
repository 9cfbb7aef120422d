from __future__ import annotations

import os
import shutil
import struct
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.storage import cow, images
from umlctl.storage.images import Image

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20
LINUX = bytes.fromhex("af3dc60f838472478e793d69d8477de4")
EFI = bytes.fromhex("28732ac11ff8d211ba4b00a0c93ec93b")


def write(path: Path, data: bytes, at: int = 0, size: int = MIB) -> str:
    with open(path, "wb") as file:
        file.truncate(size)
        file.seek(at)
        file.write(data)
    return str(path)


def mbr(*entries: tuple[int, int, int]) -> bytes:
    """A partition table: type, first sector and length of each."""
    table = b"".join(struct.pack("<4xB3xII", *entry) for entry in entries).ljust(64, b"\0")
    return bytes(446) + table + b"\x55\xaa"


def gpt(*entries: tuple[bytes, int, int], size: int = 128) -> bytes:
    """The same with its protection: type, first and last sector of each."""
    header = b"EFI PART".ljust(72, b"\0") + struct.pack("<QII", 2, len(entries), size)
    table = b"".join(struct.pack("<16s16xQQ", *entry).ljust(size, b"\0") for entry in entries)
    return mbr((0xEE, 1, 2047)) + header.ljust(512, b"\0") + table


@pytest.mark.parametrize(
    ("data", "at", "what", "lost"),
    [
        (b"QFI\xfb\0\0\0\3", 0, "a qcow2 image", True),
        (b"KDMV", 0, "a VMDK image", True),
        (b"# Disk DescriptorFile\n", 0, "the description of a VMDK image", True),
        (b"<<< Oracle VM VirtualBox Disk Image >>>\n".ljust(64) + b"\x7f\x10\xda\xbe", 0,
         "a VDI image", True),
        (b"vhdxfile", 0, "a VHDX image", True),
        (b"conectix", 0, "a VHD image", True),
        (b"QED\0", 0, "a QED image", True),
        (b"PK\3\4", 0, "a zip archive", True),
        (b"BZh91AY&SY", 0, "compressed with bzip2", True),
        (b"\x01CD001\x01", 32768, "an ISO 9660 file system", True),
        (b"LUKS\xba\xbe\0\1", 0, "encrypted with LUKS", False),
        (b"XFSB", 0, "an XFS file system", False),
        (b"_BHRfS_M", 65600, "a btrfs file system", False),
    ],
)  # fmt: skip
def test_what_a_file_holds_is_told_by_its_first_bytes(
    tmp_path: Path, data: bytes, at: int, what: str, lost: bool
) -> None:
    found = images.read(write(tmp_path / "x", data, at))
    assert found is not None
    assert (found.what, found.is_lost_by_writing) == (what, lost)


@pytest.mark.parametrize(
    ("command", "what"),
    [
        ("gzip -k a", "compressed with gzip"),
        ("xz -k a", "compressed with xz"),
        ("bzip2 -k a", "compressed with bzip2"),
        ("zstd -q a", "compressed with zstd"),
        ("tar cf a.tar a", "a tar archive"),
        ("zip -q a.zip a", "a zip archive"),
    ],
)
def test_what_packs_files_is_known(tmp_path: Path, command: str, what: str) -> None:
    """Of those that this host has; zstd and zip need not be there."""
    if shutil.which(command.split(maxsplit=1)[0]) is None:
        return
    write(tmp_path / "a", os.urandom(4096))
    subprocess.run(command.split(), cwd=tmp_path, check=True, timeout=60)
    (path,) = (each for each in tmp_path.iterdir() if each.name != "a")
    found = images.read(str(path))
    assert found is not None
    assert (found.what, found.is_lost_by_writing) == (what, True)


def test_a_file_system_is_a_disk_whatever_its_boot_sector_holds(tmp_path: Path) -> None:
    path = write(tmp_path / "a.img", b"", size=4 * MIB)
    subprocess.run(["mkfs.ext4", "-q", path], check=True, timeout=60)
    known = Image("an ext file system", images.FILE_SYSTEM)
    assert images.read(path) == known
    with open(path, "r+b") as file:
        file.write(b"QFI\xfb" + mbr((0x83, 8, 16))[4:])
    assert images.read(path) == known


def test_two_bytes_alone_make_no_file_system(tmp_path: Path) -> None:
    assert images.read(write(tmp_path / "a", b"\x53\xef", 1080)) is None


@pytest.mark.parametrize(
    ("data", "root"),
    [
        (mbr((0x83, 2048, 4096)), 1),
        (mbr((0x82, 2048, 90000), (0x83, 99999, 10), (0x83, 100100, 4096)), 3),
        (mbr((0, 0, 0), (0x0C, 2048, 4096)), 2),
        (gpt((LINUX, 2048, 4096)), 1),
        (gpt((LINUX, 300_000, 400_000), (EFI, 2048, 900_000)), 1),
        (gpt((EFI, 2048, 4096), (bytes(16), 0, 0), (LINUX, 5000, 9000), size=256), 3),
    ],
)
def test_partition_that_is_most_likely_a_root_is_told(
    tmp_path: Path, data: bytes, root: int
) -> None:
    assert images.read(write(tmp_path / "a", data)) == Image(
        "partitioned", images.PARTITIONED, root
    )


@pytest.mark.parametrize(
    "data",
    [
        mbr(),
        mbr((0x83, 0, 4096)),
        mbr((0x83, 2048, 0)),
        b"\x7f".ljust(446, b"\0") + b"\x13" + mbr((0x83, 8, 8))[447:],
    ],
)
def test_a_boot_sector_alone_is_no_partition_table(tmp_path: Path, data: bytes) -> None:
    assert images.read(write(tmp_path / "a", data)) is None


def test_boot_sector_of_fat_is_no_partition_table(tmp_path: Path) -> None:
    data = bytearray(mbr((0x83, 8, 8)))
    data[54:62] = b"FAT16   "
    found = images.read(write(tmp_path / "a", bytes(data)))
    assert found is not None
    assert found.kind == images.FILE_SYSTEM


def test_a_cow_file_of_a_kernel_is_none_of_these(tmp_path: Path) -> None:
    backing = write(tmp_path / "a", b"")
    cow.create(str(tmp_path / "b"), backing)
    assert images.read(str(tmp_path / "b")) is None


@pytest.mark.parametrize("size", [0, 1, 511, 512, 1080, 4096, 1 << 43])
def test_any_size_is_taken(tmp_path: Path, size: int) -> None:
    assert images.read(write(tmp_path / "a", b"", size=size)) is None


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, "/dev/zero", "/dev/null"):
        assert images.read(str(path)) is None


def test_what_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        images.read(str(tmp_path / "a"))


@given(
    st.binary(max_size=2048),
    st.sampled_from(
        [
            b"",
            mbr((0x83, 8, 8)),
            mbr((0xEE, 1, 0xFFFFFFFF)) + b"EFI PART".ljust(72, b"\0") + b"\xff" * 16,
            bytes(1024) + b"\1" * 56 + b"\x53\xef",
        ]
    ),
)
def test_hostile_bytes_are_answered_for(rest: bytes, begin: bytes) -> None:
    descriptor = os.memfd_create("image")
    try:
        os.write(descriptor, begin + rest)
        found = images.look(descriptor)
        assert found is None or (found.what and 0 <= found.root <= 15)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/a/b.qcow2", "qemu-img convert -O raw /a/b.qcow2 /a/b.raw"),
        ("/a/b", "qemu-img convert -O raw /a/b /a/b.raw"),
        ("/a/b.raw", "qemu-img convert -O raw /a/b.raw /a/b.raw.raw"),
        ("/a b.img", "qemu-img convert -O raw '/a b.img' '/a b.raw'"),
    ],
)
def test_the_way_out_never_writes_over_what_it_reads(path: str, said: str) -> None:
    assert Image("a qcow2 image", images.FORMAT).remedy(path) == said
    assert Image("a tar archive", images.PACKED).remedy(path) == ""
