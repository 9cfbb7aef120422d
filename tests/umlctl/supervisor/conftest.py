"""The process of the tests, which supervises guests here as a supervisor's own does."""

from __future__ import annotations

import contextlib
import ctypes
import os
from typing import TYPE_CHECKING

import pytest

from tests import fake_kernel
from tests.conftest import PR_SET_CHILD_SUBREAPER
from tests.histories import strange
from umlctl.guest.definition import Definition
from umlctl.host import processes
from umlctl.state.umid_lock import claim
from umlctl.supervisor.history import History
from umlctl.supervisor.launch.launch import launch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from umlctl.protocol.events import EventName
    from umlctl.supervisor.launch.launched import Launched


@pytest.fixture(autouse=True)
def _leaves_orphans_to_init() -> Iterator[None]:
    """Who supervises a guest inherits all orphans below; other tests' are not for this process."""
    yield
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@pytest.fixture(autouse=True)
def _events_are_those_of_the_table(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    found: list[str] = []
    add = History.add

    def noted(self: History, event: EventName, **facts: object) -> None:
        found.extend(strange({"event": event, **facts}))
        add(self, event, **facts)

    monkeypatch.setattr(History, "add", noted)
    yield
    assert found == []


@pytest.fixture
def launched(house: str, tmp_path: Path) -> Iterator[Launched]:
    """A guest that was launched, and whose kernel does nothing; house: where it is at home."""
    kernel = fake_kernel.write(f"{tmp_path}/linux", f": {house}\nexec sleep 600\n")
    with claim("demo") as held:
        launched = launch(Definition(umid="demo", kernel=kernel), held)
        yield launched
        launched.notify.close()
        processes.kill_guest(launched.pid, launched.started, [])
        with contextlib.suppress(ChildProcessError):
            os.waitpid(launched.shim, 0)
