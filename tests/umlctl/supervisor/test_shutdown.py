"""The end of a guest that is made up; tests/live has real ones."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest
import trio

from socketproto.exchange import ANSWERED, REFUSED, TIMED_OUT, Outcome
from tests.umlctl.supervisor.made import MadeKernel, MadeProcess
from umlctl.guest.definition import Definition
from umlctl.host.processes import Held
from umlctl.state.endings import NOT_SYNCED
from umlctl.state.records import Record
from umlctl.supervisor.emergency import SYNC_TIMEOUT
from umlctl.supervisor.lifecycle import Event, Kill, Lifecycle, Ready, Stopped
from umlctl.supervisor.pauses import Pauses
from umlctl.supervisor.readiness import Milestones
from umlctl.supervisor.shutdown import TERM_TIMEOUT, Shutdown

if TYPE_CHECKING:
    from pathlib import Path

    from trio.testing import MockClock

    from umlctl.protocol.status import State

SYNCED = b"Emergency Sync complete\n"
HANDLED = Outcome(ANSWERED, data=b"0\n")
UNHANDLED = Outcome(ANSWERED, data=b"1\n")


class Made:
    """A guest whose kernel does what a test says: `does` has what it ends of, and answers."""

    def __init__(self, log: Path, state: State = "running") -> None:
        definition = Definition(umid="demo", kernel="/linux")
        record = Record(
            definition=definition, supervisor_pid=1, pid=4711, started=1, boot_id="", since=0.0
        )
        self.lifecycle = Lifecycle(definition, 0.0)
        self.milestones = Milestones()
        self.kernel = MadeKernel()
        self.kernel.answer = self.answer
        self.process = MadeProcess()
        self.ends_of: set[str] = set()
        self.answers = {"proc sys/kernel/ctrl-alt-del": HANDLED}
        self.log = log
        log.write_bytes(b"Booted\n")
        self.killed = False
        self.slow = 0.0  # how long its kernel takes to answer, seconds
        pauses = Pauses(self.lifecycle, self.handle, self.kernel, record, trio.lowlevel.checkpoint)
        self.shutdown = Shutdown(
            self.lifecycle,
            self.handle,
            self.milestones,
            self.kernel,
            self.process,
            pauses,
            str(log),
        )
        if state != "booting":
            self.handle(Ready())
            self.milestones.ready.set()
        if state == "stopped":
            self.handle(Stopped())

    def handle(self, event: Event) -> None:
        if Kill() in self.lifecycle.handle(event, time.time()):
            self.killed = True
            self.milestones.mark_dead()

    async def answer(self, text: str, timeout: float) -> Outcome:
        await trio.lowlevel.checkpoint()
        if timeout < self.slow:
            return Outcome(TIMED_OUT)
        if text == "sysrq s" and text not in self.answers:
            with self.log.open("ab") as file:
                file.write(SYNCED)
        if text in self.ends_of:
            self.milestones.mark_dead()
        return self.answers.get(text, Outcome(ANSWERED))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "console.log"


async def test_guest_that_handles_it_shuts_itself_down(
    autojump_clock: MockClock, log: Path
) -> None:
    guest = Made(log)
    guest.ends_of = {"cad"}
    await guest.shutdown.run(30.0, "a user wants it")
    assert guest.kernel.asked == ["proc sys/kernel/ctrl-alt-del", "cad"]
    life = guest.lifecycle
    assert (life.asked_to_end, life.unsynced, life.late) == ("a user wants it", "", "")
    assert not guest.killed


async def test_sync_by_itself_waits_for_a_busy_kernel_and_an_end_does_not(
    autojump_clock: MockClock, log: Path
) -> None:
    guest = Made(log)
    guest.slow = 5.0
    assert await guest.shutdown.sync() == ""
    guest.ends_of = {"halt"}
    await guest.shutdown.run(0.0, "a user wants it")
    assert NOT_SYNCED in guest.lifecycle.unsynced


async def test_guest_that_does_not_is_synced_and_halted(
    autojump_clock: MockClock, log: Path
) -> None:
    guest = Made(log)
    guest.answers["proc sys/kernel/ctrl-alt-del"] = UNHANDLED
    guest.ends_of = {"halt"}
    await guest.shutdown.run(30.0, "a user wants it")
    assert guest.kernel.asked[1:] == ["sysrq s", "sysrq u", "halt"]
    assert (guest.lifecycle.unsynced, guest.lifecycle.late) == ("", "")


async def test_guest_that_is_late_is_synced_and_halted_and_that_is_said(
    autojump_clock: MockClock, log: Path
) -> None:
    guest = Made(log)
    guest.ends_of = {"halt"}
    await guest.shutdown.run(3.0, "a user wants it")
    assert guest.lifecycle.late == "it had not ended by itself within 3s, and was halted"
    assert not guest.lifecycle.unsynced


async def test_guest_whose_kernel_is_slow_is_not_halted_while_it_shuts_itself_down(
    autojump_clock: MockClock, log: Path
) -> None:
    guest = Made(log)
    guest.slow = 5.0
    guest.ends_of = {"cad"}
    await guest.shutdown.run(30.0, "a user wants it")
    assert guest.kernel.asked == ["proc sys/kernel/ctrl-alt-del", "cad"]
    guest = Made(log)
    guest.answers["cad"] = Outcome(TIMED_OUT, reason="no answer")
    guest.ends_of = {"halt"}
    await guest.shutdown.run(30.0, "a user wants it")
    said = "its kernel did not take Ctrl-Alt-Del (timed out: no answer), and was halted"
    assert (guest.lifecycle.late, guest.lifecycle.unsynced) == (said, "")


async def test_guest_that_is_not_seen_to_sync_may_have_lost_something(
    autojump_clock: MockClock, log: Path
) -> None:
    guest = Made(log)
    guest.answers |= {
        "proc sys/kernel/ctrl-alt-del": UNHANDLED,
        "sysrq s": Outcome(ANSWERED),
    }
    guest.ends_of = {"halt"}
    await guest.shutdown.run(3.0, "a user wants it")
    assert f"within {SYNC_TIMEOUT:g} seconds" in guest.lifecycle.unsynced


async def test_guest_that_answers_nothing_is_killed_in_the_end(
    autojump_clock: MockClock, log: Path
) -> None:
    guest = Made(log)

    async def answer(_text: str, timeout: float) -> Outcome:
        await trio.sleep(timeout)
        return Outcome(TIMED_OUT)

    guest.kernel.answer = answer
    await guest.shutdown.run(3.0, "a user wants it")
    assert guest.process.signals == [signal.SIGTERM]
    assert guest.killed
    assert guest.lifecycle.asked_to_end == "a user wants it; it did not end by itself"
    assert guest.lifecycle.unsynced.startswith(NOT_SYNCED)


async def test_guest_that_boots_has_nothing_to_lose(autojump_clock: MockClock, log: Path) -> None:
    guest = Made(log, "booting")
    await guest.shutdown.run(3.0, "a user wants it")
    assert guest.process.signals == [signal.SIGTERM]
    assert guest.kernel.asked == []
    assert guest.lifecycle.unsynced == ""
    assert trio.current_time() == pytest.approx(TERM_TIMEOUT)


async def test_guest_that_somebody_holds_is_killed_with_who_held_it(
    autojump_clock: MockClock, log: Path
) -> None:
    guest = Made(log)
    guest.process.holder = Held("traced", "traced by gdb")
    await guest.shutdown.run(3.0, "a user wants it")
    assert guest.killed
    assert guest.lifecycle.unsynced == f"{NOT_SYNCED}: traced by gdb"
    assert guest.kernel.asked == []


async def test_guest_that_is_stopped_goes_on_to_shut_itself_down(
    autojump_clock: MockClock, log: Path
) -> None:
    guest = Made(log, "stopped")
    guest.ends_of = {"cad"}
    await guest.shutdown.run(3.0, "a user wants it")
    assert guest.kernel.asked[0] == "go"
    assert guest.lifecycle.state == "running"


@pytest.mark.parametrize("answer", [Outcome(ANSWERED), Outcome(REFUSED)])
async def test_halt_is_the_kernels_own_doing_unless_it_refuses(log: Path, answer: Outcome) -> None:
    guest = Made(log)
    guest.answers["halt"] = answer
    assert await guest.shutdown.halt("halt") == answer
    assert guest.lifecycle.halted == answer.ok
    assert guest.process.signals == []


async def test_halt_of_a_guest_that_cannot_be_asked_ends_it_all_the_same(
    autojump_clock: MockClock, log: Path
) -> None:
    guest = Made(log)
    guest.answers["halt"] = Outcome(TIMED_OUT)
    assert (await guest.shutdown.halt("halt")).ok
    assert guest.process.signals == [signal.SIGTERM]
    assert guest.killed
    assert guest.lifecycle.unsynced == NOT_SYNCED


async def test_guest_that_has_ended_is_not_asked(autojump_clock: MockClock, log: Path) -> None:
    guest = Made(log)
    guest.milestones.mark_dead()
    await guest.shutdown.run(3.0, "a user wants it")
    assert guest.kernel.asked == []
    assert not guest.killed
