from __future__ import annotations

import io
import os
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cows import read
from umlctl.errors import HostError
from umlctl.storage import sparse_tar

if TYPE_CHECKING:
    from pathlib import Path

MB = 1 << 20


def holey(path: Path, size: int, *places: int) -> bytes:
    with path.open("xb") as file:
        file.truncate(size)
        for place in places:
            file.seek(place)
            file.write(os.urandom(min(9000, size - place)))
    return path.read_bytes()


def pack(target: Path, *paths: Path) -> None:
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
        for path in paths:
            with path.open("rb") as file:
                sparse_tar.add(archive, file.fileno(), path.name)


def unpack(path: Path, directory: Path) -> list[str]:
    names = []
    with path.open("rb") as file:
        for found, reader in sparse_tar.read(file, 10):
            names.append(found.name)
            with (directory / found.name).open("xb") as target:
                sparse_tar.extract(found, reader, target.fileno())
    return names


def test_files_come_out_as_they_went_in_with_their_holes(tmp_path: Path) -> None:
    first = holey(tmp_path / "a", 64 * MB, 0, 7 * MB + 4096, 64 * MB - 100)
    second = holey(tmp_path / "b", 3 * MB)
    holey(tmp_path / "c", 0)
    pack(tmp_path / "x.tar", tmp_path / "a", tmp_path / "b", tmp_path / "c")
    assert os.stat(tmp_path / "x.tar").st_size < MB
    os.mkdir(tmp_path / "out")
    assert unpack(tmp_path / "x.tar", tmp_path / "out") == ["a", "b", "c"]
    assert read(f"{tmp_path}/out/a") == first
    assert read(f"{tmp_path}/out/b") == second
    assert os.stat(tmp_path / "out" / "a").st_blocks * 512 < MB


def test_tar_reads_what_we_write_and_we_what_it_writes(tmp_path: Path) -> None:
    first = holey(tmp_path / "a", 8 * MB, 4096, 5 * MB)
    pack(tmp_path / "x.tar", tmp_path / "a")
    os.mkdir(tmp_path / "out")
    subprocess.run(["tar", "-xf", tmp_path / "x.tar", "-C", tmp_path / "out"], check=True)
    assert read(f"{tmp_path}/out/a") == first
    theirs = ["tar", "-S", "--format=pax", "-cf", f"{tmp_path}/y.tar", "-C", str(tmp_path), "a"]
    subprocess.run(theirs, check=True)
    os.mkdir(tmp_path / "in")
    assert unpack(tmp_path / "y.tar", tmp_path / "in") == ["a"]
    assert read(f"{tmp_path}/in/a") == first


@pytest.mark.parametrize(
    ("headers", "data", "why"),
    [
        ({"GNU.sparse.realsize": "100"}, b"1\n50\n100\n", "parts that it cannot have"),
        ({"GNU.sparse.realsize": str(1 << 62)}, b"1\n0\n10\n", "more than any disk"),
        ({"GNU.sparse.realsize": "1000"}, b"2\n500\n10\n100\n10\n", "parts that it cannot"),
        ({"GNU.sparse.realsize": "x"}, b"1\n0\n10\n", "no archive, or is damaged"),
    ],
)
def test_archive_that_says_what_cannot_be_is_an_error(
    tmp_path: Path, headers: dict[str, str], data: bytes, why: str
) -> None:
    listing = data.ljust(512, b"\0")
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("GNUSparseFile.0/a")
        info.size = len(listing) + 110
        info.pax_headers = {
            "GNU.sparse.major": "1",
            "GNU.sparse.minor": "0",
            "GNU.sparse.name": "a",
            **headers,
        }
        archive.addfile(info, io.BytesIO(listing + bytes(110)))
    os.mkdir(tmp_path / "out")
    with pytest.raises(HostError, match=why):
        unpack(tmp_path / "x.tar", tmp_path / "out")


def test_what_is_no_file_or_too_many_are_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        info = tarfile.TarInfo("a")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
    with pytest.raises(HostError, match="'a' is no file"):
        unpack(tmp_path / "x.tar", tmp_path)
    with tarfile.open(tmp_path / "y.tar", "w") as archive:
        for number in range(11):
            archive.addfile(tarfile.TarInfo(f"f{number}"))
    os.mkdir(tmp_path / "out")
    with pytest.raises(HostError, match="more than 10 files"):
        unpack(tmp_path / "y.tar", tmp_path / "out")


@given(st.binary(max_size=3000))
def test_anything_else_is_an_error(data: bytes) -> None:
    try:
        for found, reader in sparse_tar.read(io.BytesIO(data), 10):
            assert len(reader.read(found.size)) <= found.size
    except HostError:
        pass
