from __future__ import annotations

import fcntl
import threading
from typing import TYPE_CHECKING

import pytest

from umlctl.errors import HostError
from umlctl.kernels.cache_lock import NEW, alone

if TYPE_CHECKING:
    from pathlib import Path


def test_what_was_left_half_made_is_removed(tmp_path: Path) -> None:
    (tmp_path / f"{NEW}old").mkdir()
    (tmp_path / "whole").mkdir()
    with alone(tmp_path, pytest.fail, "fetch"):
        assert sorted(each.name for each in tmp_path.iterdir()) == [".lock", "whole"]


def test_another_is_waited_for_and_that_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    with (tmp_path / ".lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        leaves = threading.Event()

        def say(text: str) -> None:
            said.append(text)
            leaves.set()

        def leave() -> None:
            leaves.wait(60)
            fcntl.flock(other, fcntl.LOCK_UN)

        thread = threading.Thread(target=leave)
        thread.start()
        with alone(tmp_path, say, "fetch"):
            assert said == ["waiting for another fetch"]
        thread.join(60)


def test_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(HostError, match=r"cannot write to .*/file/below: .*XDG_CACHE_HOME"),
        alone(tmp_path / "file" / "below", pytest.fail, "fetch"),
    ):
        pass
