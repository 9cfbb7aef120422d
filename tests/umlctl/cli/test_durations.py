from __future__ import annotations

import time
from datetime import datetime

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.cli.durations import SECONDS, moment
from umlctl.errors import UsageError
from umlctl.guest.options import MAX_SECONDS

NOW = datetime(2026, 1, 31, 14, 30, 5).timestamp()  # noqa: DTZ001 - a person's own time


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("0s", 0),
        ("90s", 90),
        ("10m", 600),
        ("1.5h", 5400),
        ("2d", 2 * 86400),
        ("14:30", 5),
        ("14:29:05", 60),
        ("2026-01-31T14:30", 5),
        ("2026-01-30", 86400 + 14.5 * 3600 + 5),
    ],
)
def test_moment_is_what_a_person_means(text: str, ago: float) -> None:
    assert NOW - moment(text, NOW) == ago


@given(st.text(max_size=20))
def test_any_text_is_a_moment_or_refused(text: str) -> None:
    try:
        assert isinstance(moment(text, time.time()), float)
    except UsageError as problem:
        assert "--since takes 10m" in str(problem)  # noqa: PT017


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "soon", "2e9", ""])
def test_what_no_clock_can_wait_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        SECONDS.convert(text, None, None)  # type: ignore[arg-type]


def test_others_are_seconds() -> None:
    for text, seconds in (("2.5", 2.5), ("1e3", 1000.0), (f"{MAX_SECONDS:g}", MAX_SECONDS)):
        assert SECONDS.convert(text, None, None) == seconds  # type: ignore[arg-type]
