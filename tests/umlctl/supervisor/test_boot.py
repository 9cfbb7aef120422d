"""Boots of a guest that is made up; tests/live has real ones."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
import trio

from socketproto.exchange import ANSWERED, TIMED_OUT, Outcome
from tests.umlctl.supervisor.made import MadeKernel, MadeProcess
from umlctl.guest.definition import Definition
from umlctl.host import processes
from umlctl.host.processes import Held
from umlctl.supervisor import boot
from umlctl.supervisor.boot import (
    ANSWER_TIMEOUT,
    BOOT_ID_QUESTION,
    ROOT_TIMEOUT,
    Boot,
    root_is_mounted,
)
from umlctl.supervisor.devices import restoring
from umlctl.supervisor.history import History
from umlctl.supervisor.kernel import QUIET_QUESTION
from umlctl.supervisor.kernel_socket import UNREACHABLE
from umlctl.supervisor.lifecycle import (
    Event,
    KillWanted,
    Lifecycle,
    Ready,
    ReadyStopped,
    RebootedUnseen,
)
from umlctl.supervisor.readiness import Milestones

if TYPE_CHECKING:
    from trio.testing import MockClock

ROOTFS = b"rootfs / rootfs rw 0 0\n"
MOUNTED = b"/dev/root / ext4 rw 0 0\n"
DRIVERS = b"Block devices:\n 98 ubd\n"


class Made:
    """A guest that boots."""

    def __init__(self, *, adopted: bool = False, command: tuple[str, ...] = ()) -> None:
        definition = Definition(umid="demo", kernel="/linux", timeout=60.0)
        self.kernel = MadeKernel()
        self.kernel.answer = self.answer
        self.process = MadeProcess()
        self.files: dict[str, bytes] = {}
        self.unreachable: list[str] = []
        self.events: list[Event] = []
        self.life = cast("Any", SimpleNamespace)(
            launched=SimpleNamespace(
                definition=definition,
                adopted=adopted,
                rebooted=False,
                command=command,
                pid=4711,
                lost="",
                record=SimpleNamespace(guest_boot="x" if adopted else ""),
            ),
            lifecycle=Lifecycle(definition, 0.0, adopted=adopted, known=adopted),
            milestones=Milestones(),
            history=History("demo"),
            kernel=self.kernel,
            kernel_socket=SimpleNamespace(is_there=lambda: False),
            process=self.process,
            watchdog=SimpleNamespace(mark_unreachable=self.unreachable.append),
        )
        self.boot = Boot(self.life, self.handle)

    def handle(self, event: Event) -> None:
        self.events.append(event)
        self.life.milestones.ready.set()

    async def answer(self, text: str, timeout: float) -> Outcome:
        name = text.removeprefix("proc ")
        if name not in self.files:
            await trio.sleep(timeout)
            return Outcome(TIMED_OUT)
        await trio.sleep(0.001)
        return Outcome(ANSWERED, data=self.files[name])


async def test_guest_is_ready_once_its_root_is_mounted(autojump_clock: MockClock) -> None:
    guest = Made()
    guest.files = {"mounts": ROOTFS, "devices": b""}

    async def mount() -> None:
        await trio.sleep(20)
        guest.files["mounts"] = MOUNTED

    with trio.fail_after(21):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mount)
            await guest.boot._await_root(guest.kernel, again=False)
    assert trio.current_time() >= 20


@pytest.mark.parametrize(("command", "grace"), [(("initrd=x",), 0.0), ((), ROOT_TIMEOUT)])
async def test_guest_that_mounts_none_is_ready_with_its_drivers(
    autojump_clock: MockClock, command: tuple[str, ...], grace: float
) -> None:
    guest = Made(command=command)
    guest.files = {"mounts": ROOTFS, "devices": DRIVERS}
    await guest.boot._await_root(guest.kernel, again=False)
    assert trio.current_time() == pytest.approx(grace, abs=0.1)


@pytest.mark.parametrize("command", [("initrd=x",), ()])
async def test_guest_that_is_kept_from_running_on_its_way_up_is_not_ready(
    autojump_clock: MockClock, command: tuple[str, ...]
) -> None:
    guest = Made(command=command)
    guest.files = {"mounts": ROOTFS, "devices": DRIVERS}

    async def answer(text: str, timeout: float) -> Outcome:
        outcome = await guest.answer(text, timeout)
        if text == "proc devices":
            guest.files = {}  # and answers no more
        return outcome

    guest.kernel.answer = answer
    with trio.move_on_after(60) as patience:
        await guest.boot._await_root(guest.kernel, again=False)
    assert patience.cancelled_caught


async def test_guest_that_was_ready_before_it_was_adopted_is_so_though_it_is_stuck(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest = Made(adopted=True)
    said: list[str] = []

    async def recover() -> bool:
        return False

    monkeypatch.setattr(guest.kernel, "recover", recover)
    monkeypatch.setattr(guest.kernel, "mark_stuck", said.append)
    guest.kernel.trouble = "it does not answer"
    await guest.boot._adopt_wedged(guest.kernel)
    assert guest.events == [Ready(facts={"pid": 4711})]
    assert said == ["it does not answer"]
    assert guest.life.milestones.up.is_set()


async def test_adopted_guest_that_stands_still_after_its_answer_is_stopped_yet(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a busy host has it do: it looks as if it ran. What was to end its stop is sent."""
    guest = Made(adopted=True)
    guest.files = {"mounts": MOUNTED, "sys/kernel/random/boot_id": b"x"}
    still = 0

    def looks_stopped() -> bool:
        nonlocal still
        still += 1
        return still % 3 == 0

    async def after_boot(*_: object, **_also: object) -> None:
        pass

    monkeypatch.setattr(boot, "KernelClient", lambda *_, **_also: guest.kernel)
    monkeypatch.setattr(restoring, "after_boot", after_boot)
    monkeypatch.setattr(guest.process, "looks_stopped", looks_stopped)
    monkeypatch.setattr(processes, "cpu_seconds", lambda _pid: 1.0)
    monkeypatch.setattr(guest.kernel.mark, "clear", lambda: True)
    guest.life.devices = SimpleNamespace(entries=[])
    guest.life.consoles = SimpleNamespace(sync=lambda _entries: None)
    await guest.boot._get_ready()
    assert guest.kernel.asked == ["proc mounts", QUIET_QUESTION, BOOT_ID_QUESTION, "go"]
    assert guest.events == [ReadyStopped(facts={"pid": 4711})]


async def test_adopted_guest_that_takes_its_time_to_say_that_it_has_rebooted_is_heard(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest = Made(adopted=True)
    renewed: list[object] = []

    async def renew(table: object) -> None:
        renewed.append(table)

    async def boot_again() -> None:
        await trio.sleep(2.5 * ANSWER_TIMEOUT)
        guest.files = {"sys/kernel/random/boot_id": b"y"}

    monkeypatch.setattr(restoring, "renew", renew)
    monkeypatch.setattr(processes, "cpu_seconds", lambda _pid: None)
    guest.life.devices = "its devices"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(boot_again)
        assert await guest.boot._catch_up(guest.kernel)
    assert guest.events == [RebootedUnseen()]
    assert renewed == ["its devices"]


async def test_adopted_guest_without_a_socket_is_out_of_reach() -> None:
    guest = Made(adopted=True)
    await guest.boot.await_ready(trio.CancelScope())
    assert guest.events == [Ready(facts={"pid": 4711})]
    assert guest.unreachable == [UNREACHABLE]
    unable = guest.kernel.refusal("version")
    assert unable is not None
    assert unable.reason == UNREACHABLE


async def test_boot_that_takes_too_long_is_ended(autojump_clock: MockClock) -> None:
    guest = Made()
    await guest.boot.enforce_timeout()
    assert guest.events == [KillWanted(why="not ready within 60 seconds", by_policy=True)]
    assert trio.current_time() == pytest.approx(60.0)


async def test_boot_that_somebody_holds_takes_as_long_as_it_takes(
    autojump_clock: MockClock,
) -> None:
    guest = Made()
    guest.process.holder = Held("traced", "traced by gdb")
    with trio.move_on_after(600):
        await guest.boot.enforce_timeout()
    assert guest.events == []


async def test_boot_that_is_over_in_time_is_not_ended(autojump_clock: MockClock) -> None:
    guest = Made()
    guest.life.milestones.ready.set()
    await guest.boot.enforce_timeout()
    assert guest.events == []


@pytest.mark.parametrize(
    ("mounts", "mounted"),
    [
        (ROOTFS, False),
        (MOUNTED, True),
        (b"none /proc proc rw 0 0\n/dev/root / ext4 ro 0 0\n", True),
        (b"", False),
        (b"/ /\n\n rubbish \xff\n", False),
    ],
)
def test_root_is_mounted_once_it_is_more_than_the_rootfs(mounts: bytes, mounted: bool) -> None:
    assert root_is_mounted(mounts) is mounted
