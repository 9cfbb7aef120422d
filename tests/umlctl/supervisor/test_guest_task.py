"""What is done between two lives of a guest that is made up; tests/live has real ones."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import trio

from umlctl.guest.definition import Definition
from umlctl.supervisor import guest_task as module
from umlctl.supervisor.lifecycle import EndWanted, Lifecycle


class Made:
    """A guest that has ended and is to be started again."""

    def __init__(self) -> None:
        self.launched = SimpleNamespace(definition=Definition(umid="demo", kernel="/linux"))
        self.launched.pidfile = SimpleNamespace(remove=lambda: None)
        self.lifecycle = Lifecycle(self.launched.definition, 0.0)
        self.milestones: Any = None
        self.begun: list[Any] = []
        self.killed: list[str] = []
        self.told: list[str] = []
        self.history = SimpleNamespace(add=lambda name, **_facts: self.told.append(name))

    async def await_restart(self, _seconds: float) -> bool:
        return True

    def begin(self, launched: Any) -> None:
        self.begun.append(launched)

    def kill(self, why: str) -> None:
        self.killed.append(why)


async def test_guest_is_started_again_though_its_pidfile_cannot_be_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    guest = Made()

    def fail() -> None:
        raise PermissionError("its directory is read-only")

    guest.launched.pidfile.remove = fail
    monkeypatch.setattr(module, "launch_again", lambda last: last)
    monkeypatch.setattr(module, "_publish", lambda _guest: None)
    assert await module._start_again(guest, 0.0)  # type: ignore[arg-type]
    assert guest.told == ["not removed"]
    assert len(guest.begun) == 1


async def test_who_is_told_of_the_end_finds_no_pidfile() -> None:
    guest = Made()
    over = trio.Event()
    found: list[bool] = []
    guest.launched.pidfile.remove = lambda: found.append(over.is_set())
    guest.history.end = lambda: found.append(over.is_set())
    guest.milestones = SimpleNamespace(over=over)
    module._announce_end(guest)  # type: ignore[arg-type]
    assert found == [False, False]
    assert over.is_set()


@pytest.mark.parametrize("ended", [True, False])
async def test_guest_that_is_ended_while_its_kernel_is_launched_again_is_ended(
    monkeypatch: pytest.MonkeyPatch, ended: bool
) -> None:
    """A shutdown that comes then finds no guest to end, and one that is about to run."""
    guest = Made()

    def launch_again(last: Any) -> Any:
        if ended:
            trio.from_thread.run_sync(guest.lifecycle.handle, EndWanted(), 0.0)
        return last

    monkeypatch.setattr(module, "launch_again", launch_again)
    monkeypatch.setattr(module, "_publish", lambda _guest: None)
    assert await module._start_again(guest, 0.0)  # type: ignore[arg-type]
    assert (len(guest.begun), len(guest.killed)) == (1, int(ended))
