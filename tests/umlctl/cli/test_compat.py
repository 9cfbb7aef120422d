from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

import pytest

from umlctl import exitcodes
from umlctl.compat.programs import PROGRAMS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.umlctl.cli.conftest import Started


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where links are to go, beside an installed umlctl."""
    script = tmp_path / "umlctl"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(script), "compat"])
    return tmp_path / "bin"


def test_links_are_made_and_said(started: Started, directory: Path) -> None:
    assert started.main("compat", str(directory)) == exitcodes.OK
    for name in PROGRAMS:
        assert f"{directory}/{name}" in started.out
        assert os.readlink(directory / name) == f"{directory.parent}/umlctl"
    assert f"scripts find them with PATH={directory}:$PATH" in started.err
    assert started.main("compat", str(directory), "--json") == exitcodes.OK
    assert json.loads(started.out)[0] == {
        "name": "uml_mconsole",
        "path": f"{directory}/uml_mconsole",
        "target": f"{directory.parent}/umlctl",
        "done": "there",
    }


def test_directory_of_the_path_needs_no_word(
    started: Started, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"/usr/bin:{directory}")
    assert started.main("compat", str(directory)) == exitcodes.OK
    assert "scripts find them" not in started.err


def test_what_is_in_the_way_is_named(started: Started, directory: Path) -> None:
    directory.mkdir()
    (directory / "uml_mconsole").write_text("mine")
    assert started.main("compat", str(directory)) == exitcodes.FAILED
    assert f"{directory}/uml_mconsole: there already, and no link to umlctl" in started.err
    assert os.listdir(directory) == ["uml_mconsole"]


def test_links_are_removed(started: Started, directory: Path) -> None:
    assert started.main("compat", str(directory)) == exitcodes.OK
    assert started.main("compat", "--remove", str(directory), "--json") == exitcodes.OK
    assert {each["done"] for each in json.loads(started.out)} == {"removed"}
    assert os.listdir(directory) == []
    assert started.main("compat", "--remove", str(directory)) == exitcodes.OK
    assert f"there are no links of umlctl in {directory}" in started.err


def test_usage(started: Started) -> None:
    assert started.main("compat") == exitcodes.USAGE
    assert started.main("compat", "") == exitcodes.USAGE
