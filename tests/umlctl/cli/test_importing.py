from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from umlctl import exitcodes
from umlctl.definitions import files

if TYPE_CHECKING:
    from tests.umlctl.cli.conftest import Started

XL = "name = 'web'\nmemory = 64\nuuid = 'x'\ndisk = ['w.img,,xvda']\n"
TEXT = '# Read from w.cfg, by umlctl import\nmem = "64M"\nroot = "/dev/w.img"\n'
LEFT = "w.cfg:3: uuid = 'x': not carried over: a guest is known by its name"


@pytest.fixture(autouse=True)
def _file(started: Started) -> None:
    Path("w.cfg").write_text(XL)


def test_definition_is_printed_and_what_is_left_is_said(started: Started) -> None:
    assert started.main("import", "xl", "w.cfg") == 0
    assert started.out == TEXT
    assert started.err == f"umlctl: {LEFT}\n"
    assert files.names() == []


def test_what_was_printed_is_defined(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    assert started.main("define", "-", "web") == 0
    assert Path(files.own_path("web")).read_text() == TEXT


def test_guest_is_defined_by_its_name_and_never_replaces_one(started: Started) -> None:
    assert started.main("import", "xl", "w.cfg", "--define") == 0
    path = files.own_path("web")
    assert started.out == f"web is defined in {path}\n"
    assert LEFT in started.err
    assert Path(path).read_text() == TEXT
    assert started.main("import", "xl", "w.cfg", "--define") == exitcodes.USAGE
    assert "web is defined already" in started.err
    assert started.main("import", "xl", "w.cfg", "--define", "--name", "other") == 0
    assert files.names() == ["other", "web"]


def test_guest_without_a_name_is_called_as_its_file(started: Started) -> None:
    Path("mail.cfg").write_text("memory = 64")
    assert started.main("import", "xl", "mail.cfg", "--define") == 0
    Path("a b.cfg").write_text("memory = 64")
    assert started.main("import", "xl", "a b.cfg", "--define") == exitcodes.USAGE
    assert "it has no name: --name NAME gives it one" in started.err
    assert started.main("import", "vkernel", "--define", "--", "-s") == exitcodes.USAGE
    assert started.main("import", "xl", "w.cfg", "--name", "a b") == exitcodes.USAGE
    assert "give another --name" in started.err
    assert files.names() == ["mail"]


def test_all_of_it_is_there_as_json(started: Started) -> None:
    assert started.main("import", "xl", "w.cfg", "--json") == 0
    assert json.loads(started.out) == {
        "name": "web",
        "file": None,
        "values": {"mem": "64M", "root": "/dev/w.img"},
        "text": TEXT,
        "left": [
            {
                "at": "w.cfg:3",
                "given": "uuid = 'x'",
                "why": "a guest is known by its name",
                "instead": None,
                "changed": False,
            }
        ],
    }
    assert started.err == ""
    assert started.main("import", "linux", "--json", "--define", "--", "umid=u", "con0=pts") == 0
    found = json.loads(started.out)
    assert found["file"] == files.own_path("u")
    assert "umlctl console" in found["left"][0]["instead"]


def test_command_lines_are_read_from_here(started: Started) -> None:
    here = Path.cwd()
    assert started.main("import", "linux", "--", "linux", "ubd0=a", "quiet", "umid=u") == 0
    assert f'root = "{here}/a"\nappend = ["quiet"]\n' in started.out
    assert started.out.startswith("# Read from linux ubd0=a quiet umid=u, by umlctl import\n")
    assert started.main("import", "vkernel", "--", "-U", "-m", "64m", "-r", "b") == 0
    assert started.out.endswith(f'mem = "64M"\nroot = "{here}/b"\n')
    for form in ("linux", "vkernel"):
        assert started.main("import", form) == exitcodes.USAGE
        assert f"there is nothing to read: umlctl import {form} -- ARGUMENT..." in started.err
        assert started.main("import", form, "--", "-s", "") == exitcodes.USAGE
        assert "argument 2 is empty" in started.err


def test_standard_input_is_a_file(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    xml = b"<domain type='uml'><name>demo</name><vcpu>x</vcpu></domain>"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(xml)))
    assert started.main("import", "libvirt", "-") == 0
    assert started.err == "umlctl: standard input:1: <vcpu>x: not carried over: it is no number\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"import os\nos.system('touch /tmp/ran')", "w.cfg:1: import os: this is Python"),
        (b"a = '\xff'", "w.cfg:1: a byte that is no UTF-8"),
        (b"#" * 70000, "w.cfg: it has more than 65536 bytes: that is no configuration of a guest"),
    ],
)
def test_what_is_no_such_file_is_an_error(started: Started, text: bytes, said: str) -> None:
    Path("w.cfg").write_bytes(text)
    assert started.main("import", "xl", "w.cfg") == exitcodes.USAGE
    assert started.err.startswith(f"umlctl: {said}")
    assert started.out == ""


def test_file_that_is_not_there_is_an_error(started: Started) -> None:
    assert started.main("import", "xl", "none.cfg") == exitcodes.USAGE
    assert started.err == "umlctl: there is no file none.cfg\n"
    assert started.main("import", "libvirt", ".") == exitcodes.USAGE


def test_nothing_that_is_read_acts_on_a_terminal(started: Started) -> None:
    Path("w.cfg").write_text("a\x1b]0;x\x07 = 1")
    assert started.main("import", "xl", "w.cfg") == exitcodes.USAGE
    assert "\x1b" not in started.err
    words = ("linux", "con0=\x1b[2J", "x=\x1b[2J")
    assert started.main("import", "linux", "--", *words) == 0
    assert "\x1b" not in started.err + started.out
