from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.errors import UsageError
from umlctl.guest import words

SPACES = b"\t\n\v\f\r \xa0"
"""Of Latin-1. Source: lib/ctype.c"""


def next_args(line: bytes) -> list[bytes]:
    """How the kernel splits its command line. Source: lib/cmdline.c: next_arg"""
    found, rest = [], line.lstrip(SPACES)
    while rest:
        quoted, end = False, 0
        while end < len(rest) and (quoted or rest[end] not in SPACES):
            quoted ^= rest[end] == ord('"')
            end += 1
        found.append(rest[:end])
        rest = rest[end:].lstrip(SPACES)
    return found


@given(st.text(max_size=12), st.text(max_size=12))
def test_what_is_checked_is_one_argument_to_the_kernel(one: str, other: str) -> None:
    try:
        line = f"{words.check(one)} {words.check(other)}".encode()
    except UsageError:
        return
    assert next_args(line) == [one.encode(), other.encode()]


@given(st.text(max_size=12))
def test_value_in_quotes_stays_with_its_key(value: str) -> None:
    word = f'key="{value}"'
    if words.can_be_given(word):
        assert next_args(f"a {word} b".encode()) == [b"a", word.encode(), b"b"]
        assert words.unquoted(word) == f"key={value}"


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("", "is empty; leave it out"),
        ("a b", "a blank"),
        ('a"b', "a quote"),
        ("à", "a byte of it for a blank"),
        ("a\0", "which is no letter"),
        ("\udcff", "UTF-8"),
        ("a\u2003b", "a blank"),
    ],
)
def test_what_the_kernel_would_read_otherwise_is_named(word: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        words.check(word)


@pytest.mark.parametrize("word", ["é", "root=/dev/ubda", "κόσμος", "a=b,c=d"])
def test_others_pass_as_they_stand(word: str) -> None:
    assert words.check(word) == words.check_given(word) == words.unquoted(word) == word


@pytest.mark.parametrize("word", ["--version", "--help", "--showconfig"])
def test_what_the_kernel_prints_and_ends_at_is_refused(word: str) -> None:
    with pytest.raises(UsageError, match="would print it and end"):
        words.check_given(word)


@pytest.mark.parametrize(
    ("word", "key"),
    [
        ("ubd0r=file", "ubd0"),
        ("ubda=file", "ubd0"),
        ("ubdp=file", "ubd15"),
        ("ubd12rc=a", "ubd12"),
        ("ubd=3", "ubd"),
        ("vec0:transport=tap", "vec0"),
        ("quiet", "quiet"),
    ],
)
def test_argument_is_about_a_device_however_it_is_written(word: str, key: str) -> None:
    assert words.key(word) == key


def test_arguments_behind_two_dashes_are_for_init() -> None:
    assert words.split(["quiet", "--", "a", "--", "b"]) == (["quiet"], ["a", "--", "b"])
    assert words.split(["quiet"]) == (["quiet"], [])
