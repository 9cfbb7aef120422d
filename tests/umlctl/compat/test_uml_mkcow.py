"""Side by side with the original."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from umlctl.compat import uml_mkcow
from umlctl.storage import cow


@pytest.fixture(autouse=True)
def _here(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    os.makedirs(f"{house}/w/real")
    monkeypatch.chdir(f"{house}/w")
    os.symlink("real", "link")
    for name, size in (("b.img", 1 << 20), ("real/b.img", 5000), ("small.img", 512)):
        Path(name).write_bytes(b"\1" * size)
    assert uml_mkcow.main(["uml_mkcow", "old.cow", "b.img"]) == 0
    Path("text").write_text("no COW file")
    os.utime("b.img", (1, 1_600_000_000))
    os.utime("real/b.img", (1, 1_700_000_000))


def state() -> dict[str, bytes]:
    """The files of this directory."""
    return {path: Path(path).read_bytes() for path in sorted(os.listdir()) if os.path.isfile(path)}


@pytest.mark.parametrize(
    "words",
    [
        *("", "x", "-f", "-f x", "new.cow b.img", "old.cow b.img", "-f old.cow b.img"),
        *("-f new.cow b.img", "link/new.cow link/b.img", "new.cow ./real/../b.img"),
        *("new.cow small.img", "new.cow b.img more words", "nowhere/new.cow b.img"),
        *("-x b.img", "b.img -f", "new.cow old.cow", "link b.img", "-f text b.img", "new.cow /b"),
    ],
)
def test_same_as_the_original(capfd: pytest.CaptureFixture[str], house: str, words: str) -> None:
    shutil.copytree(f"{house}/w", f"{house}/s", symlinks=True)
    code = uml_mkcow.main(["/opt/uml_mkcow", *words.split()])
    ours = capfd.readouterr()
    after = state()
    shutil.rmtree(f"{house}/w", ignore_errors=True)  # the paths in headers are to be the same
    shutil.copytree(f"{house}/s", f"{house}/w", symlinks=True, copy_function=shutil.copy2)
    os.chdir(f"{house}/w")
    stock = subprocess.run(
        ["uml_mkcow", *words.split()], capture_output=True, text=True, check=False
    )
    # A diagnostic of the original on standard output is no answer.
    assert (code, ours.out) == (stock.returncode, ""), stock
    if code == 0 or "usage" in stock.stderr:
        assert after == state()
    if "usage" in stock.stderr:
        assert ours.err == stock.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("new.cow nix.img", "mtime request failed"),
        ("new.cow nowhere/b.img", "mtime request failed"),
        ("new.cow real", "is a directory"),
        ("new.cow /dev/null", "neither a file nor a block device"),
        ("-f b.img b.img", "b.img itself, which would be lost"),
        ("old.cow b.img", "open COW file: File exists"),
    ],
)
def test_nothing_is_left_of_what_failed(
    capsys: pytest.CaptureFixture[str], words: str, said: str
) -> None:
    """Other than of the original."""
    before = state()
    assert uml_mkcow.main(["uml_mkcow", *words.split()]) == 1
    assert said in capsys.readouterr().err
    assert state() == before


def test_chain_of_cow_files_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert uml_mkcow.main(["uml_mkcow", "new.cow", "old.cow"]) == 0
    assert "old.cow is a COW file itself" in capsys.readouterr().err
    header = cow.read("new.cow")
    assert header is not None
    assert header.backing == os.path.realpath("old.cow")


def test_interrupted_merge_is_not_written_over(capsys: pytest.CaptureFixture[str]) -> None:
    from umlctl.storage import journal

    Path(journal.journal_of("old.cow")).write_text("{}")
    assert uml_mkcow.main(["uml_mkcow", "-f", "old.cow", "b.img"]) == 1
    assert "`umlctl cow check old.cow` finishes it" in capsys.readouterr().err
