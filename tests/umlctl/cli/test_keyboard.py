from __future__ import annotations

import os
import pty
import signal
import sys
import termios
from typing import TYPE_CHECKING

import pytest

from umlctl import streams
from umlctl.cli.keyboard import Key, Keyboard, escape_key
from umlctl.errors import HostError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ESCAPE = b"\x1d"


@pytest.mark.parametrize(
    ("typed", "place"),
    [
        (b"abc", -1),
        (b"ab\x1d", 2),
        (b"a\x1b[93;5u", 1),
        (b"\x1b[93;5:1u", 0),
        (b"\x1b[93;133u", 0),
        (b"\x1b[45:93;6u\x1d", 10),
        (b"x\x1b[27;5;93~", 1),
        (b"\x1b[93;7u\x1b[93u\x1b[97;5u\x1b[5~\x1b[27;5;9~", -1),
    ],
)
def test_escape_key_is_seen_however_the_terminal_reports_it(typed: bytes, place: int) -> None:
    assert Key(b"\x1d").find(typed) == place
    for cut in range(1, len(typed)):
        key = Key(b"\x1d")
        found = [key.find(typed[:cut]), key.find(typed[cut:])]
        assert (max(found) >= 0) == (place >= 0)


def test_nothing_but_the_key_is_swallowed() -> None:
    key = Key(b"\x1d")
    assert key.only(b"\x1d\x1b[93;5u\x1b[93;5:3u")
    assert not key.only(b"\x1dl")
    assert Key(b"").find(b"\x1d") == -1


def test_escape_keys() -> None:
    assert escape_key("^]") == b"\x1d"
    assert escape_key("^a") == b"\x01"
    assert escape_key("none") == b""
    for wrong in ("]", "^", "^1", "escape"):
        with pytest.raises(UsageError):
            escape_key(wrong)


@pytest.fixture
def typing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], None]]:
    """Types on the terminal that is standard input."""
    ours, theirs = pty.openpty()
    with open(ours, "wb", buffering=0) as hands, open(theirs) as end:
        monkeypatch.setattr(sys, "stdin", end)
        monkeypatch.setattr(streams, "STDIN", end.fileno())

        def type_(data: bytes) -> None:
            hands.write(data)

        before = signal.getsignal(signal.SIGTTOU)
        yield type_
        signal.signal(signal.SIGTTOU, before)


def test_what_stands_before_the_key_is_typed_still(typing: Callable[[bytes], None]) -> None:
    board = Keyboard(ESCAPE, is_terminal=True)
    with board.raw():
        typing(b"ls" + ESCAPE + b"more")
        assert board.read() == b"ls"
        assert board.left
        assert not board.is_over


def test_script_has_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    monkeypatch.setattr(streams, "STDIN", reader)
    board = Keyboard(ESCAPE, is_terminal=False)
    try:
        os.set_blocking(reader, False)
        assert (board.read(), board.is_over) == (b"", False), "nothing was typed yet"
        os.write(writer, b"a" + ESCAPE)
        assert board.read() == b"a" + ESCAPE
        os.close(writer)
        assert (board.read(), board.is_over, board.left) == (b"", True, False)
    finally:
        os.close(reader)


@pytest.mark.usefixtures("typing")
def test_terminal_is_raw_and_then_as_it_was() -> None:
    def lose() -> None:
        assert not termios.tcgetattr(sys.stdin)[3] & (termios.ECHO | termios.ICANON)
        raise HostError("lost")

    before = termios.tcgetattr(sys.stdin)
    with pytest.raises(HostError), Keyboard(ESCAPE, is_terminal=True).raw():
        lose()
    assert termios.tcgetattr(sys.stdin) == before


def test_key_that_is_pressed_again_is_not_for_the_shell(
    typing: Callable[[bytes], None],
) -> None:
    board = Keyboard(ESCAPE, is_terminal=True)
    with board.raw():
        typing(ESCAPE)
        board.read()
        typing(ESCAPE + ESCAPE)
    os.set_blocking(sys.stdin.fileno(), False)
    assert board.read() == b""


def test_key_is_named_as_a_person_knows_it() -> None:
    assert Keyboard(ESCAPE, is_terminal=True).leaving == "^]"
    assert Keyboard(b"\x01", is_terminal=True).leaving == "^A"
    assert Keyboard(b"", is_terminal=True).leaving == "nothing"
