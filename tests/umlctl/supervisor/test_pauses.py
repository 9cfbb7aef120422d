from __future__ import annotations

import time
from typing import TYPE_CHECKING

import trio

from socketproto.exchange import TIMED_OUT, Outcome
from tests.umlctl.supervisor.made import MadeKernel
from umlctl.guest.definition import Definition
from umlctl.host import processes
from umlctl.state.records import Record
from umlctl.supervisor.lifecycle import Event, Lifecycle, Ready, Tell
from umlctl.supervisor.pauses import RESUME_INTERVAL, RUNNING_SECONDS, Pauses
from umlctl.supervisor.process import RUNNING_CPU_SECONDS

if TYPE_CHECKING:
    import pytest
    from trio.testing import MockClock


class Made:
    """A guest that runs, as far as it can be stopped."""

    def __init__(self) -> None:
        definition = Definition(umid="demo", kernel="/linux")
        self.record = Record(
            definition=definition, supervisor_pid=1, pid=4711, started=1, boot_id="", since=0.0
        )
        self.lifecycle = Lifecycle(definition, 0.0)
        self.kernel = MadeKernel()
        self.told: list[Tell] = []
        self.saved: list[float] = []
        self.pauses = Pauses(self.lifecycle, self.handle, self.kernel, self.record, self.save)
        self.handle(Ready())
        self.told.clear()
        self.ready = trio.Event()
        self.ready.set()

    def handle(self, event: Event) -> None:
        found = self.lifecycle.handle(event, time.time())
        self.told += [each for each in found if isinstance(each, Tell)]

    async def save(self) -> None:
        self.saved.append(self.record.resume)


async def test_stop_and_go_are_told_once_with_their_author() -> None:
    guest = Made()
    guest.pauses.note_stopped(uid=7)
    guest.pauses.note_stopped(uid=8)
    assert (await guest.pauses.resume(uid=9)).ok
    guest.pauses.note_running()
    assert guest.told == [Tell("stopped", {"seconds": None, "uid": 7}), Tell("resumed", {"uid": 9})]


async def test_pause_ends_in_time_and_is_written_down_meanwhile(autojump_clock: MockClock) -> None:
    guest = Made()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(guest.pauses.run, guest.ready)
        await trio.testing.wait_all_tasks_blocked()
        guest.pauses.note_stopped(0.01)
        due = guest.record.resume
        await trio.sleep(1.0)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert guest.kernel.asked[0] == "go"
    assert guest.saved == [due, 0.0]
    assert [each.event for each in guest.told] == ["stopped", "resumed"]


async def test_pause_that_cannot_be_ended_is_tried_again(autojump_clock: MockClock) -> None:
    guest = Made()

    async def answer(_text: str, _timeout: float) -> Outcome:
        return Outcome(TIMED_OUT)

    guest.kernel.answer = answer
    guest.pauses.note_stopped(0.0)
    with trio.move_on_after(3.5 * RESUME_INTERVAL):
        await guest.pauses.run(guest.ready)
    assert guest.kernel.asked == ["go"] * 4
    assert guest.lifecycle.state == "stopped"


async def test_what_the_kernel_does_past_us_is_believed(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """That it runs only after a moment: it looks so after each request."""
    guest = Made()
    looks = True
    monkeypatch.setattr(processes, "looks_stopped", lambda _pid: looks)
    monkeypatch.setattr(processes, "rests_elsewhere", lambda _pid: not looks)
    guest.pauses.look()
    assert guest.lifecycle.state == "stopped"
    looks = False
    guest.pauses.look()
    assert guest.lifecycle.state == "stopped"
    await trio.sleep(2 * RUNNING_SECONDS)
    guest.pauses.look()
    assert [each.event for each in guest.told] == ["stopped", "resumed"]


async def test_stopped_guest_that_stands_still_after_its_answer_is_stopped_yet(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """As a busy host has it do; and when its pause ends is not forgotten."""
    guest = Made()
    used = 1.0
    monkeypatch.setattr(processes, "looks_stopped", lambda _pid: False)
    monkeypatch.setattr(processes, "rests_elsewhere", lambda _pid: False)
    monkeypatch.setattr(processes, "cpu_seconds", lambda _pid: used)
    guest.pauses.note_stopped(60.0)
    due = guest.record.resume
    for _ in range(5):
        guest.pauses.look()
        await trio.sleep(2 * RUNNING_SECONDS)
    used += RUNNING_CPU_SECONDS
    guest.kernel.exchanges += 1  # what it has used may be for that
    guest.pauses.look()
    await trio.sleep(2 * RUNNING_SECONDS)
    guest.pauses.look()
    assert [each.event for each in guest.told] == ["stopped"]
    assert guest.record.resume == due
    used += RUNNING_CPU_SECONDS
    guest.pauses.look()
    assert [each.event for each in guest.told] == ["stopped", "resumed"]
