from __future__ import annotations

import os

import pytest

from umlctl.host.paths import state_dir
from umlctl.shell.history import LineHistory


def test_history_is_private_and_forgets_what_begins_with_a_blank(house: str) -> None:
    told: list[str] = []
    history = LineHistory("demo", told.append)
    history.append_string("version")
    history.append_string(" secret")
    path = f"{state_dir()}/history/demo"
    assert os.stat(path).st_mode & 0o777 == 0o600
    for directory in (state_dir(), f"{state_dir()}/history"):
        assert os.stat(directory).st_mode & 0o777 == 0o700
    with open(path) as file:
        text = file.read()
    assert "+version" in text
    assert "secret" not in text
    assert list(LineHistory("demo", told.append).load_history_strings()) == ["version"]
    assert told == []


@pytest.mark.parametrize("why", ["a full disk", "no directory", "no file"])
def test_history_that_cannot_be_kept_is_told_once_and_goes_on(house: str, why: str) -> None:
    directory = f"{state_dir()}/history"
    os.makedirs(os.path.dirname(directory))
    if why == "no directory":
        with open(directory, "w"):
            pass
    else:
        os.mkdir(directory)
        if why == "no file":
            os.mkdir(f"{directory}/demo")
        else:
            os.symlink("/dev/full", f"{directory}/demo")
    told: list[str] = []
    history = LineHistory("demo", told.append)
    if why != "a full disk":
        assert list(history.load_history_strings()) == []
    history.append_string("version")
    history.append_string("stop")
    (text,) = told
    assert text.startswith("what is typed here is forgotten when the shell ends: ")
    assert history.get_strings() == ["version", "stop"]


def test_without_a_place_for_history_there_is_one_all_the_same(
    house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UMLCTL_DIR", "relative")
    told: list[str] = []
    history = LineHistory("demo", told.append)
    history.append_string("version")
    assert history.get_strings() == ["version"]
    assert "has to begin with /" in told[0]
