from __future__ import annotations

import ctypes
import os
import subprocess
from typing import TYPE_CHECKING

from umlctl.host import birth_time

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_birth_is_that_of_the_file_and_stays(tmp_path: Path) -> None:
    """As stat(1) says it, which says 0 or `-` where the file system does not know."""
    path = tmp_path / "a"
    path.touch()
    told = subprocess.run(
        ["stat", "-c", "%W", path], capture_output=True, text=True, check=True, timeout=60
    ).stdout.strip()
    born = birth_time.of(str(path))
    assert str(born // 10**9) == told.replace("-", "0")
    path.write_text("changed")
    os.utime(path, (1, 1))
    assert birth_time.of(str(path)) == born


def test_what_is_not_known_is_0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert birth_time.of(str(tmp_path / "missing")) == 0
    assert birth_time.of("/proc/self/status") == 0
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: object())
    assert birth_time.of(str(tmp_path)) == 0
