from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from umlctl.errors import HostError
from umlctl.storage import other_fs

if TYPE_CHECKING:
    from pathlib import Path


def test_file_is_made_by_the_program_of_its_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "mkfs.xfs"
    program.write_text('#!/bin/sh\nfor last; do :; done\necho "$*" >"$last"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    other_fs.make(f"{tmp_path}/a", "xfs", 400 << 20, "a-long-label-it-is")
    assert (tmp_path / "a").read_text() == f"-q -f -L a-long-label {tmp_path}/a\n"
    program.write_text("#!/bin/sh\necho first\necho no such thing >&2\nexit 1\n")
    with pytest.raises(HostError, match=r"^mkfs.xfs: no such thing$"):
        other_fs.make(f"{tmp_path}/b", "xfs", 400 << 20, "b")


def test_what_cannot_be_made_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HostError, match="btrfs takes 128M at least, and 100M was asked for"):
        other_fs.make(f"{tmp_path}/a", "btrfs", 100 << 20, "a")
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(HostError, match=r"no mkfs.btrfs: apt install btrfs-progs"):
        other_fs.make(f"{tmp_path}/a", "btrfs", 200 << 20, "a")
    assert os.listdir(tmp_path) == []
