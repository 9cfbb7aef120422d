"""What became of cases: their statuses, counts, and the exit code that stands for all. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from umlctl import exitcodes
from umlctl.testing.ktap import CRASHED, FAILED, PASSED, SKIPPED, TIMED_OUT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PANICKED: Final = "panicked"
HUNG: Final = "hung"
FLAKY: Final = "flaky"
KNOWN: Final = "known"
UNEXPECTED: Final = "unexpected"
NEVER_STARTED: Final = "never started"

STATUSES: Final = (
    *(PASSED, FAILED, SKIPPED, CRASHED, PANICKED, HUNG, TIMED_OUT, FLAKY, KNOWN, UNEXPECTED),
    NEVER_STARTED,
)
"""In the order in which they are shown."""
GOOD: Final = frozenset({PASSED, SKIPPED, FLAKY, KNOWN})
"""What needs nobody's attention; all else is bad."""
_CODES: Final = (
    (exitcodes.PANIC, {PANICKED}),
    (exitcodes.INCOMPLETE, {CRASHED}),
    (exitcodes.NOT_PASSED, {FAILED, HUNG, TIMED_OUT, UNEXPECTED}),
    (exitcodes.NEVER_STARTED, {NEVER_STARTED}),
)
"""The first whose statuses there are is the exit code."""


class Result(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one case, in one guest.

    Fields:
        path: the names of what it is part of, and its own
        kernel: the file of the guest's kernel
        repetition: which, from 1
        status: of STATUSES
        reason: of that, in words
        seconds: how long it took
        attempts: how often it was run until it had this status
        log: what it has said
        log_file: where all that its guest has said is kept; empty: nowhere
    """

    path: tuple[str, ...]
    kernel: str
    repetition: int
    status: str
    reason: str = ""
    seconds: float = 0.0
    attempts: int = 1
    log: str = ""
    log_file: str = ""

    @property
    def name(self) -> str:
        return ".".join(self.path)

    @property
    def is_bad(self) -> bool:
        return self.status not in GOOD


def tally(results: Iterable[Result]) -> dict[str, int]:
    """How many have each status; all statuses are there."""
    found = dict.fromkeys(STATUSES, 0)
    for result in results:
        found[result.status] += 1
    return found


def exit_code(results: Sequence[Result]) -> int:
    """The one that stands for all; of no case at all, that there is nothing complete."""
    statuses = {result.status for result in results}
    if not statuses:
        return exitcodes.INCOMPLETE
    return next((code for code, bad in _CODES if bad & statuses), exitcodes.OK)


def merged(before: Sequence[Result], again: Sequence[Result], attempt: int) -> list[Result]:
    """What became of the cases of a guest that were run again, in another.

    What was bad and is not bad any more is flaky. A case that has no result this time is as it
    was, unless nothing is bad any more: then it was part of what went wrong.
    """
    is_good = not any(result.is_bad for result in again)
    was = {result.path: result for result in before}
    found = []
    for result in again:
        earlier = was.pop(result.path, None)
        if earlier is not None and earlier.is_bad and result.status == PASSED:
            found.append(_flaky(result, earlier))
        elif earlier is not None and not earlier.is_bad and not result.is_bad:
            found.append(earlier)
        else:
            found.append(result)
    for earlier in was.values():
        if earlier.is_bad and is_good:
            found.append(_flaky(replace(earlier, attempts=attempt), earlier))
        else:
            found.append(earlier)
    return found


def _flaky(result: Result, earlier: Result) -> Result:
    reason = f"{earlier.status} before: {earlier.reason}" if earlier.reason else earlier.status
    return replace(result, status=FLAKY, reason=reason, log=earlier.log, log_file=earlier.log_file)
