from __future__ import annotations

import os
from pathlib import Path

import pytest

from umlctl.definitions import files, host_file
from umlctl.errors import HostError, UsageError
from umlctl.host import paths


@pytest.fixture
def places(house: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Where a user and the host write down what guests may have."""
    own, system = Path(house) / "u" / "config", Path(house) / "etc"
    for place in (own, system):
        place.mkdir(mode=0o755)
    monkeypatch.setattr(paths, "system_definitions_dir", lambda: f"{system}/guests")
    monkeypatch.setattr(files, "ROOT", os.getuid())
    return own / "umlctl.toml", system / "umlctl.toml"


def test_nothing_is_bounded_where_nothing_is_written(places: tuple[Path, Path]) -> None:
    assert host_file.load() is None


def test_users_file_cannot_have_more_than_the_hosts(places: tuple[Path, Path]) -> None:
    own, system = places
    own.write_text("[host]\nmax_guests = 9\n")
    found = host_file.load()
    assert found is not None
    assert (found.max_guests, found.place("max_guests")) == (9, f"{own}:2")
    system.write_text("[host]\nmax_guests = 3\n")
    found = host_file.load()
    assert found is not None
    assert (found.max_guests, found.place("max_guests")) == (3, f"{system}:2")


def test_file_that_cannot_be_trusted_or_read_lets_none_start(places: tuple[Path, Path]) -> None:
    own, system = places
    own.write_text("[host]\nmax_guests = many\n")
    with pytest.raises(UsageError, match=rf"{own}:2: max_guests"):
        host_file.load()
    own.write_text("")
    own.chmod(0o666)
    with pytest.raises(HostError, match=rf"{own}: refused, as others than you"):
        host_file.load()
    own.unlink()
    own.symlink_to("nowhere")
    with pytest.raises(UsageError, match=f"there is no file {own}$"):
        host_file.load()
    own.unlink()
    own.mkdir()
    with pytest.raises(UsageError, match=rf"{own} is no file, and a list of bounds is one"):
        host_file.load()
    own.rmdir()
    system.write_text("")
    system.chmod(0o664)
    with pytest.raises(HostError, match=rf"{system}: refused, as others than root"):
        host_file.load()


def test_places_are_the_users_and_the_hosts(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert paths.host_files() == [f"{house}/u/config/umlctl.toml"]
    monkeypatch.delenv("UMLCTL_DIR")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/c")
    assert paths.host_files() == ["/c/umlctl/umlctl.toml", "/etc/umlctl/umlctl.toml"]
    assert os.path.dirname(paths.host_files()[0]) == os.path.dirname(paths.definitions_dir())
