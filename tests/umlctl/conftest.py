"""What tests of the command line as a whole share."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from umlctl import entry

if TYPE_CHECKING:
    from collections.abc import Callable


class Run:
    """One command line, run here: its code and what it printed."""

    def __init__(self, code: int, out: bytes, err: bytes) -> None:
        self.code = code
        self.out = out
        self.err = err.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def shot(house: str, capfdbinary: pytest.CaptureFixture[bytes]) -> Callable[..., Run]:
    def run(*arguments: str) -> Run:
        code = entry.main(["umlctl", *arguments])
        sys.stdout.flush()
        return Run(code, *capfdbinary.readouterr())

    return run
