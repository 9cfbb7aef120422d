"""Side by side with the original."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests import cows
from umlctl.compat import uml_moo
from umlctl.storage import cow, journal
from umlctl.storage.cow_file import open_cow

WRITTEN = (0, 1, 7, 8, 63, 64, 65, 100, 255)


def run(*words: str) -> int:
    return uml_moo.main(["/opt/uml_moo", *words])


def stock(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["uml_moo", *words], capture_output=True, text=True, check=False)


@pytest.fixture(autouse=True)
def _here(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkdir(f"{house}/w")
    monkeypatch.chdir(f"{house}/w")


@pytest.fixture
def made(house: str) -> cows.Made:
    return cows.make(f"{house}/w", 256, WRITTEN, discarded=(64,))


@pytest.mark.parametrize("kind", ["2", "3", "3 with sectors"])
def test_disk_is_the_same(house: str, kind: str) -> None:
    made = cows.make(f"{house}/w", 256, WRITTEN, kind=kind, discarded=(64,))
    assert run(made.cow, "ours") == 0
    assert stock(made.cow, "stock").returncode == 0
    assert cows.read("ours") == cows.read("stock") == made.disk
    assert os.stat("ours").st_mode == os.stat("stock").st_mode
    assert cows.read(made.backing) == made.below


def test_usage_of_in_place(capsys: pytest.CaptureFixture[str]) -> None:
    """The original ends with SIGSEGV."""
    assert run("-d") == 1
    assert capsys.readouterr() == ("", uml_moo.USAGE.format("uml_moo"))


@pytest.mark.parametrize("kind", cows.KINDS)
def test_every_kind_is_merged_whole(house: str, kind: str) -> None:
    """The original cuts what is behind the last whole sector."""
    made = cows.make(f"{house}/w", 256, WRITTEN, kind=kind, more=100)
    assert run(made.cow, "ours") == 0
    assert cows.read("ours") == made.disk


@pytest.mark.parametrize("words", [("-d",), ("-d", "-b", "base.img"), ("-b", "base.img", "-d")])
def test_in_place(made: cows.Made, words: tuple[str, ...]) -> None:
    """The original leaves the COW file as it was, and does not know the last form."""
    shutil.copytree(".", "../s", copy_function=shutil.copy2)
    assert run(*words, "a.cow") == 0
    ours = cows.read(made.backing)
    with open_cow(made.cow) as of:
        assert (of.written(), cow.mismatch(of.header, made.backing)) == (0, "")
    shutil.copy2("../s/a.cow", "a.cow")
    shutil.copy2("../s/base.img", "base.img")
    assert stock("-d", "-b", "base.img", "a.cow").returncode == 0
    assert ours == cows.read(made.backing) == made.disk


@pytest.mark.parametrize(
    "words",
    [
        *("", "a.cow", "a.cow o p", "-d a.cow o", "-b", "-b base.img", "-b base.img a.cow"),
        *("nix o", "text o", "short o", "base.img o", "-d nix", "-d base.img", "-x", "-h", "."),
        *("-b nix a.cow o", "-b a.cow a.cow o", "changed.cow o", "grown.cow o", "lost.cow o"),
        *(
            "-d changed.cow",
            "-d lost.cow",
            "a.cow nowhere/o",
            "a.cow a.cow/o",
            "-b base.img a.cow o",
        ),
        *("lost.cow o", "-b base.img lost.cow o", "a.cow old", "a.cow .", "-d -b base.img a.cow"),
    ],
)
def test_same_as_the_original(
    made: cows.Made, house: str, capfd: pytest.CaptureFixture[str], words: str
) -> None:
    Path("text").write_text("no COW file")
    Path("old").write_text("what was there")
    Path("short").write_bytes(Path(made.cow).read_bytes()[:100])
    for name, size, mtime in (("changed", 131072, 5), ("grown", 4096, cows.MTIME)):
        Path(f"{name}.img").write_bytes(bytes(size))
        os.utime(f"{name}.img", (mtime, mtime))
        cows.make(f"{house}/w", 256, WRITTEN, name=name, over=f"{house}/w/base.img")
        header = cow.read(f"{name}.cow")
        assert header is not None
        with open(f"{name}.cow", "r+b") as file:
            file.write(cow.encode(header._replace(backing=f"{house}/w/{name}.img")))
    header = cow.read(made.cow)
    assert header is not None
    shutil.copy("a.cow", "../lost.cow")
    with open("../lost.cow", "r+b") as file:
        file.write(cow.encode(header._replace(backing="/nowhere/base.img")))
    for name in ("changed.cow", "grown.cow"):  # others over a backing file are ours alone to mind
        shutil.move(name, f"../{name}")
    for name in ("changed.cow", "grown.cow", "lost.cow"):
        if name in words:
            shutil.move(f"../{name}", name)
    shutil.copytree(".", "../s", copy_function=shutil.copy2)
    code = run(*words.split())
    ours = capfd.readouterr()
    after = {path: Path(path).read_bytes() for path in os.listdir() if path != "a.cow"}
    for path in os.listdir():
        os.unlink(path)
    shutil.copytree("../s", ".", copy_function=shutil.copy2, dirs_exist_ok=True)
    theirs = stock(*words.split())
    # A diagnostic of the original on standard output is no answer.
    assert (code, ours.out) == (theirs.returncode, ""), theirs
    assert after == {path: Path(path).read_bytes() for path in os.listdir() if path != "a.cow"}
    if "usage" in theirs.stderr:
        assert ours.err == theirs.stderr
    if "mismatch" in theirs.stderr:
        assert ours.err.startswith(theirs.stderr)


def test_nothing_is_lost_by_a_name_that_is_taken(
    made: cows.Made, capsys: pytest.CaptureFixture[str]
) -> None:
    """The original empties each of them first."""
    os.link(made.backing, "other.img")
    for name in ("a.cow", "base.img", "other.img"):
        before = cows.read(name)
        assert run("a.cow", name) == 1
        assert "which would be lost" in capsys.readouterr().err
        assert cows.read(name) == before
    Path("old").write_text("what was there")
    assert run("-b", "nix", "a.cow", "old") == 1
    assert Path("old").read_text() == "what was there"


def test_backing_file_that_others_need_is_not_merged_into(
    made: cows.Made, house: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cows.make(f"{house}/w", 256, WRITTEN, name="b", over=made.backing)
    assert run("-d", "a.cow") == 1
    assert "b.cow, which no kernel would take any more" in capsys.readouterr().err
    assert cows.read(made.backing) == made.below
    assert run("a.cow", "new") == 0


def test_file_that_a_guest_has_is_not_merged(
    made: cows.Made, capsys: pytest.CaptureFixture[str]
) -> None:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        with open(made.cow, "r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX)
            os.close(writer)
            signal.pause()
    os.close(writer)
    try:
        assert os.read(reader, 1) == b""
        assert run("a.cow", "new") == run("-d", "a.cow") == 1
        assert "is locked by" in capsys.readouterr().err
    finally:
        os.close(reader)
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    assert not os.path.exists("new")


def test_merge_that_was_interrupted_is_finished_in_place_alone(
    made: cows.Made, capsys: pytest.CaptureFixture[str]
) -> None:
    header = cow.read(made.cow)
    assert header is not None
    journal.begin_merge(made.cow, header)
    assert run("a.cow", "new") == 1
    assert "`umlctl cow check" in capsys.readouterr().err
    assert run("-d", "a.cow") == 0
    assert cows.read(made.backing) == made.disk
