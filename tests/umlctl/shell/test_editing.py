"""The menu of the prompt, and its colours."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from tests.umlctl.cli.test_prompt import COMMANDS
from umlctl.cli.prompt import INSTEAD, find
from umlctl.shell.completion import Facts
from umlctl.shell.editing import CommandLexer, MenuCompleter, menu
from umlctl.shell.monitor import GuestMonitor

FACTS = Facts(devices={"ubd1": "/a.img"}, guests={"demo": "", "web": ""}, pids=(1, 2, 77))


def texts(line: str) -> list[str]:
    return [each.text for each in menu(line, "demo", FACTS)[0]]


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
@pytest.mark.usefixtures("house")
def test_every_command_of_the_command_line_is_in_the_menu_to_its_last_option(
    path: tuple[str, ...],
) -> None:
    if path[0] in INSTEAD:
        assert texts(f"{path[0]} --") == []
        return
    assert path[0] in texts("")
    assert path[-1] in texts(" ".join((*path[:-1], path[-1][:1])))
    offered = texts(f"{' '.join(path)} --")
    for parameter in find(path).command.params:
        for option in parameter.opts:
            if option.startswith("--") and not getattr(parameter, "hidden", False):
                assert option in offered


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("@", ["demo", "web"]),
        ("@we", ["web"]),
        ("@web vers", ["version"]),
        ("@web disk ", ["add", "rm", "list", "commit", "reset"]),
        ("@web proc memi", ["meminfo"]),
        ("@web remove u", []),
        ("remove ", ["ubd1"]),
        ("version; disk ", ["add", "rm", "list", "commit", "reset"]),
        ("disk list | ", []),
        ("help dis", ["disk", "disable"]),
        ("help disk a", ["add"]),
        ("console ssl3", ["ssl3"]),
        ("stack 7", ["77"]),
        ("status ", []),
        ("log --js", ["--json"]),
        ("one\ndisk a", ["add"]),
    ],
)
@pytest.mark.usefixtures("house")
def test_menu(line: str, offered: list[str]) -> None:
    assert sorted(texts(line)) == sorted(offered)


def test_file_with_a_blank_is_offered_as_it_has_to_be_typed(
    house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(house)
    os.mkdir("an image")
    for typed in ("an", "'an", "an\\ im"):
        offered, length = menu(f"disk add {typed}", "demo", FACTS)
        assert [each.text for each in offered] == ["an\\ image/"]
        assert length == len(typed)
    offered, length = menu("collect /x --to=an", "demo", FACTS)
    assert ([each.text for each in offered], length) == (["an\\ image/"], 2)


@given(st.text(alphabet="@demo disk add --'\"|>;=\\!?\n", max_size=30))
def test_whatever_is_typed_has_a_menu(line: str) -> None:
    for each in menu(line, "demo", FACTS)[0]:
        assert each.text


@pytest.mark.usefixtures("house")
def test_completions_have_their_meanings() -> None:
    completer = MenuCompleter(GuestMonitor("demo", lambda: None, lambda _text: None))
    found = list(completer.get_completions(Document("disk a"), CompleteEvent()))
    assert [(each.text, each.start_position) for each in found] == [("add", -1)]
    assert found[0].display_meta_text.startswith("Plug FILE")


@pytest.mark.parametrize(
    ("line", "colour"),
    [
        ("version", "ansigreen"),
        ("disk add", "ansigreen"),
        ("halt", "ansiyellow"),
        ("@web halt", "ansiyellow"),
        ("@we", ""),
        ("dis", ""),
        ("nonsense x", "ansired"),
        ("!ls", ""),
    ],
)
def test_colour_of_a_command(line: str, colour: str) -> None:
    parts = CommandLexer().lex_document(Document(line))(0)
    assert "".join(part[1] for part in parts) == line
    assert parts[1][0] == colour
