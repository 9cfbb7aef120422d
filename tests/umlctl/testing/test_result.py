from __future__ import annotations

import pytest

from tests.results import a
from umlctl import exitcodes
from umlctl.testing import result as results
from umlctl.testing.ktap import CRASHED, FAILED, PASSED, SKIPPED, TIMED_OUT
from umlctl.testing.result import (
    FLAKY,
    HUNG,
    KNOWN,
    NEVER_STARTED,
    PANICKED,
    STATUSES,
    UNEXPECTED,
    Result,
    exit_code,
    merged,
    tally,
)


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        ((PASSED, SKIPPED, FLAKY, KNOWN), exitcodes.OK),
        ((PASSED, FAILED), 1),
        ((HUNG,), 1),
        ((TIMED_OUT,), 1),
        ((UNEXPECTED,), 1),
        ((FAILED, CRASHED), 2),
        ((PASSED, NEVER_STARTED), 125),
        ((FAILED, NEVER_STARTED), 1),
        ((FAILED, CRASHED, NEVER_STARTED, PANICKED), 255),
        ((), 2),
    ],
)
def test_exit_code_stands_for_the_worst(statuses: tuple[str, ...], code: int) -> None:
    assert exit_code([a("x", status) for status in statuses]) == code


def test_every_status_is_good_or_has_a_code() -> None:
    assert all((status in results.GOOD) != bool(exit_code([a("x", status)])) for status in STATUSES)


def test_all_are_counted() -> None:
    found = tally([a("x", PASSED), a("y", PASSED), a("z", HUNG)])
    assert (found[PASSED], found[HUNG], found[FAILED]) == (2, 1, 0)
    assert tuple(found) == STATUSES


def statuses(found: list[Result]) -> dict[str, str]:
    return {each.name: each.status for each in found}


def test_what_passes_when_it_is_run_again_is_flaky() -> None:
    before = [a("s.x", PASSED), a("s.y", FAILED, reason="no", log="why", log_file="/l")]
    (x, y) = merged(before, [a("s.x", PASSED, attempts=2), a("s.y", PASSED, attempts=2)], 2)
    assert (x.status, x.attempts) == (PASSED, 1)
    assert (y.status, y.attempts, y.reason) == (FLAKY, 2, "failed before: no")
    assert (y.log, y.log_file) == ("why", "/l")


def test_what_fails_again_has_failed() -> None:
    (found,) = merged([a("x", FAILED)], [a("x", FAILED, attempts=2, reason="again")], 2)
    assert (found.status, found.attempts, found.reason) == (FAILED, 2, "again")


def test_what_was_flaky_before_stays_so() -> None:
    before = [a("x", FLAKY, attempts=2), a("y", FAILED)]
    assert statuses(merged(before, [a("x", PASSED), a("y", PASSED)], 3)) == {"x": FLAKY, "y": FLAKY}


def test_case_that_is_not_there_again_was_part_of_what_went_wrong() -> None:
    before = [a("x", PASSED), a("all", PANICKED)]
    assert statuses(merged(before, [a("x", PASSED), a("y", PASSED)], 2)) == {
        "x": PASSED,
        "y": PASSED,
        "all": FLAKY,
    }
    assert statuses(merged(before, [a("x", FAILED)], 2)) == {"x": FAILED, "all": PANICKED}
