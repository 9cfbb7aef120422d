from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cows import KINDS, make
from umlctl.errors import HostError
from umlctl.storage import cow
from umlctl.storage.cow import SECTOR_BYTES, BadCow, Header
from umlctl.storage.cow_file import (
    NoCow,
    check_fits,
    check_no_cow,
    open_backing,
    open_cow,
    opened,
)

if TYPE_CHECKING:
    from pathlib import Path


def refused(path: str, said: str, error: type[HostError] = HostError) -> None:
    with pytest.raises(error, match=said), open_cow(path) as of, open_backing(of) as backing:
        check_fits(of, backing, of.header.backing)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_written_is_found_in_each_version(tmp_path: Path, kind: str) -> None:
    made = make(str(tmp_path), 40, [0, 1, 2, 9, 31, 39], kind=kind)
    with open_cow(made.cow) as of, open_backing(of) as backing:
        check_fits(of, backing, made.backing)
        assert list(of.runs()) == [
            (0, 3 * SECTOR_BYTES),
            (9 * SECTOR_BYTES, 10 * SECTOR_BYTES),
            (31 * SECTOR_BYTES, 32 * SECTOR_BYTES),
            (39 * SECTOR_BYTES, 40 * SECTOR_BYTES),
        ]
        assert of.written() == 6 * SECTOR_BYTES
        assert of.size == 40 * SECTOR_BYTES
        for start, end in of.runs():
            assert of.read(start, end - start) == made.disk[start:end]


@pytest.mark.parametrize("kind", ["1", "2"])
def test_last_sectors_of_old_versions_have_no_bit(tmp_path: Path, kind: str) -> None:
    made = make(str(tmp_path), 13, range(13), kind=kind)
    with open_cow(made.cow) as of:
        assert list(of.runs()) == [(0, 8 * SECTOR_BYTES)]


def test_bits_behind_the_last_sector_are_none(tmp_path: Path) -> None:
    made = make(str(tmp_path), 13, [12])
    with open(made.cow, "r+b") as file:
        file.seek(8192)
        file.write(b"\x00\xf0")
    with open_cow(made.cow) as of:
        assert list(of.runs()) == [(12 * SECTOR_BYTES, 13 * SECTOR_BYTES)]
        assert of.written() == SECTOR_BYTES


def test_hole_in_the_bitmap_of_a_large_disk_is_passed_over(tmp_path: Path) -> None:
    base = f"{tmp_path}/base.img"
    with open(base, "wb") as file:
        file.truncate(1 << 40)
    cow.create(f"{tmp_path}/a.cow", base)
    far = (1 << 31) - 1
    with open(f"{tmp_path}/a.cow", "r+b") as file:
        file.seek(8192 + far // 8)
        file.write(b"\x80")
    with open_cow(f"{tmp_path}/a.cow") as of:
        assert list(of.runs()) == [((1 << 40) - SECTOR_BYTES, 1 << 40)]
        assert len(list(of._chunks())) == 1


# What is refused


def test_file_that_is_cut_is_refused(tmp_path: Path) -> None:
    made = make(str(tmp_path), 40, [39])
    length = os.path.getsize(made.cow)
    os.truncate(made.cow, length - 1)
    refused(
        made.cow, f"is cut: it has sectors up to byte {length}, and ends at {length - 1}", BadCow
    )
    os.truncate(made.cow, 8192 + 4)
    refused(made.cow, "is cut: its bitmap ends at byte 8197, and the file at 8196", BadCow)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (Header(3, "/b", 0, (1 << 63) - 1), "the largest disk has 8 TiB"),
        (Header(3, "/b", 0, (1 << 64) - 1), "the largest disk has 8 TiB"),
        (Header(2, "/b", 0, (1 << 63) + 7), "the largest disk has 8 TiB"),
        (Header(1, "/b", 0, 1 << 62), "the largest disk has 8 TiB"),
        (Header(3, "/b", 0, 1 << 20, align=0xFFFFFFFF), "kernels count to 2147483648"),
        (Header(3, "/b", 0, 1 << 42), "is cut: its bitmap ends at byte"),
        (Header(3, "/dev/zero", 0, 0), "/dev/zero is neither a file nor a block device"),
        (Header(3, "/dev", 0, 0), "/dev is a directory"),
        (Header(3, "{}/fifo", 0, 0), "fifo is neither a file nor a block device"),
        (Header(3, "{}/hostile.cow", 0, 0), "hostile.cow is the COW file itself"),
        (Header(3, "{}/none", 0, 0), "none is not there; `umlctl cow rebase .*hostile.cow FILE`"),
        (Header(3, "{}/base.img", 0, 0), r"base.img has \d+ bytes now, and had 0 when it was made"),
        (Header(3, "{}/a.cow", 0, 0), "merge it first: `umlctl cow merge .*a.cow IMAGE`"),
    ],
)
def test_hostile_header_is_an_error(tmp_path: Path, header: Header, said: str) -> None:
    make(str(tmp_path), 40, [39])
    os.mkfifo(tmp_path / "fifo")
    path = tmp_path / "hostile.cow"
    header = header._replace(backing=header.backing.format(tmp_path))
    path.write_bytes(cow.encode(header) + bytes(8192))
    refused(str(path), said)


@given(st.integers(0, 4200), st.binary(min_size=1, max_size=8), st.sampled_from(list(KINDS)))
def test_damaged_header_is_an_error_or_read(
    tmp_path_factory: pytest.TempPathFactory, place: int, wrong: bytes, kind: str
) -> None:
    made = make(str(tmp_path_factory.mktemp("x")), 9, [0, 8], kind=kind)
    with open(made.cow, "r+b") as file:
        file.seek(place)
        file.write(wrong)
    try:
        with open_cow(made.cow) as of, open_backing(of) as backing:
            check_fits(of, backing, of.header.backing)
            assert all(0 <= start < end <= of.size for start, end in of.runs())
    except HostError:
        pass


@pytest.mark.parametrize(
    ("path", "said"),
    [("/dev/null", "neither"), ("/", "is a directory"), ("/none", "cannot read /none: No such")],
)
def test_what_is_no_file_is_refused(path: str, said: str) -> None:
    refused(path, said)


def test_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(bytes(8192))
    refused(f"{tmp_path}/image", "is no COW file; `umlctl cow create` makes one", NoCow)


def test_backing_file_that_was_changed_is_refused_with_what_helps(tmp_path: Path) -> None:
    made = make(str(tmp_path), 4, [1])
    os.utime(made.backing, (1, 1))
    refused(made.cow, f"does not fit its backing file: .* `umlctl cow rebase {made.cow}`")


def test_bad_cow_file_is_a_backing_file_as_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "odd"
    path.write_bytes(struct.pack(">II", cow.MAGIC, 77) + bytes(8192))
    with opened(str(path)) as descriptor:
        check_no_cow(str(path), descriptor)


# Locks


def test_file_that_is_written_here_is_nobody_elses(tmp_path: Path) -> None:
    made = make(str(tmp_path), 4, [1])
    with (
        open_cow(made.cow, write=True, lock=True),
        pytest.raises(HostError, match="is locked: a guest has it open"),
        open_cow(made.cow, lock=True),
    ):
        pytest.fail("it is locked")


def test_file_that_is_read_here_is_read_by_others(tmp_path: Path) -> None:
    made = make(str(tmp_path), 4, [1])
    with open_cow(made.cow, lock=True), open_cow(made.cow, lock=True):
        with pytest.raises(HostError, match="is locked"), open_cow(made.cow, write=True, lock=True):
            pytest.fail("it is locked")
        with open_cow(made.cow, write=True):
            pass
