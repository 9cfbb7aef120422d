from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.devices.lines import LINE_COUNTS, Line, parse
from umlctl.devices.needs import TTY, Need
from umlctl.errors import UsageError

units = st.sampled_from(
    [(family, n) for family, count in LINE_COUNTS.items() for n in range(count)]
)
paths = st.text(max_size=10).filter(lambda s: not set(s) & set(",\n\0") and s == s.rstrip())
channels = (
    st.sampled_from(["null", "pts", "pty", "xterm"])
    | st.integers(0, 2**31 - 1).map("fd:{}".format)
    | st.integers(1, 65535).map("port:{}".format)
    | paths.map("tty:/{}".format)
)
anything = st.text(st.characters(), max_size=30)


@given(units, st.lists(channels, min_size=1, max_size=2) | st.just(["none"]))
def test_what_is_printed_reads_the_same(unit: tuple[str, int], given_channels: list[str]) -> None:
    line = Line(*unit, tuple(given_channels))
    again = parse(str(line), insist=True)
    assert again == line
    assert hash(again) == hash(line)
    assert (again.family, again.number, again.channels) == (*unit, tuple(given_channels))
    assert again.answers(",".join(given_channels))


@pytest.mark.parametrize(
    ("text", "name", "said_channels"),
    [
        ("con1=pts", "con1", ("pts",)),
        ("con0=fd:3,fd:4", "con0", ("fd:3", "fd:4")),
        ("con15=null,fd:1", "con15", ("null", "fd:1")),
        ("ssl63=tty:/dev/ttyS0", "ssl63", ("tty:/dev/ttyS0",)),
        ("ssl0=none", "ssl0", ("none",)),
        ("ssl7=pty", "ssl7", ("pty",)),
    ],
)
def test_line_is_read_as_the_kernel_reads_it(
    text: str, name: str, said_channels: tuple[str, ...]
) -> None:
    line = parse(text)
    assert (line.name, line.channels, str(line)) == (name, said_channels, text)
    assert repr(line) == f"Line({text!r})"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "a line is conN=CHANNEL"),
        ("con1", "a line is conN=CHANNEL"),
        ("tty1=pts", "a line is conN=CHANNEL"),
        ("con=pts", "con has a number from 0 to 15"),
        ("con16=pts", "not '16'"),
        ("ssl64=pts", "ssl has a number from 0 to 63"),
        ("con010=pts", "without leading zeros, not '010'"),
        ("console1=pts", "not 'sole1'"),
        ("con1=", "not ''"),
        ("con1=ptsx", "not 'ptsx'"),
        ("con1=pts:/dev/pts/3", "not 'pts:/dev/pts/3'"),
        ("con1=null,", "not ''"),
        ("con1=fd", "fd: is a number"),
        ("con1=fd:-1", "not '-1'"),
        ("con1=fd:01", "not '01'"),
        ("con1=tty:ttyS0", "tty: is an absolute path"),
        ("con1=pts,none", "`none` stands alone"),
        ("con1=pts,pts,pts", "one channel, or an input and an output"),
        ("con1=port:0", "port: is a number from 1 to 65535, not '0'"),
        ("con1=tty:/dev/\0", "NUL"),
        ("con1=tty:/" + "a" * 500, "shorter paths"),
    ],
)
def test_what_is_no_line_is_said_to_be_none(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("con1=xterm", "needs a display"),
        ("ssl1=null,xterm", "needs a display"),
        ("ssl1=port:9000", "asks for no password"),
    ],
)
def test_dangerous_channel_must_be_insisted_on(text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        parse(text)
    assert str(parse(text, insist=True)) == text


def test_one_channel_is_both() -> None:
    assert parse("con1=fd:3") == parse("con1=fd:3,fd:3")
    assert parse("con1=pts") == parse("con1=pts,pts")
    assert parse("con1=pts") != parse("con1=pts,null")
    assert parse("con1=pts") != parse("con2=pts")
    assert parse("con1=pts") != parse("ssl1=pts")
    assert parse("con1=pts") != "con1=pts"


@pytest.mark.parametrize(
    ("text", "answer", "same"),
    [
        ("con1=pts", "pts", True),
        ("con1=pts", "pts:/dev/pts/3", True),
        ("con1=pts", "pty:/dev/pts/3", False),
        ("con1=pts", "none", False),
        ("con1=pts", "", False),
        ("con1=none", "none", True),
        ("con0=fd:4,fd:1", "fd:4,fd:1", True),
        ("con0=fd:4,fd:1", "fd:4", False),
        ("con0=fd:4,fd:1", "fd:4,fd:1,fd:1", False),
        ("con0=fd:4", "fd:40", False),
        ("con0=fd:4", "fd:4,fd:4", True),
        ("ssl0=tty:/dev/ttyS0", "tty:/dev/ttyS0", True),
        ("ssl0=null,pts", "null,pts:/dev/pts/3", True),
    ],
)
def test_answer_of_the_kernel_is_recognised(text: str, answer: str, *, same: bool) -> None:
    assert parse(text).answers(answer) is same


def test_line_names_the_terminals_it_needs() -> None:
    tty = Need(TTY, "/dev/ttyS0")
    assert parse("ssl0=tty:/dev/ttyS0").needs() == (tty,)
    assert parse("ssl0=tty:/dev/ttyS0,tty:/dev/ttyS0").needs() == (tty,)
    assert parse("ssl0=pts,fd:3").needs() == ()


@given(anything | anything.map("con1=".__add__) | anything.map("ssl".__add__), st.booleans())
def test_any_text_is_a_line_or_a_usage_error(text: str, insist: bool) -> None:
    try:
        line = parse(text, insist=insist)
    except UsageError:
        return
    assert str(line) == text
