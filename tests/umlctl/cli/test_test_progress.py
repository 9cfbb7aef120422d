from __future__ import annotations

import contextlib
import os
import pty
import sys
from typing import TYPE_CHECKING

from tests.results import a
from umlctl.cli import test_progress as progress
from umlctl.cli.test_progress import Shown, named, show_end
from umlctl.testing.ktap import FAILED, PASSED, SKIPPED, Leaf
from umlctl.testing.result import FLAKY, HUNG, PANICKED
from umlctl.testing.trial import Trial

if TYPE_CHECKING:
    import pytest

TRIAL = Trial(name="./t", kernel="/k", words=("./t",), options={})


def leaf(name: str, status: str) -> Leaf:
    return Leaf(tuple(name.split(".")), status, "", False, 0.25, "")


def test_without_a_terminal_there_is_a_line_a_case(capfd: pytest.CaptureFixture[str]) -> None:
    with Shown(2, 2, kernels=False) as shown:
        shown.ended(leaf("s.x", PASSED))
        shown.ended(leaf("s.y", FAILED))
        shown.done(TRIAL, [a("s.x", PASSED), a("s.y", FAILED, reason="exit=1")], again=True)
        single = a("x", PASSED, path=("./t",), repetition=2, seconds=61.0)
        shown.done(TRIAL, [single], again=False)
    assert capfd.readouterr().err.splitlines() == [
        "passed    s.x (0.2s)",
        "failed    s.y [1/2] (0.0s): exit=1; again",
        "passed    ./t [2/2] (1m01s)",
    ]


def test_case_that_was_told_is_not_told_again(capfd: pytest.CaptureFixture[str]) -> None:
    with Shown(1, 1, kernels=False) as shown:
        shown.ended(leaf("./t", PASSED))
        shown.done(TRIAL, [a("x", PASSED, path=("./t",)), a("y", FLAKY)], again=False)
    assert [line.split()[:2] for line in capfd.readouterr().err.splitlines()] == [
        ["passed", "./t"],
        ["flaky", "y"],
    ]


def test_names_have_no_power_over_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with Shown(1, 1, kernels=False) as shown:
        shown.ended(leaf("\x1b[31m", PASSED))
        shown.done(TRIAL, [a("x", FAILED, path=("\x1b",), reason="\x07")], again=False)
    show_end([a("x", FAILED, path=("\x1b",), reason="\x07")], ["\x1b"], 1.0)
    found = capfd.readouterr()
    assert "\x1b" not in found.err + found.out
    assert "\x07" not in found.err + found.out


def test_terminal_has_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    master, slave = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    with open(slave, "w") as terminal, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", terminal)
        with Shown(2, 1, kernels=False) as shown:
            shown.ended(leaf("s.x", PASSED))
            shown.done(TRIAL, [a("s.x", PASSED)], again=False)
            shown.done(TRIAL, [a("s.y", HUNG, reason="why")], again=False)
        terminal.flush()
        os.set_blocking(master, False)
        said = ""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(master, 1 << 16):
                said += data.decode()
    os.close(master)
    assert "2/2" in said
    assert "1 passed, 1 hung" in said
    assert "why" in said


def test_case_is_named_with_what_tells_it_from_others() -> None:
    found = a("s.x", PASSED, repetition=3)
    assert named(found, 1, kernels=False) == "s.x"
    assert named(found, 9, kernels=True) == "s.x [3/9] on /k"


def test_end_names_what_is_bad_and_counts_all(capfd: pytest.CaptureFixture[str]) -> None:
    found = [
        a("s.x", PASSED),
        a("s.x", FAILED, repetition=2, reason="exit=1", log_file="/logs/1"),
        a("s.y", PANICKED, reason="oops"),
        a("s.z", FLAKY),
        a("s.w", SKIPPED),
    ]
    show_end(found, ["s.v"], 75.0)
    assert capfd.readouterr().out.splitlines() == [
        "failed 1 of 2 (flaky)  s.x: exit=1",
        "    log: /logs/1",
        "panicked  s.y: oops",
        "not run, though it is known to fail: s.v",
        "",
        "PASSED  FAILED  SKIPPED  PANICKED  FLAKY",
        "1       1       1        1         1",
        "5 results in 1m15s",
    ]


def test_kernels_have_a_row_each(capfd: pytest.CaptureFixture[str]) -> None:
    show_end([a("x", PASSED), a("x", FAILED, kernel="/other")], [], 1.0)
    assert capfd.readouterr().out.splitlines() == [
        "failed  x on /other",
        "",
        "KERNEL  PASSED  FAILED",
        "/k      1       0",
        "/other  0       1",
        "all     1       1",
        "2 results in 1.0s",
    ]


def test_end_is_not_endless(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "MAX_SHOWN", 2)
    show_end([a(f"x{number}", FAILED) for number in range(5)], [], 1.0)
    assert "and 3 more" in capfd.readouterr().out
