from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.protocol.control_line import SAYS, Lines, Said, Stream, line, parse

TOKEN = b"0123456789abcdef"


def test_lines_for_the_guest() -> None:
    assert line("go") == b"go\n"
    assert line("size", 24, 80) == b"size 24 80\n"


def test_what_a_guest_says_is_known_by_its_word_and_its_numbers() -> None:
    assert parse(b"up") == Said("up")
    assert parse(b"status 256") == Said("status", (256,))
    assert parse(b"failed 3 19") == Said("failed", (3, 19))


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"status", b"status x", b"status -1", b"status 1 2", b"up 1", b"bye"),
        *(b"status 99999999999", b"\xff\xfe", b"status  1", b"status \xb2"),
    ],
)
def test_what_is_no_line_of_a_guest_is_nothing(data: bytes) -> None:
    assert parse(data) is None


@given(st.binary())
def test_any_bytes_are_read(data: bytes) -> None:
    said = parse(data)
    assert said is None or SAYS[said.word] == len(said.numbers)


@given(st.lists(st.integers(0, 1 << 31)), st.data())
def test_lines_are_read_however_they_are_cut(numbers: list[int], data: st.DataObject) -> None:
    whole = b"".join(line("taken", number) for number in numbers)
    lines, found = Lines(), []
    while whole:
        cut = data.draw(st.integers(1, len(whole)))
        found += lines.feed(whole[:cut])
        whole = whole[cut:]
    assert found == [Said("taken", (number,)) for number in numbers]


def test_line_without_an_end_does_not_grow() -> None:
    lines = Lines()
    for _ in range(100):
        assert lines.feed(b"x" * 1000) == []
    assert lines.feed(b"\nup\r\n") == [Said("up")]


@given(st.lists(st.one_of(st.binary(max_size=20), st.just(TOKEN[:7]), st.just(TOKEN[:-1]))))
def test_stream_is_passed_on_up_to_its_token(pieces: list[bytes]) -> None:
    stream, passed = Stream(TOKEN), b""
    for piece in [*pieces, TOKEN[:5], TOKEN[5:]]:
        assert not stream.ended
        passed += stream.feed(piece)
    # What comes before may end as the token begins.
    whole = b"".join(pieces) + TOKEN
    assert stream.ended
    assert passed == whole[: whole.index(TOKEN)]
    assert stream.feed(b"more") == b""


@given(st.binary(), st.data())
def test_stream_without_a_token_loses_nothing(whole: bytes, data: st.DataObject) -> None:
    stream, passed, rest = Stream(TOKEN), b"", whole + TOKEN[:4]
    while rest:
        cut = data.draw(st.integers(1, len(rest)))
        passed += stream.feed(rest[:cut])
        rest = rest[cut:]
    assert passed + stream.rest() == whole + TOKEN[:4]
