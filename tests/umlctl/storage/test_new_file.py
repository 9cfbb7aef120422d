from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest

from umlctl.storage.new_file import new_file

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=["nameless", "named"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As file systems do it that can have files without a name, and as others do."""
    if request.param == "nameless":
        return
    real = os.open

    def open_(path: str, flags: int, *rest: Any, **more: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return real(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", open_)


@pytest.mark.usefixtures("way")
def test_file_is_there_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new"
    with new_file(str(path), 0o640) as descriptor:
        os.write(descriptor, b"data")
        assert not path.exists()
    assert path.read_bytes() == b"data"
    assert path.stat().st_mode & 0o777 == 0o640 & ~_umask()
    assert path.stat().st_nlink == 1
    assert os.listdir(tmp_path) == ["new"]


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


@pytest.mark.usefixtures("way")
def test_nothing_is_left_of_one_that_was_not_filled(tmp_path: Path) -> None:
    def fill() -> None:
        with new_file(f"{tmp_path}/new", 0o600) as descriptor:
            os.write(descriptor, b"da")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill()
    assert os.listdir(tmp_path) == []


@pytest.mark.usefixtures("way")
def test_file_that_is_there_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    with pytest.raises(FileExistsError), new_file(f"{tmp_path}/old", 0o600):
        pytest.fail("it was to be refused at once")
    with pytest.raises(FileExistsError), new_file(f"{tmp_path}/new", 0o600):
        (tmp_path / "new").write_text("another's")
    assert (tmp_path / "new").read_text() == "another's"
    assert sorted(os.listdir(tmp_path)) == ["new", "old"]


def test_name_without_a_directory_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with new_file("new", 0o600):
        pass
    assert os.listdir(tmp_path) == ["new"]


def test_directory_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), new_file(f"{tmp_path}/none/new", 0o600):
        pass
