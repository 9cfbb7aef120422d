from __future__ import annotations

import gzip
import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as some

from umlctl.errors import HostError
from umlctl.storage import initrd

if TYPE_CHECKING:
    from pathlib import Path

M = 1 << 20
CONFIG = {"RD_GZIP": "y", "RD_XZ": "y"}


def pack(tmp_path: Path, through: str) -> str:
    """An archive of an empty directory, as programs make it."""
    made = tmp_path / "initrd"
    line = f"echo . | busybox cpio -o -H newc | {through} >{made}"
    subprocess.run(["sh", "-c", line], cwd=tmp_path, check=True)
    return str(made)


@pytest.mark.parametrize("through", ["cat", "gzip", "xz --check=crc32"])
def test_archive_is_taken_plain_and_compressed(tmp_path: Path, through: str) -> None:
    initrd.check(pack(tmp_path, through), 64 * M, CONFIG)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "it is empty; `find"),
        (b"070707" + bytes(70), "an old format; `find . | cpio -o -H newc` makes"),
        (b"\xc7\x71" + bytes(70), "an old format"),
        (b"\x04\x22\x4d\x18" + bytes(70), "give lz4 its option -l"),
        (b"\x7fELF", "neither a cpio archive nor a compressed one"),
        (bytes(2048), "a file system is a --disk or a --root"),
        (b"0707", "neither a cpio archive"),
    ],
)
def test_what_no_kernel_unpacks_is_refused(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "f"
    path.write_bytes(data)
    with pytest.raises(HostError, match=f"{path} is no initial RAM disk: .*{said[:20]}") as told:
        initrd.check(str(path), 64 * M, CONFIG)
    assert said in str(told.value)


def test_compression_that_the_kernel_lacks_is_named_with_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"\x28\xb5\x2f\xfd" + bytes(9))
    with pytest.raises(HostError, match="zstd, and the kernel has no CONFIG_RD_ZSTD; pack it with"):
        initrd.check(str(path), 64 * M, CONFIG)
    with pytest.raises(HostError, match="pack it with gzip or xz"):
        initrd.check(str(path), 64 * M, CONFIG)
    initrd.check(str(path), 64 * M, {})  # nothing is known of the kernel
    initrd.check(str(path), 64 * M, {"RD_ZSTD": "y"})


def test_one_that_does_not_fit_into_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(gzip.compress(b"x"))
    os.truncate(path, 64 * M)
    with pytest.raises(HostError, match="has 64M, and the guest is to have 64M of memory"):
        initrd.check(str(path), 64 * M, CONFIG)
    initrd.check(str(path), 65 * M, CONFIG)


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"cannot read the initial RAM disk .*none: No such file"):
        initrd.check(f"{tmp_path}/none", M, {})
    with pytest.raises(HostError, match="is no file"):
        initrd.check(str(tmp_path), M, {})
    os.mkfifo(f"{tmp_path}/fifo")
    with pytest.raises(HostError, match="is no file"):
        initrd.check(f"{tmp_path}/fifo", M, {})


@given(some.binary(max_size=12))
def test_any_beginning_is_taken_or_refused_with_a_reason(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any-initrd"
    path.write_bytes(data)
    known = (*initrd.CPIO, *(each.magic for each in initrd.COMPRESSIONS))
    if data.startswith(known):
        initrd.check(str(path), M, {})
    else:
        with pytest.raises(HostError, match="is no initial RAM disk"):
            initrd.check(str(path), M, {})
