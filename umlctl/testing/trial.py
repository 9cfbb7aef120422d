"""What is run in one guest, how that ended, and the results that it makes. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import msgspec

from umlctl.testing.ktap import CRASHED, FAILED, PASSED, SKIPPED, TIMED_OUT, is_bad
from umlctl.testing.result import HUNG, KNOWN, NEVER_STARTED, PANICKED, Result

if TYPE_CHECKING:
    from umlctl.testing.ktap import Leaf, Reader

EXITED: Final = "exited"
SIGNALLED: Final = "signalled"
LATE: Final = "late"
ENDED: Final = "ended"
INTERRUPTED: Final = "interrupted"
NOT_BEGUN: Final = "not begun"
"""How a guest can end, see Ended."""
MAX_GOOD_LOG_LETTERS: Final = 1 << 12
"""What is kept of the log of a case that is not bad."""


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One guest.

    Fields:
        name: of the case, where what it says is no KTAP
        kernel: the file of its kernel
        repetition: which, from 1
        words: the command
        options: of `umlctl exec`, by their names
        from_log: what counts is what its kernel says, and not its command
        attempt: how often it is run, with this time
    """

    name: str
    kernel: str
    words: tuple[str, ...]
    options: dict[str, Any]
    repetition: int = 1
    from_log: bool = False
    attempt: int = 1


class Ended(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a guest ended.

    Fields:
        kind: EXITED: the command did, `code` is its status; SIGNALLED: `code` is the signal;
            LATE: its time was up; ENDED: the guest ended before its command did; INTERRUPTED: by
            who runs it; NOT_BEGUN: there was no command
        code: see kind
        text: why, in words
        panic: what the kernel said when it panicked; empty: it did not
    """

    kind: str
    code: int = 0
    text: str = ""
    panic: str = ""


def encode(trial: Trial) -> bytes:
    """A trial as its process reads it. A word that is no UTF-8 has surrogates, which the one JSON
    has and the other has not."""
    return json.dumps(msgspec.to_builtins(trial)).encode()


def decode(data: bytes) -> Trial:
    """Raises: msgspec.ValidationError"""
    trial = msgspec.convert(json.loads(data), Trial)
    options = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in trial.options.items()
    }
    return msgspec.structs.replace(trial, options=options)


def results(
    trial: Trial, ended: Ended, reader: Reader, log: str, seconds: float, *, hung: bool = False
) -> list[Result]:
    """What became of the cases of a guest.

    reader: of what it has said, read to its end
    log: the end of all that it has said
    hung: it was ended since it said nothing any more
    """
    has_cases = trial.from_log and reader.began
    status, reason = _verdict(ended, hung=hung, has_cases=has_cases)
    if reader.began:
        return _of_cases(trial, reader, status, reason, (log, seconds))
    if trial.from_log and not is_bad(status):
        status, reason = CRASHED, "its kernel has run no tests"
    return [_result(trial, (trial.name,), status, reason, (log, seconds))]


def _of_cases(
    trial: Trial, reader: Reader, status: str, reason: str, of_all: tuple[str, float]
) -> list[Result]:
    """The results of a guest that has told of cases.

    status, reason: of the guest as a whole: a case that was broken off then has these
    of_all: its log, and how long it took
    """
    found = []
    broken_off = is_bad(status) and status != FAILED
    unexplained, any_bad = broken_off, False
    leaves = list(reader.leaves())
    for leaf in leaves:
        now, why = _status(leaf), leaf.reason
        any_bad = any_bad or is_bad(leaf.status)
        if unexplained and now == CRASHED and leaf is leaves[-1]:
            now, why, unexplained = status, f"{reason}; {why}" if why else reason, False
        found.append(_result(trial, leaf.path, now, why, (leaf.log, leaf.seconds)))
    if unexplained or (status == FAILED and not any_bad):
        found.append(_result(trial, (trial.name,), status, reason, of_all))
    elif reader.problems and not broken_off:
        problems = "; ".join(reader.problems)
        found.append(_result(trial, (trial.name,), CRASHED, problems, of_all))
    if not found and trial.from_log:
        why = f"the kernel has no test that matches {trial.name}"
        found.append(_result(trial, (trial.name,), NEVER_STARTED, why, of_all))
    if not found:
        why = reader.skipped or "there are no cases"
        found.append(_result(trial, (trial.name,), SKIPPED, why, of_all))
    return found


def _result(
    trial: Trial, path: tuple[str, ...], status: str, reason: str, said: tuple[str, float]
) -> Result:
    log, seconds = said
    return Result(
        path=path,
        kernel=trial.kernel,
        repetition=trial.repetition,
        status=status,
        reason=reason,
        seconds=round(seconds, 6),
        attempts=trial.attempt,
        log=log[-MAX_GOOD_LOG_LETTERS:] if status in (PASSED, SKIPPED) else log,
    )


def _status(leaf: Leaf) -> str:
    return KNOWN if leaf.known and is_bad(leaf.status) else leaf.status


def _verdict(ended: Ended, *, hung: bool, has_cases: bool) -> tuple[str, str]:
    """The status of a guest as a whole, and why.

    has_cases: its kernel has run tests, so it has started though it had no command
    """
    if hung:
        return HUNG, "it said nothing any more"
    if ended.panic and (ended.kind != NOT_BEGUN or has_cases):
        return PANICKED, ended.panic
    if ended.kind == LATE:
        return TIMED_OUT, ended.text
    if ended.kind == NOT_BEGUN and not has_cases:
        return NEVER_STARTED, ended.text
    if ended.kind == SIGNALLED:
        return CRASHED, f"signal {ended.code}"
    if ended.kind in (EXITED, NOT_BEGUN) and not ended.code:
        return PASSED, ""
    if ended.kind == EXITED:
        return FAILED, ended.text or f"exit status {ended.code}"
    return CRASHED, ended.text
