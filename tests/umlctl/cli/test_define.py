from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from umlctl import exitcodes
from umlctl.definitions import files
from umlctl.guest.schema import schema

if TYPE_CHECKING:
    import pytest

    from tests.umlctl.cli.conftest import Started


def test_file_is_kept_as_it_stands(started: Started) -> None:
    text = '# mine\nmem = "1G"  # enough\n'
    Path("web.toml").write_text(text)
    assert started.main("define", "web.toml") == 0
    path = files.own_path("web")
    assert started.out == f"web is defined in {path}\n"
    assert Path(path).read_text() == text
    Path("web.toml").write_text("")
    assert started.main("define", "web.toml") == 0
    assert started.out == f"web is defined anew in {path}\n"
    assert started.main("define", "web.toml", "web2") == 0
    assert files.names() == ["web", "web2"]


def test_wrong_file_replaces_nothing(started: Started) -> None:
    files.save("web", 'mem = "1G"\n')
    for text, said in (
        ("\nmem = 1", "web.toml:2: mem: "),
        ('nic = ["x"]', "web.toml:1: nic: "),
        ('kernel = "./linux"', "web.toml:1: kernel: ./linux is relative"),
        ('extends = "web"', "web.toml:1: extends: web extends itself in the end"),
    ):
        Path("web.toml").write_text(text)
        assert started.main("define", "web.toml") == exitcodes.USAGE
        assert started.err.startswith(f"umlctl: {said}")
    assert Path(files.own_path("web")).read_text() == 'mem = "1G"\n'


def test_definition_comes_from_standard_input(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'mem = "1G"\n')))
    assert started.main("define", "-", "web") == 0
    assert Path(files.own_path("web")).read_text() == 'mem = "1G"\n'
    assert started.main("define", "-") == exitcodes.USAGE
    assert "standard input has no name: umlctl define - NAME" in started.err
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"x")))
    assert started.main("define", "-", "web") == exitcodes.USAGE
    assert "umlctl: standard input:1: x: " in started.err


def test_name_is_one_of_a_guest(started: Started) -> None:
    Path("bad name.toml").write_text("")
    assert started.main("define", "bad name.toml") == exitcodes.USAGE
    assert "umlctl define FILE NAME gives it another" in started.err
    assert started.main("define", "bad name.toml", "good") == 0
    assert started.main("define") == exitcodes.USAGE
    assert started.main("define", "web.toml") == exitcodes.USAGE
    assert "there is no file web.toml" in started.err


def test_schema_is_printed(started: Started) -> None:
    assert started.main("define", "--schema") == 0
    assert json.loads(started.out) == json.loads(json.dumps(schema()))
    assert started.main("define", "--schema", "web.toml") == exitcodes.USAGE


def test_definition_is_removed(started: Started) -> None:
    path = files.save("web", "")
    assert started.main("undefine", "web") == 0
    assert started.out == f"web is not defined any more; {path} is removed\n"
    assert started.main("undefine", "web") == exitcodes.NO_GUEST
    assert started.main("undefine", "./web.toml") == exitcodes.USAGE
    assert "remove that" in started.err
