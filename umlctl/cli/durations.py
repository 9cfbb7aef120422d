"""Time on the command line: `--timeout`, seconds that a clock can wait; `--since`, a moment."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

import click

from umlctl.errors import UsageError
from umlctl.guest.options import MAX_SECONDS

_AGO: Final = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|d)")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_CLOCKS: Final = ("%H:%M:%S", "%H:%M")


class _Seconds(click.FloatRange):
    name = "number of seconds"

    def convert(
        self, value: float, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        seconds = float(super().convert(value, param, ctx))
        if not 0 < seconds <= MAX_SECONDS:  # nor what is no number
            self.fail(
                f"{value!r} is not a number of seconds above 0, {MAX_SECONDS:g} at most", param, ctx
            )
        return seconds

    def _describe_range(self) -> str:
        """Show no limit: a reader of `--help` does not meet this one."""
        return ""


SECONDS: Final = _Seconds()


def moment(text: str, now: float) -> float:
    """The time that a user means, seconds since 1970.

    Raises: UsageError
    """
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return now - float(ago[1]) * _UNITS[ago[2]]
    for clock in _CLOCKS:
        try:
            found = datetime.strptime(text, clock)  # noqa: DTZ007 - a person's own time
        except ValueError:
            continue
        today = datetime.fromtimestamp(now)  # noqa: DTZ006
        return today.replace(
            hour=found.hour, minute=found.minute, second=found.second, microsecond=0
        ).timestamp()
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise UsageError(
            f"--since takes 10m (or s, h, d), 14:30 or 2026-01-31T14:30, not {text!r}"
        ) from None
