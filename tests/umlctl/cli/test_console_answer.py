from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.cli.console_answer import QUIET_TIMEOUT, UNSEEN_QUIET_TIMEOUT, Answer, open_line

PROMPT = b"demo:/# "
FANCY = b"\x1b[?2004h\x1b]0;demo\x07\x1b[1mroot@demo\x1b[0m:/# "


def answer(
    printed: bytes, typed: bytes = b"uptime\n", past: bytes = b"up\r\n" + PROMPT, **how: object
) -> Answer:
    found = Answer(**how)  # type: ignore[arg-type]
    found.begin(past)
    found.typed(typed)
    found.printed(printed)
    return found


@pytest.mark.parametrize(
    ("printed", "typed", "complete"),
    [
        (b"uptime\r\n", b"uptime\n", False),
        (b"uptime\r\n1 day\r\n", b"uptime\n", False),
        (b"uptime\r\n1 day\r\n" + PROMPT, b"uptime\n", True),
        (b"uptime\r\n1 day\r\n" + PROMPT + b"[  1.0] kernel\r\n", b"uptime\n", False),
        (b"cd /tmp\r\ndemo:/tmp# ", b"cd /tmp\n", False),
        (b"a\r\nb\r\n" + PROMPT, b"a\nb\n", False),
        (b"a\r\nb\r\n" + PROMPT + b"out\r\n" + PROMPT, b"a\nb\n", True),
        (b"echo x", b"echo x", False),
    ],
)
def test_shell_that_shows_its_prompt_again_has_answered(
    printed: bytes, typed: bytes, complete: bool
) -> None:
    found = answer(printed, typed)
    assert found.complete is complete
    assert found.patience == (QUIET_TIMEOUT if complete else UNSEEN_QUIET_TIMEOUT)
    assert answer(printed, typed, silence=60.0).patience == (QUIET_TIMEOUT if complete else 60.0)
    assert answer(printed, typed, silence=0.1).patience == 0.1


def test_prompt_with_colours_is_one() -> None:
    past = b"\x1b[?2004l\r" + FANCY
    assert open_line(past) == b"root@demo:/# "
    assert answer(b"true\r\n\x1b[?2004l\r" + FANCY, b"true\n", past).complete


def test_without_a_prompt_silence_has_to_do() -> None:
    assert not answer(b"uptime\r\n1 day\r\n" + PROMPT, past=b"").complete
    assert not answer(b"$ ", past=b"login: ").complete


def test_who_types_nothing_expects_nothing() -> None:
    assert Answer().complete
    assert Answer().patience == QUIET_TIMEOUT
    assert not Answer(asked=True).complete
    assert Answer(asked=True).patience == UNSEEN_QUIET_TIMEOUT


@pytest.mark.parametrize(
    ("printed", "found"),
    [
        (b"make; echo done\r\n", False),
        (b"make; echo done\r\nerror\r\n", False),
        (b"make; echo done\r\ndone\r\n", True),
        (b"done\r\n", True),
    ],
)
def test_text_is_waited_for_and_its_echo_is_not_it(printed: bytes, found: bool) -> None:
    asked = answer(printed, b"make; echo done\n", until=b"done")
    assert (asked.found, asked.complete) == (found, found)
    assert asked.patience is None


@given(st.lists(st.integers(0, 60), max_size=6))
def test_output_may_come_in_any_pieces(cuts: list[int]) -> None:
    printed = b"make; echo done\r\nCC\r\ndone\r\n" + PROMPT
    by_text, by_prompt = Answer(until=b"done"), Answer()
    for each in (by_text, by_prompt):
        each.begin(PROMPT)
        each.typed(b"make; echo done\n")
    places = sorted({0, len(printed), *(min(cut, len(printed)) for cut in cuts)})
    for begin, end in pairwise(places):
        if end > printed.index(b"\r\ndone") + 2 + len(b"done"):
            break
        by_text.printed(printed[begin:end])
        assert by_text.found == (end == printed.index(b"\r\ndone") + 6)
    for begin, end in pairwise(places):
        assert not by_prompt.complete
        by_prompt.printed(printed[begin:end])
    assert by_prompt.complete
