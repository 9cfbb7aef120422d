from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.live.conftest import wait_for
from umlctl.errors import HostError
from umlctl.execution import if_killed as module

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import os, sys
from umlctl.execution.if_killed import if_killed
with if_killed('echo "$1" >"$2~" && mv "$2~" "$2"', "done; it's", sys.argv[1]):
    {}
"""


def test_it_is_done_by_another_process_if_this_one_is_killed(tmp_path: Path) -> None:
    made = tmp_path / "made"
    for ending, is_done in (("pass", False), ("os.kill(os.getpid(), 9)", True)):
        command = [sys.executable, "-c", PROGRAM.format(ending), str(made)]
        subprocess.run(command, check=False, timeout=60)
        if is_done:
            wait_for(made.exists, "it is done")
    assert made.read_text() == "done; it's\n"


def test_nothing_is_done_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nobody waits any more."""
    made = tmp_path / "made"
    spawned: list[int] = []
    spawn = os.posix_spawnp

    def noted(*words: Any, **how: Any) -> int:
        spawned.append(spawn(*words, **how))
        return spawned[-1]

    monkeypatch.setattr(os, "posix_spawnp", noted)
    with module.if_killed('echo >"$1"', str(made)):
        pass
    (watcher,) = spawned
    with pytest.raises(ChildProcessError):
        os.waitpid(watcher, os.WNOHANG)
    assert not made.exists()


def test_host_that_has_no_more_processes_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def spawn(*_: object, **__: object) -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "posix_spawnp", spawn)
    with pytest.raises(HostError, match="cannot be watched"), module.if_killed("true"):
        pass
