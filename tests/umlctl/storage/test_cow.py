from __future__ import annotations

import errno
import filecmp
import os
import struct
import subprocess
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.errors import HostError
from umlctl.storage import cow
from umlctl.storage.cow import BadCow, Header

if TYPE_CHECKING:
    from pathlib import Path

NAME = "/srv/base.img"
MTIME = 1_700_000_000
SIZE = 5 << 30
"""More than 32 bits hold."""


def v1(order: str = "=", **fields: int) -> bytes:
    name = NAME.encode().ljust(256, b"\0")
    sector = fields.get("sector", 512)
    return (
        struct.pack(f"{order}II", 0x4F4F4F4D, 1) + name + struct.pack("=IQI", MTIME, SIZE, sector)
    )


def v2(**fields: int) -> bytes:
    name = NAME.encode().ljust(4096, b"\0")
    tail = struct.pack(">IQI", MTIME, SIZE, fields.get("sector", 512))
    return struct.pack(">II", 0x4F4F4F4D, 2) + name + tail


def v3(name: bytes = NAME.encode(), **fields: int) -> bytes:
    head = struct.pack(
        ">IIIQIII",
        0x4F4F4F4D,
        fields.get("version", 3),
        fields.get("mtime", MTIME),
        SIZE,
        fields.get("sector", 512),
        fields.get("align", 4096),
        fields.get("layout", 0),
    )
    return head + name.ljust(4096, b"\0")


@pytest.fixture
def backing(tmp_path: Path) -> str:
    path = tmp_path / "base.img"
    path.write_bytes(os.urandom(3 * 4096) + bytes(512))
    os.utime(path, (MTIME, MTIME))
    return str(path)


# Reading


@pytest.mark.parametrize(
    ("data", "version"), [(v1(), 1), (v2(), 2), (v3(), 3), (v3() + b"bitmap", 3)]
)
def test_header_of_each_version_is_read(data: bytes, version: int) -> None:
    assert cow.decode(data) == Header(version, NAME, MTIME, SIZE)


@pytest.mark.parametrize("data", [b"", b"OOOM", b"OOOM\0\0\0", bytes(4128), b"QFI\xfb" * 2000])
def test_file_of_another_kind_is_none(data: bytes) -> None:
    assert cow.decode(data) is None


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (v3(version=4), "version 4"),
        (v3(version=0), "version 0"),
        (v1(">")[:8] + bytes(300), "sectors of 0 bytes"),
        (v1()[:-1], "ends after"),
        (v2()[:-1], "ends after"),
        (v3()[:-1], "ends after 4127 bytes"),
        (b"OOOM\0\0\0\3", "ends after 8 bytes"),
        (v1(sector=4096), "sectors of 4096"),
        (v2(sector=0), "sectors of 0"),
        (v3(sector=1024), "sectors of 1024"),
        (v3(layout=1), "format 1"),
        (v3(align=0), "alignment of 0"),
        (v3(name=b""), "ends after 4128 bytes"),
        (v3(name=b"") + bytes(8), "alignment of 0"),
        (v3(name=b"\0x/y/z"), "names no backing file"),
        (v2()[:8] + bytes(4096) + v2()[4104:], "names no backing file"),
    ],
)
def test_header_that_no_kernel_takes_is_bad(data: bytes, said: str) -> None:
    with pytest.raises(BadCow, match=said):
        cow.decode(data)


@given(
    st.sampled_from([v1(), v2(), v3()]),
    st.lists(st.tuples(st.integers(0, 4127), st.binary(min_size=1, max_size=8)), max_size=4),
    st.integers(0, 4200),
)
def test_damaged_header_is_bad_or_read_and_nothing_else(
    whole: bytes, damage: list[tuple[int, bytes]], length: int
) -> None:
    data = bytearray(whole)
    for place, wrong in damage:
        data[place : place + len(wrong)] = wrong
    try:
        header = cow.decode(bytes(data[:length]))
    except BadCow:
        return
    assert header is None or header.backing


@given(st.sampled_from([b"OOOM", b"MOOO"]), st.binary(max_size=64), st.integers(0, 4200))
def test_rubbish_behind_the_magic_is_bad_or_read(magic: bytes, rest: bytes, length: int) -> None:
    try:
        cow.decode((magic + rest).ljust(length, b"\0"))
    except BadCow:
        pass


def test_bad_header_is_told_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "bad.cow"
    path.write_bytes(v3(version=9))
    with pytest.raises(HostError, match=rf"^{path} is a COW file that no kernel takes: .*9"):
        cow.read(str(path))
    with pytest.raises(FileNotFoundError):
        cow.read(f"{path}.none")


def test_backing_file_may_have_a_name_that_is_no_utf8() -> None:
    header = cow.decode(v3(b"/srv/\xff"))
    assert header is not None
    assert os.fsencode(header.backing) == b"/srv/\xff"
    assert cow.encode(header) == v3(b"/srv/\xff")


# Writing


@given(
    st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=1000),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**62),
)
def test_header_survives_being_written(name: str, mtime: int, size: int) -> None:
    header = Header(3, name, mtime, size)
    assert cow.decode(cow.encode(header)) == header


def test_path_that_does_not_fit_is_refused() -> None:
    assert cow.decode(cow.encode(Header(3, "x" * 4095, 1, 1)))
    with pytest.raises(BadCow, match="4096 bytes; 4095 is the most"):
        cow.encode(Header(3, "x" * 4096, 1, 1))


def test_new_file_fits_its_backing_file(tmp_path: Path, backing: str) -> None:
    path = f"{tmp_path}/new.cow"
    cow.create(path, backing)
    header = cow.read(path)
    assert header == Header(3, backing, MTIME, os.path.getsize(backing))
    assert cow.mismatch(header, backing) == ""
    assert os.stat(path).st_mode == 0o100600
    assert sorted(os.listdir(tmp_path)) == ["base.img", "new.cow"]


def test_relative_name_of_a_backing_file_is_made_absolute(
    tmp_path: Path, backing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cow.create("new.cow", "base.img")
    header = cow.read("new.cow")
    assert header is not None
    assert header.backing == backing


@pytest.mark.parametrize(
    "size", [1, 511, 512, 513, 4096, 1_000_000, 32 << 20, (32 << 20) + 4096, 3 << 30]
)
def test_new_file_is_the_one_of_uml_mkcow(tmp_path: Path, size: int) -> None:
    base = f"{tmp_path}/base.img"
    with open(base, "wb") as file:
        file.truncate(size)
    cow.create(f"{tmp_path}/ours.cow", base)
    subprocess.run(["uml_mkcow", "theirs.cow", base], cwd=tmp_path, check=True, timeout=60)
    assert os.path.getsize(f"{tmp_path}/ours.cow") == os.path.getsize(f"{tmp_path}/theirs.cow")
    assert os.path.getsize(f"{tmp_path}/ours.cow") == cow.length(size)
    with open(f"{tmp_path}/ours.cow", "rb") as ours, open(f"{tmp_path}/theirs.cow", "rb") as theirs:
        assert ours.read(1 << 20) == theirs.read(1 << 20)
    assert os.stat(f"{tmp_path}/ours.cow").st_blocks * 512 <= 64 << 10, "it is sparse"


def test_uml_moo_merges_a_new_file(tmp_path: Path, backing: str) -> None:
    cow.create(f"{tmp_path}/new.cow", backing)
    subprocess.run(["uml_moo", "new.cow", "merged.img"], cwd=tmp_path, check=True, timeout=60)
    assert filecmp.cmp(backing, f"{tmp_path}/merged.img", shallow=False)


def test_file_that_is_there_is_never_replaced(tmp_path: Path, backing: str) -> None:
    path = tmp_path / "new.cow"
    path.write_text("precious")
    with pytest.raises(FileExistsError):
        cow.create(str(path), backing)
    assert path.read_text() == "precious"
    assert sorted(os.listdir(tmp_path)) == ["base.img", "new.cow"]


@pytest.mark.parametrize("call", ["pwrite", "ftruncate", "fsync", "link"])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_failure_leaves_nothing_behind(
    tmp_path: Path, backing: str, monkeypatch: pytest.MonkeyPatch, call: str, error: int
) -> None:
    def fail(*_: object, **__: object) -> int:
        raise OSError(error, os.strerror(error))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(OSError, match=os.strerror(error)):
            cow.create(f"{tmp_path}/new.cow", backing)
    assert os.listdir(tmp_path) == ["base.img"]


def test_header_that_is_taken_in_parts_is_written_whole(
    tmp_path: Path, backing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pwrite

    def write(descriptor: int, data: bytes, place: int) -> int:
        return real(descriptor, data[:1000], place)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", write)
        cow.create(f"{tmp_path}/new.cow", backing)
    with open(f"{tmp_path}/new.cow", "rb") as file:
        assert file.read(4128) == cow.encode(cow.describe(backing))


@pytest.mark.parametrize("path", ["none/new.cow", "base.img/new.cow"])
def test_file_is_not_made_where_it_cannot_be(tmp_path: Path, backing: str, path: str) -> None:
    with pytest.raises(OSError, match="directory"):
        cow.create(f"{tmp_path}/{path}", backing)
    with pytest.raises(FileNotFoundError):
        cow.create(f"{tmp_path}/new.cow", f"{tmp_path}/none.img")
    assert os.listdir(tmp_path) == ["base.img"]


# Fitting


def test_backing_file_that_was_touched_does_not_fit(tmp_path: Path, backing: str) -> None:
    header = cow.describe(backing)
    os.utime(backing, (MTIME, MTIME + 1))
    said = cow.mismatch(header, backing)
    assert said.startswith(f"{backing} was changed after it was made; ")
    command = said.split("`")[1]
    assert command == f"touch -d @{MTIME} {backing}"
    subprocess.run(command.split(), check=True)
    assert cow.mismatch(header, backing) == ""


def test_backing_file_of_another_size_does_not_fit(backing: str) -> None:
    header = cow.describe(backing)
    os.truncate(backing, 8192)
    os.utime(backing, (MTIME, MTIME))
    assert cow.mismatch(header, backing) == (
        f"{backing} has 8192 bytes now, and had 12800 when it was made"
    )


@pytest.mark.parametrize(
    ("nanoseconds", "seconds"),
    [
        (MTIME * 10**9 + 999_999_999, MTIME),
        (-1, 2**32 - 1),
        ((2**32 + 7) * 10**9, 7),
    ],
)
def test_time_is_whole_seconds_as_the_kernel_counts_them(
    backing: str, monkeypatch: pytest.MonkeyPatch, nanoseconds: int, seconds: int
) -> None:
    status = SimpleNamespace(st_mtime_ns=nanoseconds, st_mtime=nanoseconds / 1e9)
    with monkeypatch.context() as patch:
        patch.setattr(
            os, "fstat", lambda _descriptor: status
        )  # not every file system keeps such a time
        header = cow.describe(backing)
    assert header.mtime == seconds


def test_backing_file_that_is_gone_is_an_error(backing: str) -> None:
    header = cow.describe(backing)
    os.unlink(backing)
    with pytest.raises(FileNotFoundError):
        cow.mismatch(header, backing)
