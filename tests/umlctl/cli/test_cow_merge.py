from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.cows import MTIME, Made, make, read
from umlctl import exitcodes
from umlctl.cli import cow_merge
from umlctl.errors import HostError
from umlctl.storage import cow
from umlctl.storage.cow_file import open_cow

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.umlctl.cli.conftest import Run

    Command = Callable[..., Run]


@pytest.fixture
def made(house: str) -> Made:
    return make(house, 64, [3, 4, 40, 41], discarded=[41])


def fail(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def copy(*_: object) -> int:
        raise error

    monkeypatch.setattr(os, "copy_file_range", copy)


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_merge_makes_a_new_file(run: Command, house: str, made: Made) -> None:
    done = run("cow", "merge", made.cow, f"{house}/image")
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{house}/image has 32.0K: {made.cow} and {made.backing}\n"
    assert read(f"{house}/image") == made.disk


def test_merge_in_place_leaves_an_empty_cow_file(run: Command, house: str, made: Made) -> None:
    done = run("cow", "merge", "--in-place", made.cow)
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{made.backing} has 2.0K of {made.cow}, which is empty now\n"
    assert read(made.backing) == made.disk
    assert run("cow", "check", made.cow).out == f"{made.cow} is sound, and fits its backing file\n"
    assert json.loads(run("cow", "info", made.cow, "--json").out)["written"] == 0
    assert not os.path.exists(f"{made.cow}.merge")


@pytest.mark.parametrize("words", [["a.cow"], ["a.cow", "image", "--in-place"]])
def test_merge_has_one_target(run: Command, words: list[str]) -> None:
    done = run("cow", "merge", *words)
    assert done.code == exitcodes.USAGE
    assert "takes IMAGE, a new file, or --in-place" in done.err


def test_image_that_is_there_is_kept(run: Command, house: str, made: Made) -> None:
    with open(f"{house}/image", "w") as file:
        file.write("precious")
    done = run("cow", "merge", made.cow, f"{house}/image")
    assert done.code == exitcodes.FAILED
    assert "is there already, and is not replaced: take another name" in done.err
    assert read(f"{house}/image") == b"precious"


def test_others_over_the_backing_file_keep_it_from_being_merged_into(
    run: Command, house: str, made: Made
) -> None:
    os.mkdir(f"{house}/elsewhere")
    os.rename(made.cow, f"{house}/elsewhere/a.cow")
    other = make(house, 64, [1], name="b", over=made.backing)
    done = run("cow", "merge", "--in-place", f"{house}/elsewhere/a.cow")
    assert done.code == exitcodes.FAILED
    assert f"{made.backing} is also under {other.cow}, which no kernel would take" in done.err
    assert "merge into a new file, or merge or remove those first" in done.err
    assert read(made.backing) == made.below
    os.unlink(other.cow)
    assert run("cow", "merge", "--in-place", f"{house}/elsewhere/a.cow").code == 0


def test_disk_full_in_the_middle_leaves_no_image(
    run: Command, house: str, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fail(patch, FULL)
        done = run("cow", "merge", made.cow, f"{house}/image")
    assert done.code == exitcodes.FAILED
    assert done.err == (
        f"umlctl: cow merge {made.cow} {house}/image: No space left on device; make room there, "
        "and say it again\n"
    )
    assert not os.path.exists(f"{house}/image")
    assert run("cow", "merge", made.cow, f"{house}/image").code == 0


def test_merge_in_place_that_was_interrupted_is_finished_by_check(
    run: Command, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fail(patch, FULL)
        done = run("cow", "merge", "--in-place", made.cow)
    assert done.code == exitcodes.FAILED
    assert "No space left on device; make room there" in done.err
    assert f"nothing is lost: `umlctl cow check {made.cow}` finishes it" in done.err
    done = run("cow", "check", made.cow)
    assert (done.code, done.out) == (0, f"{made.cow} is sound, and fits its backing file\n")
    assert "was interrupted; finishing it" in done.err
    assert read(made.backing) == made.disk


def test_reset_that_was_interrupted_is_finished_by_check(run: Command, made: Made) -> None:
    with open(f"{made.cow}.reset", "xb"):
        pass
    done = run("cow", "merge", "--in-place", made.cow)
    assert done.code == exitcodes.FAILED
    assert f"a reset of {made.cow} was interrupted: `umlctl cow check" in done.err
    assert read(made.backing) == made.below
    done = run("cow", "check", made.cow)
    assert (done.code, done.out) == (0, f"{made.cow} is sound, and fits its backing file\n")
    with open_cow(made.cow) as of:
        assert of.written() == 0


def test_interrupt_is_told_with_what_helps(
    run: Command, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fail(patch, KeyboardInterrupt())
        done = run("cow", "merge", "--in-place", made.cow)
    assert done.code == 130
    assert f"`umlctl cow check {made.cow}` finishes it" in done.err
    done = run("cow", "check", made.cow, "--json")
    assert json.loads(done.out) == {"path": made.cow, "problem": None, "finished": True}
    assert read(made.backing) == made.disk


def test_check_says_what_is_wrong(run: Command, made: Made) -> None:
    os.utime(made.backing, (1, 1))
    done = run("cow", "check", made.cow)
    assert (done.code, done.out) == (exitcodes.FAILED, "")
    assert "does not fit its backing file" in done.err
    done = run("cow", "check", made.cow, "--json")
    assert done.code == exitcodes.FAILED
    found = json.loads(done.out)
    assert "was changed after it was made" in found["problem"]
    assert found["finished"] is False


def test_progress_is_told_in_large_steps_and_on_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with cow_merge.progress("merge a", 10) as advance:
        advance(10)
    assert capfd.readouterr() == ("", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with cow_merge.progress("merge [b]a", 64 << 20) as advance:
        for _ in range(64):
            advance(1 << 20)
    out, err = capfd.readouterr()
    assert out == ""
    assert "merge [b]a" in err


def test_unknown_error_of_the_host_has_a_reason(made: Made) -> None:
    with (
        pytest.raises(HostError, match=r"^merge: odd$"),
        cow_merge.told("merge", made.cow),
    ):
        raise OSError("odd")


def test_new_header_is_what_create_would_write(run: Command, house: str, made: Made) -> None:
    run("cow", "merge", "--in-place", made.cow)
    cow.create(f"{house}/new.cow", made.backing)
    assert cow.read(f"{house}/new.cow") == cow.read(made.cow)


SMALL = """
set -eu
mount -t tmpfs -o size=1m tmpfs "$1/full"
cd "$1"
$2 -m umlctl cow merge a.cow full/image && exit 1 || echo "new: $? $(ls -A full)"
cp -p --sparse=always base.img full
$2 -m umlctl cow rebase a.cow full/base.img >&2
$2 -m umlctl cow merge --in-place a.cow && exit 1 || echo "in place: $? $(ls *.merge)"
mount -t tmpfs -o remount,size=16m tmpfs "$1/full"  # with no options as they stand in mountinfo
$2 -m umlctl cow check a.cow
cat full/base.img >merged
"""


def test_disk_that_is_full_in_the_middle_costs_nothing(house: str) -> None:
    made = make(house, 8192, range(100, 8000))
    os.truncate(made.backing, 0)
    os.truncate(made.backing, 8192 * 512)
    os.utime(made.backing, (MTIME, MTIME))
    os.mkdir(f"{house}/full")
    own = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
    done = subprocess.run(
        [*own, "sh", "-c", SMALL, "sh", house, sys.executable],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout == (
        "new: 7 \nin place: 7 a.cow.merge\na.cow is sound, and fits its backing file\n"
    ), done
    assert done.stderr.count("No space left on device; make room there") == 2
    assert done.stderr.count("nothing is lost: `umlctl cow check a.cow` finishes it") == 1
    expected = bytes(100 * 512) + made.disk[100 * 512 : 8000 * 512] + bytes(192 * 512)
    assert read(f"{house}/merged") == expected
    assert [name for name in os.listdir(house) if name.startswith("a.cow")] == ["a.cow"]
