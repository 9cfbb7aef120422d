from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from umlctl.compat import lookup
from umlctl.host import paths

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "look-up"
"""Of no guest of this machine."""


def put(path: str) -> str:
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    Path(path).write_text("")
    return path


def warning(path: str) -> str:
    return f"Warning: couldn't stat file: {path} - No such file or directory\n"


@pytest.fixture
def home(house: str, monkeypatch: pytest.MonkeyPatch) -> str:
    os.mkdir(f"{house}/w")
    os.mkdir(paths.run_dir(), 0o700)
    monkeypatch.chdir(f"{house}/w")
    monkeypatch.delenv(lookup.PATH_VARIABLE, raising=False)
    return os.environ["HOME"]


@pytest.mark.parametrize("strictly", [True, False])
def test_each_look_up_that_finds_nothing_is_told(
    home: str, capsys: pytest.CaptureFixture[str], strictly: bool
) -> None:
    assert lookup.find(NAME, strictly=strictly) == ""
    assert capsys.readouterr().err == "".join(
        warning(path)
        for path in (f"{home}/.uml/{NAME}/mconsole", f"/tmp/uml/{NAME}/mconsole", NAME)
    )


PLACES: dict[str, Callable[[str], str]] = {
    "~/.uml": lambda home: f"{home}/.uml/{NAME}/mconsole",
    "ours": lambda _home: paths.guest_socket(NAME),
    "first of the variable": lambda home: f"{home}/first/{NAME}/mconsole",
    "second of the variable": lambda home: f"{home}/second/{NAME}/mconsole",
    "Netkit's": lambda home: f"{home}/.netkit/mconsole/{NAME}/mconsole",
    "the name": lambda _home: NAME,
}


def test_places_come_in_order(home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(lookup.PATH_VARIABLE, f"{home}/first::{home}/second")
    for place in reversed(PLACES.values()):
        path = put(place(home))
        assert lookup.find(NAME, strictly=False) == path


@pytest.mark.parametrize("place", list(PLACES))
def test_letter_knows_the_places_of_the_original(
    home: str, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setenv(lookup.PATH_VARIABLE, f"{home}/first")
    path = put(PLACES[place](home))
    found = lookup.find(NAME, strictly=True)
    assert found == (path if place in ("~/.uml", "the name") else "")


def test_directory_of_a_guest_is_taken_but_by_the_letter(home: str) -> None:
    path = put(f"{home}/some/{NAME}/mconsole")
    directory = os.path.dirname(path)
    assert lookup.find(directory, strictly=False) == path
    assert lookup.find(directory, strictly=True) == directory


def test_path_below_the_usual_place_is_looked_for_there_last(
    home: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"{home}/.uml/{NAME}/mconsole"
    assert lookup.find(name, strictly=True) == ""
    tried = [f"/tmp/uml/{name}/mconsole", name, f"{home}/.uml/{name}/mconsole"]
    assert capsys.readouterr().err == "".join(map(warning, tried))


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("name", ["", "a\0b", "x" * 5000, "/", ".", "\udcff"])
def test_odd_names_are_of_nobody(name: str) -> None:
    assert lookup.find(name, strictly=False) == ""


def test_without_a_home_there_is_no_usual_place(
    home: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put(f"{home}/.uml/{NAME}/mconsole")
    monkeypatch.delenv("HOME")
    assert lookup.find(NAME, strictly=False) == ""
    assert capsys.readouterr().err == warning(f"/tmp/uml/{NAME}/mconsole") + warning(NAME)


def test_guest_of_this_user_is_known_by_its_place(home: str) -> None:
    assert lookup.is_own(NAME, paths.guest_socket(NAME))
    public = put(paths.public_socket(NAME))
    assert not lookup.is_own(NAME, public)  # nothing was written down of it: a bare kernel
    put(f"{paths.record_dir(NAME)}/record.json")
    assert lookup.is_own(NAME, public)
    assert not lookup.is_own(NAME, f"{home}/.netkit/mconsole/{NAME}/mconsole")
    assert not lookup.is_own(public, public)
