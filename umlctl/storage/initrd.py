"""Initial RAM disks: whether a kernel can unpack a file. One that cannot panics, and its message is
about a root."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final, NamedTuple

from umlctl.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Mapping

CPIO: Final = (b"070701", b"070702")
"""How a cpio archive begins that a kernel reads. Source: init/initramfs.c"""
OTHER_CPIO: Final = (b"070707", b"\xc7\x71", b"\x71\xc7")
"""How archives of cpio begin that no kernel reads: the old formats, in letters and binary."""
_BEGINNING_BYTES: Final = 6


class Compression(NamedTuple):
    """A way in which an archive may be compressed, as lib/decompress.c knows it.

    Fields:
        name: of its program
        magic: how a file begins
        symbol: the kernel's configuration has it, if it can
    """

    name: str
    magic: bytes
    symbol: str


COMPRESSIONS: Final = (
    Compression("gzip", b"\x1f\x8b", "RD_GZIP"),
    Compression("gzip", b"\x1f\x9e", "RD_GZIP"),
    Compression("bzip2", b"BZh", "RD_BZIP2"),
    Compression("lzma", b"\x5d\x00", "RD_LZMA"),
    Compression("xz", b"\xfd7z", "RD_XZ"),
    Compression("lzop", b"\x89LZO", "RD_LZO"),
    Compression("lz4", b"\x02\x21\x4c\x18", "RD_LZ4"),
    Compression("zstd", b"\x28\xb5\x2f\xfd", "RD_ZSTD"),
)
_LZ4_FRAME: Final = b"\x04\x22\x4d\x18"


def check(path: str, mem: int, config: Mapping[str, str]) -> None:
    """See that a kernel can take a file for its initial RAM disk.

    mem: of the guest, bytes
    config: of the kernel, see `umlctl.kernels.find.ProbedKernel`; empty if it is not known

    Raises: HostError
    """
    size, beginning = _look(path)
    if size >= mem:
        raise HostError(
            f"{path} has {size >> 20}M, and the guest is to have {mem >> 20}M of memory, in which "
            "that has to be; take more --mem"
        )
    if beginning.startswith(CPIO):
        return
    found = next((each for each in COMPRESSIONS if beginning.startswith(each.magic)), None)
    if found is None:
        raise HostError(f"{path} is no initial RAM disk: {_what(beginning)}")
    if config and found.symbol not in config:
        raise HostError(
            f"{path} is compressed by {found.name}, and the kernel has no CONFIG_{found.symbol}; "
            f"pack it with {_better(config)}"
        )


def _look(path: str) -> tuple[int, bytes]:
    """The size of a file, and how it begins.

    Raises: HostError
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a FIFO would not be opened
            raise HostError(f"{path} is no file, and an initial RAM disk is one")
        with open(path, "rb") as file:
            return os.fstat(file.fileno()).st_size, file.read(_BEGINNING_BYTES)
    except OSError as problem:
        raise HostError(f"cannot read the initial RAM disk {path}: {problem.strerror}") from problem


def _what(beginning: bytes) -> str:
    """Why a file is none that is neither a cpio archive nor compressed."""
    pack = "`find . | cpio -o -H newc`"
    if not beginning:
        return f"it is empty; {pack} makes one of a directory"
    if beginning.startswith(OTHER_CPIO):
        return f"it is a cpio archive of an old format; {pack} makes one that kernels read"
    if beginning.startswith(_LZ4_FRAME):
        return "it is compressed by lz4 in a way that kernels do not read; give lz4 its option -l"
    return (
        f"it is neither a cpio archive nor a compressed one; {pack} makes one of a directory, and "
        "a file system is a --disk or a --root"
    )


def _better(config: Mapping[str, str]) -> str:
    """What a kernel can unpack."""
    found = dict.fromkeys(each.name for each in COMPRESSIONS if each.symbol in config)
    return " or ".join(found) or "no compression"
