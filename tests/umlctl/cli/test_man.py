from __future__ import annotations

import os
import pty
import subprocess
import sys
import sysconfig
from pathlib import Path

import click
import pytest

from umlctl import exitcodes
from umlctl.cli import main, man
from umlctl.errors import HostError

COMMANDS = main.root.list_commands(click.Context(main.root))


@pytest.fixture
def reader(tmp_path: Path) -> Path:
    """A directory with a program that shows pages: it says what it was asked for."""
    program = tmp_path / "mandoc"
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    return tmp_path


def umlctl(*words: str, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "umlctl", *words],
        env=os.environ | {"PATH": str(path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def on_a_terminal(*words: str, path: Path) -> str:
    """What a command prints on a terminal; it must succeed."""
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "umlctl", *words],
            env=os.environ | {"PATH": str(path)},
            stdin=subprocess.DEVNULL,
            stdout=theirs,
        )
    finally:
        os.close(theirs)
    printed = b""
    try:
        while piece := os.read(ours, 65536):
            printed += piece
    except OSError:
        pass  # it has ended
    finally:
        os.close(ours)
    assert process.wait(60) == 0, printed
    return printed.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_a_page(command: str) -> None:
    path = man.path_of(f"umlctl-{command}")
    assert f".Nm umlctl-{command}" in Path(path).read_text()
    if command != "mconsole":  # the protocol has that name too
        assert man.path_of(command) == path


@pytest.mark.parametrize("name", ["umlctl.1", "mconsole.7", "umlctl.toml.5", "umlctl-migrating.7"])
def test_other_pages_are_found(name: str) -> None:
    assert man.path_of(name.rpartition(".")[0]).endswith(f"/{name}")


@pytest.mark.parametrize("name", ["xl.7", "linux.7", "umlctl.3"])
def test_page_of_what_is_called_by_another_name_is_found(name: str) -> None:
    asked = name if name == "umlctl.3" else name.rpartition(".")[0]
    assert man.path_of(asked).endswith(f"/{name}")


def test_topic_is_a_page() -> None:
    assert man.path_of("migrating") == man.path_of("umlctl-migrating")


def test_topic_is_explained_on_a_terminal_and_in_a_pipe(reader: Path, tmp_path: Path) -> None:
    shown = on_a_terminal("help", "migrating", path=reader)
    assert shown == f"-a {man.path_of('migrating')}\n"
    assert umlctl("help", "migrating", path=tmp_path).stdout.startswith("From vkernel\n")


@pytest.mark.parametrize("page", ["ls", "", "../man1/umlctl", "umlctl-", "umlctl-../x", "umlctl.1"])
def test_other_names_are_no_pages(page: str, tmp_path: Path) -> None:
    shown = umlctl("man", page, path=tmp_path)
    assert shown.returncode == exitcodes.USAGE
    assert shown.stdout == ""


def test_pages_complete() -> None:
    context = click.Context(man.man)
    offered = man.pages(context, man.man.params[0], "")
    others = {"mconsole", "umlctl.toml", "migrating", "linux", "xl", "umlctl.3"}
    assert set(offered) == {"umlctl", *others, *COMMANDS}
    assert man.pages(context, man.man.params[0], "di") == ["disable", "disk"]


def test_page_is_shown_by_whatever_reader_there_is(reader: Path) -> None:
    shown = umlctl("man", "mconsole", path=reader)
    assert shown.stdout == f"-a {man.path_of('mconsole')}\n"
    assert shown.returncode == 0


def test_missing_reader_is_said(tmp_path: Path) -> None:
    shown = umlctl("man", path=tmp_path)
    assert "apt install man-db" in shown.stderr
    assert shown.returncode == HostError.code


def test_missing_manual_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(man, "__file__", f"{tmp_path}/umlctl/cli/man.py")
    monkeypatch.setattr(sysconfig, "get_path", lambda _name: str(tmp_path))
    with pytest.raises(HostError, match="was not installed"):
        man.path_of("umlctl")


@pytest.mark.parametrize("words", [["disk"], ["disk", "add"], ["pause"]])
def test_help_on_a_terminal_is_the_page(house: str, reader: Path, words: list[str]) -> None:
    page = man.path_of("disk" if words[0] == "disk" else "stop")
    assert on_a_terminal("help", *words, path=reader) == f"-a {page}\n"


def test_help_on_a_terminal_where_no_page_can_be_shown_is_that_of_the_option(
    house: str, tmp_path: Path
) -> None:
    said = on_a_terminal("help", "disk", "add", path=tmp_path)
    assert said.startswith("Usage: umlctl disk add [OPTIONS]")
    assert on_a_terminal("help", path=tmp_path).startswith("Usage: umlctl [OPTIONS]")


def test_help_that_is_handed_on_is_that_of_the_option(house: str, reader: Path) -> None:
    assert umlctl("help", "disk", path=reader).stdout.startswith("Usage: umlctl disk [OPTIONS]")
