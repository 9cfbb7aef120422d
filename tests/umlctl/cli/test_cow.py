from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING

import pytest

from tests.cows import MTIME, Made, make, read
from umlctl import exitcodes
from umlctl.storage import cow

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.umlctl.cli.conftest import Run

    Command = Callable[..., Run]


@pytest.fixture
def made(house: str) -> Made:
    """The second page of four, its last sector discarded, and another sector."""
    return make(house, 32, [8, 9, 10, 11, 12, 13, 14, 15, 31], discarded=range(8, 16))


def test_cow_file_is_made_over_an_image(run: Command, house: str, made: Made) -> None:
    done = run("cow", "create", f"{house}/new.cow", made.backing)
    assert (done.code, done.out) == (0, f"{house}/new.cow is empty, over {made.backing}\n")
    header = cow.read(f"{house}/new.cow")
    assert header is not None
    assert cow.mismatch(header, made.backing) == ""


@pytest.mark.parametrize(
    ("path", "backing", "said"),
    [
        ("a.cow", "base.img", "it is there already, and is not replaced: take another name"),
        ("n.cow", "a.cow", "merge it first: `umlctl cow merge {}/a.cow IMAGE`, and take IMAGE"),
        ("n.cow", "none", "cannot read {}/none: No such file or directory"),
        ("n.cow", "", "{}/ is a directory, and a disk is a file"),
        ("n.cow", "tiny", "is smaller than a sector, and is no disk"),
        ("n.cow", "huge", "the largest disk has 8 TiB"),
        ("no/n.cow", "base.img", "cow create {}/no/n.cow: No such file or directory"),
        ("left.cow", "base.img", "left.cow.merge is of a merge or a reset that was interrupted"),
    ],
)
@pytest.mark.usefixtures("made")
def test_cow_file_that_cannot_be_is_not_made(
    run: Command, house: str, path: str, backing: str, said: str
) -> None:
    for name, size in (("tiny", 511), ("huge", 9 << 40), ("left.cow.merge", 0)):
        with open(f"{house}/{name}", "wb") as file:
            file.truncate(size)
    before = set(os.listdir(house))
    done = run("cow", "create", f"{house}/{path}", f"{house}/{backing}")
    assert (done.code, done.out) == (exitcodes.FAILED, "")
    assert said.format(house) in done.err
    assert set(os.listdir(house)) - before <= {"u"}


def test_what_is_in_a_cow_file_is_shown(run: Command, made: Made) -> None:
    facts = json.loads(run("cow", "info", made.cow, "--json").out)
    allocated = os.stat(made.cow).st_blocks * 512
    assert facts == {
        "path": made.cow,
        "version": 3,
        "broken": False,
        "backing": made.backing,
        "mtime": MTIME,
        "size": 32 * 512,
        "written": 9 * 512,
        "allocated": allocated,
        "length": 12288 + 32 * 512,
        "alignment": 4096,
        "bitmap": 8192,
        "data": 12288,
        "problem": None,
    }
    said = run("cow", "info", made.cow).out
    assert re.search(r"^written +4.5K, 28.1%$", said, flags=re.MULTILINE)
    assert re.search(r"^problem +none$", said, flags=re.MULTILINE)


def test_broken_version_is_named(run: Command, house: str) -> None:
    made = make(house, 8, [1], kind="broken 3")
    assert "3, as broken 64-bit kernels wrote it" in run("cow", "info", made.cow).out
    assert json.loads(run("cow", "info", made.cow, "--json").out)["broken"] is True


def test_info_of_one_that_does_not_fit_says_why(run: Command, made: Made) -> None:
    os.unlink(made.backing)
    done = run("cow", "info", made.cow, "--json")
    assert done.code == 0
    assert "is not there; `umlctl cow rebase" in json.loads(done.out)["problem"]


def test_fullness_of_several_is_shown(run: Command, house: str, made: Made) -> None:
    run("cow", "create", f"{house}/new.cow", made.backing)
    done = run("cow", "du", made.cow, f"{house}/new.cow")
    rows = [line.split() for line in done.out.splitlines()]
    assert rows[0] == ["COW", "SIZE", "WRITTEN", "FULL", "ON", "DISK", "BACKING"]
    assert [row[:4] for row in rows[1:]] == [
        [made.cow, "16.0K", "4.5K", "28.1%"],
        [f"{house}/new.cow", "16.0K", "0", "0.0%"],
    ]
    found = json.loads(run("cow", "du", made.cow, "--json").out)
    assert [row["written"] for row in found] == [9 * 512]


def test_each_part_is_mapped(run: Command, made: Made) -> None:
    parts = json.loads(run("cow", "map", made.cow, "--json").out)
    assert parts == [
        {"start": 0, "length": 4096, "in": "backing", "offset": 0},
        {"start": 4096, "length": 4096, "in": "hole", "offset": 12288 + 4096},
        {"start": 8192, "length": 15 * 512, "in": "backing", "offset": 8192},
        {"start": 31 * 512, "length": 512, "in": "cow", "offset": 12288 + 31 * 512},
    ]
    lines = run("cow", "map", made.cow).out.splitlines()
    assert lines[0].split() == ["START", "LENGTH", "IN", "OFFSET"]
    assert [line.split()[2] for line in lines[1:]] == ["backing", "hole", "backing", "cow"]


def test_what_differs_is_shown(run: Command, house: str, made: Made) -> None:
    other = make(house, 32, [31], name="b", over=made.backing)
    found = json.loads(run("cow", "diff", other.cow, "--json").out)
    assert found == [{"start": 31 * 512, "length": 512}]
    lines = run("cow", "diff", other.cow, made.cow).out.splitlines()
    assert lines[0].split() == ["START", "LENGTH"]
    assert lines[-1].split() == [str(31 * 512), "512"]
    assert json.loads(run("cow", "diff", made.cow, made.cow, "--json").out) == []


def test_cow_files_over_others_are_not_compared(run: Command, house: str, made: Made) -> None:
    os.mkdir(f"{house}/d")
    other = make(f"{house}/d", 32, [1])
    done = run("cow", "diff", made.cow, other.cow)
    assert done.code == exitcodes.FAILED
    assert "merge both, and `cmp` compares what comes out" in done.err


# Rebasing


def test_moved_backing_file_is_taken_after_what_differs_is_shown(run: Command, made: Made) -> None:
    os.rename(made.backing, f"{made.backing}.new")
    done = run("cow", "rebase", made.cow, f"{made.backing}.new")
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        f"path: {made.backing} -> {made.backing}.new\n"
        f"{made.cow} fits now, over {made.backing}.new\n"
    )
    assert run("cow", "check", made.cow).code == 0
    assert run("cow", "rebase", made.cow).out.startswith(f"{made.cow} fits as it is")


def test_changed_backing_file_is_taken_only_if_that_is_said(run: Command, made: Made) -> None:
    os.utime(made.backing, (7, 7))
    before = read(made.cow)
    done = run("cow", "rebase", made.cow)
    assert done.code == exitcodes.REFUSED
    assert re.fullmatch(rf"mtime: {MTIME} \(.*\) -> 7 \(.*\)\n", done.out)
    assert "say it again with --yes" in done.err
    assert read(made.cow) == before
    assert run("cow", "rebase", made.cow, "--yes").code == 0
    assert run("cow", "check", made.cow).code == 0


def test_cow_file_in_the_middle_of_a_merge_is_not_rebased(run: Command, made: Made) -> None:
    with open(f"{made.cow}.merge", "w"):
        pass
    done = run("cow", "rebase", made.cow, "--yes")
    assert done.code == exitcodes.FAILED
    assert f"`umlctl cow check {made.cow}` finishes it" in done.err


@pytest.mark.parametrize("command", ["info", "du", "map", "diff", "check", "rebase", "merge"])
@pytest.mark.parametrize("path", ["/dev/zero", "/dev", "/none", "base.img"])
def test_what_is_no_cow_file_is_an_error_everywhere(
    run: Command, house: str, made: Made, command: str, path: str
) -> None:
    more = [f"{house}/image"] if command == "merge" else []
    done = run("cow", command, made.backing if path == "base.img" else path, *more)
    assert (done.code, done.out) == (exitcodes.FAILED, "")
    assert done.err.startswith("umlctl: ")
    assert "Traceback" not in done.err
