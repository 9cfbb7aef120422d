from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from umlctl.compat import expected_place
from umlctl.errors import GuestInUse
from umlctl.guest.kernel_line import Told
from umlctl.host import paths

if TYPE_CHECKING:
    from pathlib import Path


def test_place_is_the_one_that_the_words_name(
    house: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert expected_place.find(Told("a", "", ""), "a") == ""
    assert expected_place.find(Told("a", "here", ""), "a") == f"{tmp_path}/here/a"
    assert expected_place.find(Told("a", f"{paths.home()}/.uml/", ""), "a") == ""


def test_place_of_a_kernel_that_runs_is_not_taken(house: str, tmp_path: Path) -> None:
    told = Told("a", str(tmp_path), "")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "pid").write_text(f"{os.getpid()}\n")
    with pytest.raises(GuestInUse, match="belongs to a kernel that runs"):
        expected_place.find(told, "a")
    (tmp_path / "a" / "pid").write_text(f"{1 << 30}\n")
    assert expected_place.find(told, "a") == f"{tmp_path}/a"


def test_place_has_the_socket_and_the_pid_and_is_left_as_it_was(house: str, tmp_path: Path) -> None:
    place = tmp_path / "x" / "a"
    expected_place.make(str(place), "a")
    assert (place / "pid").read_text() == f"{os.getpid()}\n"
    assert os.readlink(place / "mconsole") == paths.guest_socket("a")
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    expected_place.make(str(place), "a")  # of a guest that has died
    expected_place.leave(str(place), "a")
    assert not place.exists()
    (place / "mconsole").parent.mkdir()
    (place / "mconsole").write_text("somebody else's")
    expected_place.leave(str(place), "a")
    assert (place / "mconsole").exists()
