"""The type of `--timeout`: a number of seconds that a clock can wait."""

from __future__ import annotations

import math
from typing import Final

import click


class _Seconds(click.FloatRange):
    name = "seconds"

    def convert(
        self, value: float, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        seconds = float(super().convert(value, param, ctx))
        if not math.isfinite(seconds):
            self.fail(f"{value!r} is no number of seconds", param, ctx)
        return seconds


SECONDS: Final = _Seconds(0, 1e9, min_open=True)
