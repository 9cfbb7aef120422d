"""What a guest does for its lifecycle; tests/live has guests with real kernels."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
import trio

from umlctl.state.umid_lock import kernel_socket
from umlctl.supervisor import lifecycle
from umlctl.supervisor.guest import Guest
from umlctl.supervisor.launch.launch import launch_again
from umlctl.supervisor.lifecycle import (
    Cleared,
    HasSocket,
    IllegalStep,
    Ready,
    Relaunched,
    Resumed,
    Stopped,
)

if TYPE_CHECKING:
    from umlctl.supervisor.launch.launched import Launched

DEADLINE = 30.0


async def test_requests_are_refused_held_and_answered_as_the_guest_goes(
    launched: Launched,
) -> None:
    guest = Guest(launched)
    with trio.fail_after(DEADLINE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(guest.supervise)
            await trio.testing.wait_all_tasks_blocked()
            assert why(guest) == "the guest is still booting"
            guest.handle(Ready())
            assert guest.milestones.ready.is_set()
            assert why(guest) == ""
            guest.handle(HasSocket())
            assert not guest.milestones.ready.is_set()
            assert why(guest) == "the guest rebooted"
            guest.kill("a test wants it")
    assert why(guest).startswith("the guest is dead: ")
    assert guest.milestones.ready.is_set(), "whoever waits need not any more"


@pytest.mark.parametrize("adopted", [False, True])
async def test_guest_whose_record_was_lost_counts_as_ready_once_if_it_ran_already(
    launched: Launched, adopted: bool
) -> None:
    launched.lost = "its record cannot be read"
    launched.adopted = adopted
    assert Guest(launched).lifecycle.known is adopted


async def test_guest_that_reboots_though_it_is_to_end_is_terminated(
    launched: Launched, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest = Guest(launched)
    signals: list[int] = []
    monkeypatch.setattr(guest.life.process, "signal", signals.append)
    guest.handle(Ready())
    guest.lifecycle.asked_to_end = "a user wants it"
    guest.handle(HasSocket())
    assert signals == [signal.SIGTERM]
    assert [event["event"] for event in guest.history] == ["ready", "rebooting"]


async def test_others_are_stopped_and_restarts_cancelled_when_it_says_so(
    launched: Launched,
) -> None:
    said: list[str] = []
    guest = Guest(launched, stop_others=said.append)
    guest._obey(lifecycle.StopOthers("demo hangs"))
    assert said == ["demo hangs"]
    guest._obey(lifecycle.CancelRestart())
    assert guest.milestones.unwanted.is_set()


def test_every_instruction_is_obeyed() -> None:
    """Each kind has an arm in the one place that obeys."""
    kinds = {each.__name__ for each in lifecycle.Instruction.__subclasses__()}
    named = set(Guest._obey.__code__.co_names)
    assert kinds <= named


async def test_illegal_step_does_nothing(launched: Launched) -> None:
    guest = Guest(launched)
    with pytest.raises(IllegalStep):
        guest.handle(Resumed())
    assert list(guest.history) == []


async def test_another_life_has_parts_of_its_own(launched: Launched) -> None:
    guest = Guest(launched)
    first = guest.life
    with trio.fail_after(DEADLINE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(guest.supervise)
            await trio.testing.wait_all_tasks_blocked()
            guest.kill("a test wants it")
    guest.handle(Cleared())
    assert not guest.lifecycle.again
    guest.lifecycle.again = True
    assert not await guest.await_restart(600.0), "a user has ended it"
    with pytest.raises(IllegalStep):
        guest.handle(Relaunched())
    guest.lifecycle.again, guest.lifecycle.unwanted = True, False
    guest.milestones.unwanted = trio.Event()
    assert await guest.await_restart(0.0)
    again = await trio.to_thread.run_sync(launch_again, launched)
    guest.begin(again)
    try:
        assert guest.life is not first
        assert guest.lifecycle.state == "booting"
        assert not guest.milestones.dead.is_set()
        assert guest.life.kernel.path == kernel_socket(launched.definition)
    finally:
        with trio.fail_after(DEADLINE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(guest.supervise)
                await trio.testing.wait_all_tasks_blocked()
                guest.kill("a test wants it")


async def test_guest_is_not_stopped_before_it_runs(launched: Launched) -> None:
    guest = Guest(launched)
    with pytest.raises(IllegalStep, match="no Stopped while booting"):
        guest.handle(Stopped())
    guest.life.pauses.note_stopped()
    assert guest.lifecycle.state == "booting"


def why(guest: Guest) -> str:
    unable = guest.life.kernel.refusal("version")
    return "" if unable is None else unable.reason
