from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.compat.disk_paths import absolute

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    return os.path.realpath(tmp_path)


@pytest.mark.parametrize("strictly", [True, False])
@pytest.mark.parametrize(
    ("files", "meant"),
    [
        ("a.img", "{0}/a.img"),
        ("", "{0}/"),
        ("link/a.img", "{0}/real/a.img"),
        ("./a.img", "{0}/a.img"),
        ("real/../a.img", "{0}/a.img"),
        ("a.cow,b.img", "{0}/a.cow,{0}/b.img"),
        ("link/a.cow,/etc/fstab", "{0}/real/a.cow,/etc/fstab"),
        ("a,b,c", "{0}/a,{0}/b,c"),
        ("/vmlinuz", "/vmlinuz"),
        ("/nowhere/a.img", "/nowhere/a.img"),
    ],
)
def test_files_are_those_of_this_directory(
    here: str, files: str, meant: str, strictly: bool
) -> None:
    for device in ("config ubd1", "config ubd1rc", "config  \tubdb", "configubd1"):
        found = absolute(f"{device}={files}", strictly=strictly)
        assert found == f"{device}={meant.format(here)}"


def test_letter_leaves_what_the_original_cannot_find(
    here: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert absolute("config ubd1=no/a", strictly=True) == "config ubd1=no/a"
    assert absolute("config ubd1=/a", strictly=True) == "config ubd1=/a"
    assert capsys.readouterr().err == (
        "absolutize : Can't cd to 'no', No such file or directory\n"
        "absolutize : Can't cd to '', No such file or directory\n"
    )
    assert absolute("config ubd1=no/a", strictly=False) == f"config ubd1={here}/no/a"
    assert capsys.readouterr().err == ""


def test_kernel_has_a_second_separator(here: str) -> None:
    assert absolute("config ubd1=a:b", strictly=False) == f"config ubd1={here}/a:{here}/b"
    assert absolute("config ubd1=a:b", strictly=True) == f"config ubd1={here}/a:b"


@pytest.mark.parametrize(
    "text",
    [
        *("config ubd1", "config mem=1", "remove ubd1", "log config ubd1=a", "", "config"),
        *("config vec0:transport=tap", " config ubd1=a", "confi ubd1=a"),
    ],
)
def test_other_commands_stay(text: str) -> None:
    assert absolute(text, strictly=False) == absolute(text, strictly=True) == text


@given(st.text(max_size=40), st.booleans())
def test_command_keeps_its_beginning_and_says_the_same_again(text: str, strictly: bool) -> None:
    text = "config ubd1=" + text.replace("\0", "")
    once = absolute(text, strictly=strictly)
    assert once.startswith("config ubd1=")
    if "/" not in text:
        assert absolute(once, strictly=strictly) == once
