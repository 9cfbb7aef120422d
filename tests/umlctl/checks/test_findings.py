from __future__ import annotations

import os
from typing import TYPE_CHECKING

from umlctl.checks import findings

if TYPE_CHECKING:
    import pytest


def test_command_is_one_that_this_user_can_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert findings.set_to("kernel.x", 1) == "sysctl -w kernel.x=1"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert findings.set_to("kernel.x", 1) == "sudo sysctl -w kernel.x=1"
