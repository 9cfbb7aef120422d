"""All results of a run, for programs: as JSON. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from umlctl.testing.result import Result, tally

if TYPE_CHECKING:
    from collections.abc import Sequence


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A run.

    Fields:
        title: what was run
        code: the exit code
        interrupted: somebody has ended it before it was over
        seconds: how long it took
        counts: of results, by status
        results: of all cases
    """

    title: str
    code: int
    interrupted: bool
    seconds: float
    counts: dict[str, int]
    results: list[Result]


def write(
    results: Sequence[Result], title: str, code: int, seconds: float, *, interrupted: bool
) -> bytes:
    """The report of a run as JSON."""
    report = Report(
        title=title,
        code=code,
        interrupted=interrupted,
        seconds=round(seconds, 3),
        counts=tally(results),
        results=list(results),
    )
    plain = msgspec.to_builtins(report)
    return msgspec.json.format(msgspec.json.encode(_sound(plain)), indent=1) + b"\n"


def _sound(value: object) -> object:
    """A value whose text is UTF-8: a file's name may be none."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {key: _sound(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_sound(each) for each in value]
    return value
