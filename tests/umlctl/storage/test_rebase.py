from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.cows import KINDS, MTIME, Made, make, read
from umlctl.errors import HostError
from umlctl.storage.cow_file import check_fits, open_backing, open_cow
from umlctl.storage.rebase import Difference, differences, rebase

if TYPE_CHECKING:
    from pathlib import Path


def rebased(made: Made, path: str) -> list[Difference]:
    with open_cow(made.cow, write=True) as of, open_backing(of, path) as backing:
        found = differences(of, backing, path)
        rebase(of, found)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_backing_file_that_was_moved_and_touched_fits_again(tmp_path: Path, kind: str) -> None:
    made = make(str(tmp_path), 40, [1, 20], kind=kind)
    before = read(made.cow)
    os.rename(made.backing, f"{tmp_path}/new.img")
    os.utime(f"{tmp_path}/new.img", (5, 5))
    assert rebased(made, f"{tmp_path}/new.img") == [
        ("path", made.backing, f"{tmp_path}/new.img"),
        ("mtime", MTIME, 5),
    ]
    with open_cow(made.cow) as of, open_backing(of) as backing:
        check_fits(of, backing, of.header.backing)
        assert (of.header.version, of.header.align, of.header.broken) == KINDS[kind]
        assert read(made.cow)[of.layout.bitmap :] == before[of.layout.bitmap :]
    command = ["uml_moo", made.cow, f"{tmp_path}/image"]
    subprocess.run(command, check=True, timeout=60, capture_output=True)
    assert read(f"{tmp_path}/image") == made.disk


def test_backing_file_that_fits_is_left(tmp_path: Path) -> None:
    made = make(str(tmp_path), 8, [1])
    before = read(made.cow)
    assert rebased(made, made.backing) == []
    assert read(made.cow) == before


def test_backing_file_of_another_size_is_refused_with_what_helps(tmp_path: Path) -> None:
    made = make(str(tmp_path), 8, [1])
    other = f"{tmp_path}/other.img"
    shutil.copy(made.backing, other)
    os.truncate(other, 8192)
    with pytest.raises(HostError, match=f"if it has only grown, `truncate -s 4096 {other}` makes"):
        rebased(made, other)
    os.truncate(other, 512)
    with pytest.raises(HostError, match="the sectors beyond its end are lost"):
        rebased(made, other)


def test_path_that_does_not_fit_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    made = make(str(tmp_path), 8, [1], kind="1")
    before = read(made.cow)
    directory = tmp_path / ("d" * 250)
    directory.mkdir()
    shutil.copy(made.backing, directory / "base.img")
    with pytest.raises(HostError, match="255 is the most"):
        rebased(made, f"{directory}/base.img")
    assert read(made.cow) == before
