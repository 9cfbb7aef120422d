"""The process of the tests, which supervises guests here as a supervisor's own does."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import pytest

from tests.conftest import PR_SET_CHILD_SUBREAPER
from tests.histories import strange
from umlctl.supervisor.history import History

if TYPE_CHECKING:
    from collections.abc import Iterator

    from umlctl.protocol.events import EventName


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
