from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from umlctl.errors import HostError
from umlctl.storage import overlay_image

if TYPE_CHECKING:
    from pathlib import Path


def test_image_is_made_once(tmp_path: Path) -> None:
    image = overlay_image.prepare(str(tmp_path))
    assert os.listdir(tmp_path) == ["overlay.img"]
    with open(image, "rb") as file:
        file.seek(1080)
        assert file.read(2) == b"\x53\xef"  # the magic number of ext4
    assert os.stat(image).st_blocks * 512 < 1 << 30
    before = os.stat(image).st_mtime_ns
    assert overlay_image.prepare(str(tmp_path)) == image
    assert os.stat(image).st_mtime_ns == before


def test_nothing_is_left_of_one_that_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overlay_image, "SIZE_BYTES", 10)
    with pytest.raises(HostError, match="cannot make"):
        overlay_image.prepare(str(tmp_path))
    assert os.listdir(tmp_path) == []
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(HostError, match="e2fsprogs"):
        overlay_image.prepare(str(tmp_path))
