"""What tests of the command line as a whole share."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from umlctl import entry
from umlctl.client import oneshot

if TYPE_CHECKING:
    from collections.abc import Callable


PATIENCE = 60.0
"""More than any answer takes here, seconds."""


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
def shot(
    house: str, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Run]:
    # Or a supervisor that is late here would be asked, besides, who holds its guest.
    monkeypatch.setattr(oneshot, "SILENCE_TIMEOUT", PATIENCE)

    def run(*arguments: str) -> Run:
        code = entry.main(["umlctl", *arguments])
        sys.stdout.flush()
        return Run(code, *capfdbinary.readouterr())

    return run
