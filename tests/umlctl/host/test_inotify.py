from __future__ import annotations

import errno
import select
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from umlctl.host.inotify import Watch

if TYPE_CHECKING:
    from pathlib import Path


def is_readable(watch: Watch) -> bool:
    return bool(select.select([watch], [], [], 0)[0])


def test_write_to_any_file_is_told_until_it_is_cleared(tmp_path: Path) -> None:
    files = [tmp_path / "a", tmp_path / "b"]
    with closing(Watch()) as watch:
        for file in files:
            file.touch()
            watch.add(str(file))
            watch.add(str(file))  # again
        assert not is_readable(watch)
        for file in files:
            file.write_text("more")
            assert is_readable(watch)
            watch.clear()
            assert not is_readable(watch)
        watch.clear()


def test_file_that_is_not_there_cannot_be_watched(tmp_path: Path) -> None:
    with closing(Watch()) as watch, pytest.raises(OSError, match="nothing") as caught:
        watch.add(str(tmp_path / "nothing"))
    assert caught.value.errno == errno.ENOENT


def test_it_is_closed_once() -> None:
    watch = Watch()
    watch.close()
    watch.close()
    assert watch.fileno() == -1
