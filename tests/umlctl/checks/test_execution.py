from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.umlctl.checks.conftest import ABLE
from umlctl.checks import execution as checks
from umlctl.checks.findings import FATAL, NOTE, WARNING
from umlctl.guest import command

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest


def test_kernel_without_an_overlay_is_told(kernel: Callable[..., None]) -> None:
    assert list(checks.overlay()) == []
    for config, severity, said in (
        ({**ABLE, "OVERLAY_FS": ""}, WARNING, "it is built without"),
        ({**ABLE, "OVERLAY_FS": "m"}, WARNING, "overlay.ko is not there"),
        ({**ABLE, "EXT4_FS": "m"}, NOTE, "no ext4 built in"),
    ):
        kernel(config=config)
        (found,) = checks.overlay()
        assert (found.severity, said in found.what) == (severity, True)
    kernel("")
    assert list(checks.overlay()) == []


def test_process_1_that_is_not_there_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = tmp_path / "agent"
    monkeypatch.setattr(command, "AGENT", str(agent))
    (found,) = checks.process_1()
    assert (found.severity, "a shell is process 1" in found.why) == (NOTE, True)
    agent.touch(0o755)
    assert list(checks.process_1()) == []
    monkeypatch.setattr(os, "access", lambda *_: False)
    (found,) = checks.process_1()
    assert found.severity == FATAL
