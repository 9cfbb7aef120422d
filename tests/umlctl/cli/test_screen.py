from __future__ import annotations

import pty
import sys
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.cli.screen import Lines, Modes, Screen

if TYPE_CHECKING:
    from collections.abc import Iterator

SETTINGS = [
    b"\x1b[?1049h",
    b"\x1b[?25l",
    b"\x1b[?25h",
    b"\x1b[?1;1000h",
    b"\x1b[?1l",
    b"\x1b[2;20r",
    b"\x1b=",
    b"\x1b(0",
    b"text\r\n",
    b"\x1b[1;31m",
    *(b"\x1b[>1u", b"\x1b[>5u", b"\x1b[<u", b"\x1b[=3;1u", b"\x1b[>4;2m", b"\x1b[4 q", b"\x1b[4h"),
]
"""What programs of a guest send to a terminal."""


def restoring(pieces: list[bytes]) -> bytes:
    modes = Modes()
    for piece in pieces:
        modes.note(piece)
    return modes.restoring()


def test_what_was_set_is_undone() -> None:
    assert restoring([b"\x1b[?1049h\x1b[?25l"]) == b"\x1b[?1049l\x1b[?25h\x1b[0m\r\n"
    assert restoring([b"\x1b[?25l", b"\x1b[?25h", b"plain"]) == b"\x1b[0m\r\n"
    assert b"\x1b[r" in restoring([b"\x1b[5;10r"])
    assert b"\x1b>" in restoring([b"\x1b="])
    assert restoring([b"\x1b[4h\x1b[20h"]) == b"\x1b[20l\x1b[4l\x1b[0m\r\n"
    assert b"\x1b[0 q" in restoring([b"\x1b[4 q"])
    assert b"\x1b[<2u\x1b[=0u" in restoring([b"\x1b[>1u\x1b[>1u\x1b[>1u\x1b[<u"])
    assert b"\x1b[>4m" in restoring([b"\x1b[>4;2m"])


@given(st.lists(st.sampled_from(SETTINGS), max_size=8), st.data())
def test_packets_may_end_anywhere(settings: list[bytes], data: st.DataObject) -> None:
    text = b"".join(settings)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert restoring(pieces) == restoring([text])


BOOT = (
    b"Core dump limits :\n\tsoft - 0\n[    0.000000] Linux\n[    0.1] no stamp\n"
    b"umlctl: demo runs\r\n# [    1.500000] in the middle\n"
    b"[    2.000000] sysrq: HELP\nbare\n# \r\n\n"
)
SHOWN = (
    b"Core dump limits :\r\n\tsoft - 0\r\n[    0.000000] Linux\r\n[    0.1] no stamp\r\n"
    b"umlctl: demo runs\r\n# [    1.500000] in the middle\n"
    b"[    2.000000] sysrq: HELP\r\nbare\n# \r\n\n"
)


@given(st.lists(st.integers(0, len(BOOT)), max_size=6))
def test_kernels_own_lines_begin_at_the_left(cuts: list[int]) -> None:
    lines = Lines()
    places = [0, *sorted(cuts), len(BOOT)]
    pieces = [BOOT[a:b] for a, b in pairwise(places)]
    assert b"".join(lines.returned(piece) for piece in pieces) == SHOWN


@contextmanager
def on_a_terminal() -> Iterator[None]:
    """Standard input and output are one."""
    ours, theirs = pty.openpty()
    with open(ours, "rb", buffering=0), open(theirs, "w") as end, pytest.MonkeyPatch.context() as p:
        p.setattr(sys, "stdin", end)
        p.setattr(sys, "stdout", end)
        yield


QUESTION = b"\x1b[6n\x1b[?1h"


def test_terminal_answers_no_questions_of_the_past_and_is_put_right() -> None:
    with on_a_terminal():
        screen = Screen()
    assert screen.is_terminal
    assert screen.shown(QUESTION + b"a\n", past=True) == b"\x1b[?1ha\r\n"
    assert screen.shown(QUESTION, past=False) == QUESTION
    assert screen.restoring() == b"\x1b[?1l\x1b[0m\r\n"


def test_note_stands_in_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with on_a_terminal():
        screen = Screen()
    screen.note("here")
    assert capsys.readouterr().err == "\r\n\x1b[0m[umlctl: here]\r\n"


def test_file_gets_what_the_guest_wrote(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen()
    assert not screen.is_terminal
    assert screen.shown(QUESTION + b"a\n", past=True) == QUESTION + b"a\n"
    assert screen.restoring() == b""
    screen.note("here")
    assert capsys.readouterr().err == "umlctl: here\n"


def test_complaints_about_arguments_of_ours_are_shown_nowhere() -> None:
    line = b"[    0.100000] read_cow_header - short header\n"
    screen = Screen()
    assert screen.shown(b"before\n" + line + b"after\n", past=False) == b"before\nafter\n"
