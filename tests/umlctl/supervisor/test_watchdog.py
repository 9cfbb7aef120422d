"""A watchdog of a guest that is made up; tests/live has real ones."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
import trio

from socketproto.exchange import ANSWERED, GONE, TIMED_OUT, Outcome
from tests.umlctl.supervisor.made import MadeKernel, MadeProcess
from umlctl.guest.definition import Definition
from umlctl.host.processes import Held
from umlctl.supervisor import kernel_socket as module
from umlctl.supervisor.history import History
from umlctl.supervisor.kernel import Unsent
from umlctl.supervisor.kernel_socket import KernelSocket
from umlctl.supervisor.lifecycle import Kill, Lifecycle, StopOthers, Tell
from umlctl.supervisor.watchdog import Watchdog

if TYPE_CHECKING:
    from trio.testing import MockClock

    from umlctl.protocol.status import State
    from umlctl.supervisor.lifecycle import Event


class Ticking(MadeKernel):
    """A kernel whose clock moves, as long as it `ticks`."""

    def __init__(self) -> None:
        super().__init__()
        self.ticks = True
        self.answer = self.usual

    async def usual(self, _text: str, _timeout: float) -> Outcome:
        if self.trouble:
            return Outcome(TIMED_OUT)
        return Outcome(ANSWERED, data=b"%d" % (len(self.asked) if self.ticks else 0))


class Made:
    """A guest whose clock, state and holder a test sets."""

    def __init__(self, **fields: Any) -> None:
        fields = {"hang_after": 30.0, **fields}
        definition = Definition(umid="demo", kernel="/linux", **fields)
        self.adopted = False
        self.lifecycle = Lifecycle(definition, time.time(), known=True)
        self.state = "running"
        self.ready = trio.Event()
        self.history = History("demo")
        self.kernel = Ticking()
        self.process = MadeProcess()
        self.killed: list[str] = []
        self.stopped: list[str] = []
        self.watchdog = Watchdog(
            definition,
            self.lifecycle,
            self.handle,
            self.history,
            self.kernel,
            KernelSocket(self.kernel.path, ""),
            self.process,
            lambda: None,
        )

    @property
    def state(self) -> State:
        return self.lifecycle.state

    @state.setter
    def state(self, state: State) -> None:
        self.lifecycle.state = state

    def handle(self, event: Event) -> None:
        for instruction in self.lifecycle.handle(event, time.time()):
            match instruction:
                case Tell(name, facts):
                    self.history.add(name, **facts)
                case Kill():
                    self.killed.append(self.lifecycle.asked_to_end)
                case StopOthers(why):
                    self.stopped.append(why)

    @property
    def story(self) -> list[str]:
        return [event["event"] for event in self.history]

    async def lives(self, seconds: float) -> None:
        """Be watched for so long."""
        if self.state != "booting":
            self.ready.set()
        with trio.move_on_after(seconds):
            await self.watchdog.run(None if self.adopted else self.ready)


async def test_guest_that_is_well_is_asked_now_and_then(autojump_clock: MockClock) -> None:
    guest = Made()
    await guest.lives(3600)
    assert guest.story == []
    assert 300 < len(guest.kernel.asked) < 400


async def test_guest_whose_clock_stands_is_hung(autojump_clock: MockClock) -> None:
    guest = Made()
    guest.kernel.ticks = False
    await guest.lives(120)
    assert guest.story == ["hung"], "said once"
    assert guest.lifecycle.hung
    guest.kernel.ticks = True
    await guest.lives(60)
    assert guest.story == ["hung", "well again"]
    assert not guest.lifecycle.hung


async def test_guest_that_does_not_answer_is_hung(autojump_clock: MockClock) -> None:
    guest = Made()
    guest.kernel.trouble = "it does not answer"
    await guest.lives(29)
    assert guest.story == []
    await guest.lives(60)
    assert [event.get("text") for event in guest.history] == ["it does not answer"]


@pytest.mark.parametrize("state", ["stopped", "booting", "dead"])
async def test_guest_that_is_not_meant_to_run_is_not_hung(
    autojump_clock: MockClock, state: State
) -> None:
    guest = Made()
    guest.state, guest.kernel.ticks = state, False
    await guest.lives(3600)
    assert guest.story == []


@pytest.mark.parametrize("way", ["held", "stopped"])
async def test_guest_that_is_held_or_stopped_while_it_is_asked_is_not_hung(
    autojump_clock: MockClock, way: str
) -> None:
    """Though the question lasts longer than the guest may be silent."""
    guest = Made(on_hang="kill", hang_after=0.5)

    async def answer(_text: str, timeout: float) -> Outcome:
        if way == "held":
            guest.process.holder = Held("suspended", "a signal")
        else:
            guest.state = "stopped"
        await trio.sleep(timeout)
        return Outcome(TIMED_OUT)

    guest.kernel.answer = answer
    await guest.lives(60)
    assert guest.story == (["suspended"] if way == "held" else [])


async def test_guest_that_is_held_while_it_is_asked_is_seen_to_be_held(
    autojump_clock: MockClock,
) -> None:
    """Its kernel's answer is awaited as long as it is held."""
    guest = Made()

    async def answer(_text: str, _timeout: float) -> Outcome:
        guest.process.holder = Held("suspended", "somebody")
        await trio.sleep(3600)
        return Outcome(TIMED_OUT)

    guest.kernel.answer = answer
    await guest.lives(120)
    assert guest.story == ["suspended"]


async def test_guest_that_is_held_is_not_hung(autojump_clock: MockClock) -> None:
    guest = Made(on_hang="kill")
    guest.process.holder = Held("traced", "gdb")
    guest.kernel.trouble = "it does not answer"
    await guest.lives(3600)
    assert guest.story == ["traced"]
    guest.process.holder, guest.kernel.trouble = None, ""
    await guest.lives(10)
    assert guest.story == ["traced", "released"]
    assert not guest.killed


@pytest.mark.parametrize(("open_yet", "story"), [(True, ["unreachable"]), (False, ["hung"])])
async def test_guest_that_nobody_can_ask_is_not_hung_as_long_as_its_kernel_has_its_socket(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, open_yet: bool, story: list[str]
) -> None:
    """Its supervisor was killed, and its socket removed before the next one came."""

    async def answer(_text: str, _timeout: float) -> Outcome:
        return Unsent(GONE, reason="its socket was removed")

    monkeypatch.setattr(module, "is_open", lambda _pid, _path: open_yet)
    guest = Made(on_hang="restart")
    guest.kernel.answer = answer
    await guest.lives(3600)
    assert guest.story == story
    assert len(guest.killed) == (not open_yet)
    if open_yet:
        assert guest.watchdog.unreachable == "its socket was removed"
        guest.kernel.answer = guest.kernel.usual
        await guest.lives(60)
        assert guest.story == ["unreachable", "reachable again"]
        assert not guest.watchdog.unreachable


async def test_guest_that_panics_is_not_said_to_be_out_of_reach(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can ask it any more, and its kernel has its socket until it ends."""

    async def answer(_text: str, _timeout: float) -> Outcome:
        return Unsent(GONE, reason="the guest panicked")

    monkeypatch.setattr(module, "is_open", lambda _pid, _path: True)
    monkeypatch.setattr(KernelSocket, "is_there", lambda _socket: True)
    guest = Made()
    guest.kernel.answer = answer
    await guest.lives(29)
    assert guest.story == []


async def test_reboot_that_does_not_end_is_a_hang(autojump_clock: MockClock) -> None:
    guest = Made(timeout=100.0)
    guest.state = "rebooting"
    await guest.lives(99)
    assert guest.story == []
    await guest.lives(110)
    assert guest.story == ["hung"]


@pytest.mark.parametrize(
    ("action", "killed", "stopped"),
    [("nothing", 0, 0), ("kill", 1, 0), ("restart", 1, 0), ("stop-others", 0, 1)],
)
async def test_what_is_to_be_done_is_done_once(
    autojump_clock: MockClock, action: str, killed: int, stopped: int
) -> None:
    guest = Made(on_hang=action)
    guest.kernel.ticks = False
    await guest.lives(300)
    assert (len(guest.killed), len(guest.stopped)) == (killed, stopped)


async def test_watchdog_that_was_not_fed_is_a_hang(autojump_clock: MockClock) -> None:
    guest = Made(on_hang="kill")
    guest.watchdog.mark_unfed()
    guest.watchdog.mark_unfed()
    assert guest.killed == ["hung: its watchdog was not fed"]


async def test_guest_whose_watchdog_was_not_fed_is_hung_until_it_reboots(
    autojump_clock: MockClock,
) -> None:
    """Its clock moves, and what should feed the watchdog hangs all the same."""
    guest = Made()
    guest.watchdog.mark_unfed()
    await guest.lives(300)
    assert guest.lifecycle.hung
    guest.watchdog.reset()
    await guest.lives(30)
    assert guest.story == ["hung", "well again"]


@pytest.mark.parametrize(("known", "patience"), [(True, 30), (False, 100)])
async def test_guest_that_never_answers_after_it_was_adopted_is_hung(
    autojump_clock: MockClock, known: bool, patience: int
) -> None:
    """One whose boot nobody has seen to its end may still be booting."""
    guest = Made(timeout=100.0, on_hang="kill")
    guest.state, guest.lifecycle.known = "booting", known
    guest.adopted = True
    guest.kernel.ticks = False
    await guest.lives(patience - 1)
    assert guest.story == []
    await guest.lives(patience + 2)
    (event,) = guest.history
    assert event["text"] == f"it has not answered since it was adopted, {patience} seconds ago"
    assert len(guest.killed) == 1


async def test_hold_counts_from_its_own_beginning(autojump_clock: MockClock) -> None:
    """However long the guest has run before."""
    guest = Made()
    guest.process.holder = Held("traced", "gdb")
    before = time.time()
    first = guest.watchdog.since(guest.process.holder)
    await guest.lives(10)
    assert before <= first == guest.watchdog.since(guest.process.holder) <= time.time()
    assert guest.story == ["traced"]
