from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from umlctl.errors import HostError, Refused
from umlctl.execution import copying as module
from umlctl.execution import in_guest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from umlctl.execution.session import Streams

    Says = Callable[..., None]


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> Says:
    """Sets what a script in a guest prints, and its status."""

    def become(output: list[bytes], error: bytes = b"", code: int = 0) -> None:
        def run(_guest: str, _words: list[str], own: Streams, **_: object) -> int:
            for piece in output:
                own.takers[0](piece)
            own.takers[1](error)
            return code

        monkeypatch.setattr(in_guest, "run", run)

    return become


def test_file_comes_with_its_mode_however_it_is_cut(says: Says, tmp_path: Path) -> None:
    for pieces in ([b"750\ndata\n"], [b"7", b"50", b"\nda", b"ta\n"], [b"750\n", b"data\n"]):
        says(pieces)
        assert module.get("demo", "/x/name", str(tmp_path)) == f"{tmp_path}/name"
        assert (tmp_path / "name").read_bytes() == b"data\n"
        assert (tmp_path / "name").stat().st_mode & 0o777 == 0o750 & ~module._umask()


def test_file_that_is_not_whole_is_not_there(says: Says, tmp_path: Path) -> None:
    says([b"644\nhalf"], b"cat: /x: I/O error\n", 1)
    with pytest.raises(Refused, match="whole: cat: /x: I/O error"):
        module.get("demo", "/x", str(tmp_path / "here"))
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_file_is_not_copied(says: Says, tmp_path: Path) -> None:
    says([], b"sh: no space\n", 1)
    (tmp_path / "file").write_text("x")
    with pytest.raises(Refused, match="nothing is at demo:/there of it: sh: no space"):
        module.put("demo", str(tmp_path / "file"), "/there")
    with pytest.raises(HostError, match=r"no regular file|s a directory"):
        module.put("demo", str(tmp_path), "/there")
    with pytest.raises(HostError, match="no such directory"):
        module.get("demo", "/x", f"{tmp_path}/none/", several=True)


def test_umask_is_that_of_this_process() -> None:
    before = os.umask(0o027)
    try:
        assert module._umask() == 0o027
    finally:
        os.umask(before)


@pytest.mark.parametrize(
    ("text", "known"),
    [(b"644", True), (b"4755", True), (b"", False), (b"88", False), (b"x", False)],
)
def test_mode_is_an_octal_number_or_a_usual_one(text: bytes, known: bool) -> None:
    assert module._is_octal(text) == known
