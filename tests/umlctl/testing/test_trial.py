from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.testing import trial as trials
from umlctl.testing.ktap import CRASHED, FAILED, PASSED, SKIPPED, TIMED_OUT, Reader
from umlctl.testing.result import HUNG, KNOWN, NEVER_STARTED, PANICKED
from umlctl.testing.trial import (
    ENDED,
    EXITED,
    INTERRUPTED,
    LATE,
    NOT_BEGUN,
    SIGNALLED,
    Ended,
    Trial,
    decode,
    encode,
)

COMMAND = Trial(name="./t", kernel="/k", words=("./t",), options={"append": ()})
KUNIT = Trial(name="*", kernel="/k", words=("true",), options={}, from_log=True)
OK = Ended(kind=EXITED)
KTAP = "TAP version 13\n1..2\nok 1 a\n"


def found(trial: Trial, ended: Ended, said: str = "", *, hung: bool = False) -> dict[str, str]:
    reader = Reader()
    reader.feed(said.encode())
    reader.close()
    results = trials.results(trial, ended, reader, said, 1.5, hung=hung)
    assert all(result.kernel == "/k" for result in results)
    return {result.name: result.status for result in results}


@pytest.mark.parametrize(
    ("ended", "status"),
    [
        (OK, PASSED),
        (Ended(kind=EXITED, code=3), FAILED),
        (Ended(kind=EXITED, code=0, panic="late"), PANICKED),
        (Ended(kind=SIGNALLED, code=11), CRASHED),
        (Ended(kind=LATE, text="not over within 3 seconds"), TIMED_OUT),
        (Ended(kind=ENDED, code=255, panic="x"), PANICKED),
        (Ended(kind=ENDED, code=137, text="killed"), CRASHED),
        (Ended(kind=NOT_BEGUN, code=125, text="no overlay"), NEVER_STARTED),
        (Ended(kind=NOT_BEGUN, code=125, panic="no root"), NEVER_STARTED),
        (Ended(kind=INTERRUPTED, code=9), CRASHED),
    ],
)
def test_exit_status_is_the_case_of_what_writes_no_ktap(ended: Ended, status: str) -> None:
    assert found(COMMAND, ended, "ok 1 no version\n") == {"./t": status}
    assert found(COMMAND, ended, hung=True) == {"./t": HUNG}


def test_cases_are_those_that_are_told() -> None:
    assert found(COMMAND, OK, KTAP + "not ok 2 b # TODO\n") == {"a": PASSED, "b": KNOWN}
    failed = Ended(kind=EXITED, code=1)
    assert found(COMMAND, failed, KTAP + "not ok 2 b\n") == {"a": PASSED, "b": FAILED}


def test_status_that_no_case_explains_counts_too() -> None:
    failed = Ended(kind=EXITED, code=1)
    assert found(COMMAND, failed, KTAP + "ok 2 b\n") == {"a": PASSED, "b": PASSED, "./t": FAILED}
    signalled = Ended(kind=SIGNALLED, code=11)
    assert found(COMMAND, signalled, KTAP + "not ok 2 b\n")["./t"] == CRASHED


def test_kernel_without_a_test_that_matches_has_run_none() -> None:
    off = Ended(kind=NOT_BEGUN)
    assert found(KUNIT, off, "KTAP version 1\n1..0\n") == {"*": NEVER_STARTED}
    assert found(KUNIT, off, "KTAP version 1\n1..1\nok 1 s # SKIP\n") == {"s": SKIPPED}


def test_plan_that_is_not_met_has_crashed() -> None:
    assert found(COMMAND, OK, KTAP) == {"a": PASSED, "./t": CRASHED}


def test_case_that_was_broken_off_has_what_became_of_its_guest() -> None:
    said = "KTAP version 1\n1..1\n    KTAP version 1\n    # Subtest: s\n    1..2\n    ok 1 a\n"
    panicked = Ended(kind=NOT_BEGUN, code=125, panic="Fatal exception")
    assert found(KUNIT, panicked, said) == {"s.a": PASSED, "s": PANICKED}
    assert found(KUNIT, Ended(kind=LATE), said) == {"s.a": PASSED, "s": TIMED_OUT}
    assert found(KUNIT, Ended(kind=NOT_BEGUN), said, hung=True) == {"s.a": PASSED, "s": HUNG}


def test_case_without_a_result_has_crashed_whatever_the_exit_status() -> None:
    said = "KTAP version 1\n1..1\n    KTAP version 1\n    # Subtest: s\n    1..2\n    ok 1 a\n"
    for code in (0, 1):
        assert found(COMMAND, Ended(kind=EXITED, code=code), said) == {"s.a": PASSED, "s": CRASHED}


def test_case_that_crashed_before_did_so_by_itself() -> None:
    said = "TAP version 13\n1..3\nnot ok 1 a # exit=139\nok 2 b\n"
    panicked = Ended(kind=ENDED, code=255, panic="x")
    assert found(COMMAND, panicked, said) == {"a": CRASHED, "b": PASSED, "./t": PANICKED}


def test_kernel_that_tests_itself_needs_no_command() -> None:
    said = "KTAP version 1\n1..1\nok 1 a\n"
    powered_off = Ended(kind=NOT_BEGUN, code=0, text="exited with status 0")
    assert found(KUNIT, powered_off, said) == {"a": PASSED}
    assert found(KUNIT, OK, said) == {"a": PASSED}
    assert found(KUNIT, OK, "nothing") == {"*": CRASHED}
    assert found(KUNIT, powered_off, "nothing") == {"*": NEVER_STARTED}


def test_nothing_to_do_is_skipped() -> None:
    assert found(COMMAND, OK, "TAP version 13\n1..0 # SKIP not as root\n") == {"./t": SKIPPED}
    assert found(COMMAND, OK, "TAP version 13\n1..0\n") == {"./t": SKIPPED}


def test_log_of_what_is_good_is_short() -> None:
    long = "x" * 10_000
    (good,) = trials.results(COMMAND, OK, Reader(), long, 0.0)
    (bad,) = trials.results(COMMAND, Ended(kind=EXITED, code=1), Reader(), long, 0.0)
    assert (len(good.log), len(bad.log)) == (trials.MAX_GOOD_LOG_LETTERS, 10_000)


@given(st.lists(st.binary(max_size=9).map(lambda raw: raw.decode("utf-8", "surrogateescape"))))
def test_any_word_reaches_its_process(words: list[str]) -> None:
    asked = Trial(
        name="t",
        kernel="/k",
        words=tuple(words),
        options={"append": tuple(words), "user": "", "timeout": 2.5, "readonly": True},
    )
    assert decode(encode(asked)) == asked
