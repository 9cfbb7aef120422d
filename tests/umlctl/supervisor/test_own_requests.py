"""The supervisor's own commands of a guest whose kernel does nothing; tests/live has real ones."""

from __future__ import annotations

import errno
import json
import os
from typing import TYPE_CHECKING, Any, cast

import pytest
import trio

from tests.umlctl.supervisor.made import MadeCall
from umlctl import exitcodes
from umlctl.errors import Refusal
from umlctl.protocol.guard import read
from umlctl.protocol.status import Ending
from umlctl.supervisor.guest import Guest
from umlctl.supervisor.lifecycle import STOPPED, Ended
from umlctl.supervisor.own_requests import OwnRequests
from umlctl.supervisor.rate_limits import MAX_SUBSCRIPTIONS
from umlctl.supervisor.readiness import Readiness
from umlctl.supervisor.shutdown import Shutdown

if TYPE_CHECKING:
    from trio.testing import MockClock

    from umlctl.supervisor.launch.launched import Launched

DEADLINE = 30.0


class Asked:
    """A guest that boots, and who asks for it."""

    def __init__(self, launched: Launched) -> None:
        self.guest = Guest(launched)
        self.requests = OwnRequests(self.guest, Readiness(self.guest.milestones, 60.0))

    async def ask(self, text: str) -> MadeCall:
        call = MadeCall(text)
        await self.requests.answer(cast("Any", call), read(text))
        return call

    def ends(self) -> None:
        self.guest.handle(Ended(ending=Ending(cause="exited", code=3), how="exited with 3"))
        self.guest.milestones.mark_dead()
        self.guest.milestones.over.set()
        self.guest.history.end()


@pytest.fixture
async def asked(launched: Launched) -> Asked:
    return Asked(launched)


async def test_status_has_the_devices_with_what_serves_them(asked: Asked) -> None:
    status = json.loads((await asked.ask("status")).said)
    assert (status["umid"], status["state"]) == ("demo", "booting")
    assert status["devices"] == json.loads((await asked.ask("devices")).said)


@pytest.mark.parametrize("text", ["layer commit", "layer save", "layer reset", "layer x ubd1"])
async def test_layer_takes_what_it_says(asked: Asked, text: str) -> None:
    with pytest.raises(Refusal, match=r"`layer` takes commit\|reset\|save WORD"):
        await asked.ask(text)


async def test_past_events_come_and_the_answer_ends(asked: Asked) -> None:
    asked.guest.history.add("kill", uid=1, pid=2)
    call = await asked.ask("events past")
    assert json.loads(call.said)["event"] == "kill"
    with pytest.raises(Refusal, match="`events` takes `past` or nothing"):
        await asked.ask("events all")


async def test_events_go_on_until_the_guest_is_over(asked: Asked) -> None:
    call = MadeCall("events")
    with trio.fail_after(DEADLINE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(asked.requests.answer, cast("Any", call), read("events"))
            await trio.testing.wait_all_tasks_blocked()
            asked.guest.history.add("kill", uid=1, pid=2)
            asked.ends()
    assert [json.loads(line)["event"] for line in call.text.splitlines()] == ["kill", "ended"]
    assert call.error == 0


async def test_wait_says_how_the_guest_has_ended_with_signs_of_life_before(
    asked: Asked, autojump_clock: MockClock
) -> None:
    async def end() -> None:
        await trio.sleep(3.5)
        asked.ends()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(end)
        call = await asked.ask("wait")
    assert call.parts == 3
    assert json.loads(call.said)["code"] == 3


async def test_too_many_that_wait_are_refused(asked: Asked) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(MAX_SUBSCRIPTIONS[0]):
            nursery.start_soon(asked.ask, "wait")
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(Refusal) as caught:
            await asked.ask("events")
        assert caught.value.error == -errno.EBUSY
        nursery.cancel_scope.cancel()


async def test_kill_ends_the_guest_and_says_who_did(asked: Asked) -> None:
    with trio.fail_after(DEADLINE):
        async with trio.open_nursery() as nursery:

            async def live() -> None:
                await asked.guest.supervise()
                asked.guest.milestones.over.set()

            nursery.start_soon(live)
            await trio.testing.wait_all_tasks_blocked()
            call = await asked.ask("kill")
    assert json.loads(call.said)["text"].startswith(f"killed by uid 0, pid {os.getpid()}")
    assert asked.guest.lifecycle.unwanted
    assert "kill" in [event["event"] for event in asked.guest.history]


async def test_sync_is_answered_when_it_was_seen(
    asked: Asked, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    asked.guest.milestones.ready.set()
    said = ["", "not seen to sync: its console did not say so within 5 seconds"]

    async def sync(_self: Shutdown) -> str:
        await trio.sleep(2.5)
        return said.pop(0)

    monkeypatch.setattr(Shutdown, "sync", sync)
    call = await asked.ask("sync")
    assert (call.said, call.parts) == (b"", 2)
    with pytest.raises(Refusal, match="not seen to sync: its console") as caught:
        await asked.ask("sync")
    assert caught.value.error == -errno.EIO


async def test_guest_that_cannot_sync_says_why(
    asked: Asked, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Refusal, match="is booting, and was not ready within 60 seconds") as caught:
        await asked.ask("sync")
    assert caught.value.error == exitcodes.ETIMEDOUT
    monkeypatch.setattr(asked.guest.lifecycle, "state", STOPPED)
    with pytest.raises(Refusal, match="the guest is paused, and writes nothing; send `go` first"):
        await asked.ask("sync")


@pytest.mark.parametrize("text", ["plug floppy /x", "plug console con99", "plug disk /x,size"])
async def test_what_cannot_be_plugged_is_refused(asked: Asked, text: str) -> None:
    asked.guest.milestones.ready.set()
    with pytest.raises(Refusal) as caught:
        await asked.ask(text)
    assert caught.value.error == -errno.EINVAL


async def test_shutdown_takes_a_number_of_seconds(asked: Asked) -> None:
    with pytest.raises(Refusal, match="takes a number of seconds"):
        await asked.ask("shutdown soon")
