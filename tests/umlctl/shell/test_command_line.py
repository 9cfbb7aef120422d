from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.errors import UsageError
from umlctl.shell.command_line import (
    Typed,
    addressed,
    begun,
    last,
    quoted,
    read,
    split,
    unquoted,
    words,
)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", Typed([])),
        ("   ", Typed([])),
        ("# proc meminfo", Typed([])),
        ("version", Typed(["version"])),
        ("  proc   meminfo ", Typed(["proc", "meminfo"])),
        ("log 'a  b'", Typed(["log", "a  b"])),
        ('log "it\'s"', Typed(["log", "it's"])),
        ("log it's", Typed(["log", "it's"])),
        ("proc meminfo | grep Mem", Typed(["proc", "meminfo"], program="grep Mem")),
        ("proc meminfo|wc -l|cat", Typed(["proc", "meminfo"], program="wc -l|cat")),
        ("log 'a | b > c; d'", Typed(["log", "a | b > c; d"])),
        ("log a\\|b", Typed(["log", "a|b"])),
        ("stack 1 > /tmp/x", Typed(["stack", "1"], file="/tmp/x")),
        ("stack 1 >x", Typed(["stack", "1"], file="x")),
        ("stack 1 >> 'a b'", Typed(["stack", "1"], file="a b", append=True)),
        ("config ubd1=/a b.img", Typed(["config", "ubd1=/a", "b.img"])),
        ("!sysrq t", Typed(["!sysrq", "t"])),
    ],
)
def test_line_is_a_command_and_where_its_answer_goes(line: str, expected: Typed) -> None:
    assert read(line) == expected


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("proc meminfo |", "needs a program"),
        ("proc meminfo >", "one file"),
        ("proc meminfo > a b", "one file"),
        ("log it's > /tmp/x", "a quote is not closed"),
        ("log 'a | b", "a quote is not closed"),
    ],
)
def test_line_without_an_end_is_a_usage_error(line: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read(line)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (";;", []),
        ("version", ["version"]),
        ("stop; version;go", ["stop", " version", "go"]),
        ("log 'a;b'; go", ["log 'a;b'", " go"]),
        ("one\ntwo; three\n\n", ["one", "two", " three"]),
        ("one\r\ntwo\rthree", ["one", "two", "three"]),
        *(
            (f'log "a{mark}version"', [f'log "a{mark}version"'])
            for mark in "\v\f\x1c\x1d\x1e\x85\u2028\u2029"
        ),
    ],
)
def test_text_is_split_into_commands(text: str, expected: list[str]) -> None:
    assert split(text) == expected


@given(st.text())
def test_anything_can_be_typed(text: str) -> None:
    for each in split(text):
        try:
            typed = read(each)
        except UsageError:
            continue
        assert not (typed.program and typed.file)


@given(st.lists(st.text(min_size=1, alphabet=st.characters(codec="utf-8")), max_size=4))
def test_quoted_words_are_what_they_were(texts: list[str]) -> None:
    line = shlex.join(texts)
    assert words(line) == texts
    assert not [letter for _, letter in unquoted(line) if letter in "|>;"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("version", ("", "version")),
        (" @web version", ("web", "version")),
        ("@web   nic list | grep up", ("web", "nic list | grep up")),
        ("@'/tmp/a b/mconsole' version", ("/tmp/a b/mconsole", "version")),
        ("log @web", ("", "log @web")),
        ("", ("", "")),
    ],
)
def test_line_may_be_of_another_guest(line: str, expected: tuple[str, str]) -> None:
    assert addressed(line) == expected


@pytest.mark.parametrize(
    ("line", "said"), [("@ version", "a guest right after"), ("@web", "after")]
)
def test_another_guest_needs_a_name_and_a_command(line: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        addressed(line)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ([], "", 0)),
        ("dis", ([], "dis", 3)),
        ("disk add ", (["disk", "add"], "", 0)),
        ("disk add 'my im", (["disk", "add"], "my im", 6)),
        ("disk add my\\ im", (["disk", "add"], "my im", 6)),
        ("log \"it's", (["log"], "it's", 5)),
        ("log a\\", (["log"], "a", 2)),
    ],
)
def test_word_that_is_being_typed(text: str, expected: tuple[list[str], str, int]) -> None:
    assert begun(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a; b c ", "b c "), ("a", "a"), ("a | b", None), ("a > b", None), ("a ';' b", "a ';' b")],
)
def test_command_at_the_end_of_a_text(text: str, expected: str | None) -> None:
    assert last(text) == expected


@given(st.text(min_size=1))
def test_word_typed_as_it_was_offered_is_that_word(word: str) -> None:
    line = f"disk add {quoted(word)}"
    assert words(line) == ["disk", "add", word]
    assert begun(line)[1] == word
    if "\n" not in word and "\r" not in word:
        assert read(line).words == ["disk", "add", word]
        assert split(line) == [line]


@given(st.text())
def test_anything_can_be_begun(text: str) -> None:
    before, word, length = begun(text)
    assert 0 <= length <= len(text)
    assert all(isinstance(each, str) for each in (*before, word))


@given(st.text())
def test_anything_may_be_addressed_or_not(text: str) -> None:
    try:
        guest, command = addressed(text)
    except UsageError:
        assert text.lstrip().startswith("@")
        return
    assert bool(guest) is text.lstrip().startswith("@")
    assert text.endswith(command)


@given(st.text(min_size=1), st.sampled_from(["version", "log ' a'", "disk add x | cat"]))
def test_guest_of_any_name_can_be_addressed(guest: str, command: str) -> None:
    assert addressed(f"@{quoted(guest)} {command}") == (guest, command)
