"""File systems other than ext4, made empty in files of an ordinary user's; a guest fills them."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Final

from umlctl.errors import HostError
from umlctl.host import dependent

LEAST_BYTES: Final = {"btrfs": 128 << 20, "xfs": 320 << 20}
"""The smallest that their programs make. Source: mkfs.btrfs(8), mkfs.xfs(8)"""
_PACKAGES: Final = {"btrfs": "btrfs-progs", "xfs": "xfsprogs"}
_LABEL_CHARACTERS: Final = 12
"""The longest label that XFS takes."""


def make(path: str, fs: str, size: int, label: str) -> None:
    """Make a new file with an empty file system.

    fs: one of LEAST_BYTES
    size: bytes

    Raises: HostError, OSError
    """
    if size < LEAST_BYTES[fs]:
        least = LEAST_BYTES[fs] >> 20
        raise HostError(f"{fs} takes {least}M at least, and {size >> 20}M was asked for")
    program = shutil.which(f"mkfs.{fs}", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        raise HostError(f"there is no mkfs.{fs}: apt install {_PACKAGES[fs]}")
    with open(path, "xb") as file:
        file.truncate(size)
    words = [program, "-q", "-f", "-L", label[:_LABEL_CHARACTERS], path]
    done = dependent.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        lines = done.stdout.decode("utf-8", "backslashreplace").strip().splitlines()
        said = lines[-1] if lines else f"it ended with {done.returncode}"
        raise HostError(f"mkfs.{fs}: {said}")
