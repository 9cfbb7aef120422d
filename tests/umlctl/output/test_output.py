from __future__ import annotations

import errno

import pytest

from socketproto.exchange import ANSWERED, GONE, REFUSED, TIMED_OUT, TRUNCATED, Outcome
from umlctl import exitcodes
from umlctl.output import say, show


@pytest.mark.parametrize(
    ("name", "data", "printed"),
    [
        ("version", b"Linux\n", b"Linux\n"),
        ("version", b"no end of line \xff\0", b"no end of line \xff\0\n"),
        ("proc", b"\nup 3\n", b"up 3\n"),
        ("stack", b"\nup 3\n", b"\nup 3\n"),
        ("stop", b"", b""),
    ],
)
def test_answer_is_printed_as_it_came(
    name: str, data: bytes, printed: bytes, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert show("demo", name, Outcome(ANSWERED, data=data)) == exitcodes.OK
    assert capfdbinary.readouterr() == (printed, b"")


@pytest.mark.parametrize(
    ("outcome", "code", "out", "err"),
    [
        (Outcome(REFUSED, -errno.ENOENT, b"no such file"), None, "", "proc demo: no such file"),
        (Outcome(REFUSED, 1), None, "", "proc demo: error 1"),
        (Outcome(TIMED_OUT, reason="5s"), exitcodes.TIMED_OUT, "", "proc demo: timed out: 5s"),
        (Outcome(GONE, reason="it ended"), exitcodes.GONE, "", "guest gone: it ended"),
        (
            Outcome(TRUNCATED, data=b"a", reason="a part is lost"),
            exitcodes.TRUNCATED,
            "a\n",
            "truncated: a part is lost",
        ),
        (
            Outcome(REFUSED, exitcodes.ENODATA, b"a"),
            exitcodes.TRUNCATED,
            "a\n",
            "truncated: a part of the answer is lost",
        ),
    ],
)
def test_whatever_else_became_of_it_is_said_and_has_its_code(
    outcome: Outcome,
    code: int | None,
    out: str,
    err: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    if code is None:
        code = exitcodes.of_error(outcome.error)
    assert show("demo", "proc", outcome) == code != exitcodes.OK
    said = capfd.readouterr()
    assert said.out == out
    assert err in said.err


def test_what_is_said_comes_after_what_was_printed(capfd: pytest.CaptureFixture[str]) -> None:
    print("first", end="")
    assert say("then", 7) == 7
    assert capfd.readouterr() == ("first", "umlctl: then\n")


def test_what_is_said_has_no_power_over_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert say("a\x1b[31m\udcffb\r\nä c", 7) == 7
    assert capsys.readouterr().err == "umlctl: a\\x1b[31m\\udcffb\\r\nä c\n"
