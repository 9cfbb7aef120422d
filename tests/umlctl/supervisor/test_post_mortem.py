from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import trio

from umlctl.host import processes
from umlctl.state import records
from umlctl.supervisor.guest import Guest

if TYPE_CHECKING:
    import pytest

    from umlctl.supervisor.launch.launched import Launched

DEADLINE = 30.0


async def end(guest: Guest) -> None:
    """Be there as its kernel is killed."""
    with trio.fail_after(DEADLINE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(guest.supervise)
            await trio.testing.wait_all_tasks_blocked()
            guest.kill("a test wants it")


async def test_end_is_told_and_written_down(launched: Launched) -> None:
    guest = Guest(launched)
    await end(guest)
    ending = guest.ending
    assert ending is not None
    assert ending.text.startswith("a test wants it")
    assert guest.milestones.dead.is_set()
    assert guest.life.process.gone
    record = records.load("demo")
    assert record is not None
    assert record.ending == ending
    assert [event["event"] for event in guest.history] == ["started", "ended"]


async def test_tiny_parent_that_does_not_end_is_ended(
    launched: Launched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is stopped, say, and nobody knows with which status the kernel ended."""
    monkeypatch.setattr("umlctl.supervisor.post_mortem.SHIM_TIMEOUT", 0.05)
    os.kill(launched.shim, signal.SIGSTOP)
    guest = Guest(launched)
    await end(guest)
    assert guest.ending is not None
    assert processes.start_time(launched.shim) is None


async def test_panic_before_the_kernel_could_notify_is_found_in_its_log(
    launched: Launched,
) -> None:
    guest = Guest(launched)
    with open(guest.life.log, "ab") as log:
        log.write(b"Kernel panic - not syncing: VFS: Unable to mount root fs\n")
    await end(guest)
    assert guest.ending is not None
    assert "Unable to mount root fs" in guest.lifecycle.last_panic
    assert "panicked" in [event["event"] for event in guest.history]
