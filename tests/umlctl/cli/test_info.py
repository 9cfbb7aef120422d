from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

from umlctl.cli import info, main
from umlctl.errors import NoKernel
from umlctl.host import kernels, nics, paths

if TYPE_CHECKING:
    import pytest


def test_host_is_shown(
    house: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(kernels, "find", lambda: "/usr/bin/linux.uml")
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    monkeypatch.setattr(nics, "has_capability", lambda _name: False)
    monkeypatch.setenv("TMPDIR", house)
    assert main.run(["info", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["kernel"] == "/usr/bin/linux.uml"
    assert found["processors"] == len(os.sched_getaffinity(0))
    assert 0 < found["memory_free"] <= found["memory"]
    assert (found["memory_dir"], found["guests"]) == (house, {})
    assert (found["slirp4netns"], found["taps"]) == (False, False)
    assert found["state_dir"] == paths.state_dir()
    assert main.run(["info"]) == 0
    text = capfd.readouterr().out
    assert "no: slirp4netns is missing" in text
    assert "guests            none" in text


def test_host_that_lacks_things_is_shown_all_the_same(
    house: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def none() -> str:
        raise NoKernel("no kernel")

    monkeypatch.setattr(kernels, "find", none)
    monkeypatch.setenv("TMPDIR", f"{house}/nonexistent")
    assert info.gather()["memory_room"] is None
    assert main.run(["info"]) == 0
    assert "`umlctl setup` fetches one" in capfd.readouterr().out
