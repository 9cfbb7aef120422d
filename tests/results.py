"""Results of cases, for tests of what counts and writes them."""

from __future__ import annotations

from typing import Any

from umlctl.testing.result import Result


def a(name: str, status: str, **facts: Any) -> Result:
    """The result of a case of that name."""
    given = {"path": tuple(name.split(".")), "kernel": "/k", "repetition": 1, "status": status}
    return Result(**{**given, **facts})
