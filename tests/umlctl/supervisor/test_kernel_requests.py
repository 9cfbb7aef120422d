"""Commands for a kernel that is made up; tests/live has real ones."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, cast

import pytest
import trio

from socketproto.exchange import ANSWERED, GONE, REFUSED, TIMED_OUT, Outcome
from tests.umlctl.supervisor.made import MadeCall, MadeKernel
from umlctl.errors import HostError, Refusal
from umlctl.guest.command import NO_REBOOT
from umlctl.protocol.guard import read
from umlctl.supervisor import kernel_requests as module
from umlctl.supervisor.guest import Guest
from umlctl.supervisor.kernel import Unsent
from umlctl.supervisor.kernel_requests import LOG_PIECE_BYTES, KernelRequests
from umlctl.supervisor.lifecycle import Ready, Stopped
from umlctl.supervisor.readiness import REBOOT_TIMEOUT, Readiness

if TYPE_CHECKING:
    from trio.testing import MockClock

    from umlctl.supervisor.launch.launched import Launched


class Asked:
    """A guest that runs, and whose kernel is asked."""

    def __init__(self, launched: Launched) -> None:
        guest = self.guest = Guest(launched)
        self.kernel = MadeKernel()
        self.guest.life.kernel = self.kernel
        guest.handle(Ready())
        self.rebooted: list[float] = []
        readiness = Readiness(guest.milestones, 60.0)
        self.requests = KernelRequests(lambda: guest.life, self._reboot, readiness)

    async def _reboot(self, seconds: float) -> Outcome:
        self.rebooted.append(seconds)
        return Outcome(ANSWERED)

    async def ask(self, text: str) -> Outcome:
        return await self.requests.ask(cast("Any", MadeCall(text)), read(text))


@pytest.fixture
async def asked(launched: Launched) -> Asked:
    return Asked(launched)


async def test_stop_is_noted_with_its_end_if_the_kernel_takes_it(asked: Asked) -> None:
    await asked.ask("stop 60")
    assert asked.guest.lifecycle.state == "stopped"
    assert asked.guest.launched.record.resume > 0
    assert asked.kernel.asked == ["stop"]


async def test_stop_that_the_kernel_refuses_is_none(asked: Asked) -> None:
    async def refuse(_text: str, _timeout: float) -> Outcome:
        return Outcome(REFUSED, 1)

    asked.kernel.answer = refuse
    await asked.ask("stop")
    assert asked.guest.lifecycle.state == "running"


async def test_guest_that_is_stopped_takes_only_what_is_safe(asked: Asked) -> None:
    asked.guest.handle(Stopped())
    await asked.requests.check(read("version"))
    with pytest.raises(Refusal, match="the guest is paused"):
        await asked.requests.check(read("config ubd1=/x"))
    assert not asked.requests.is_plain(read("version")), "a second question would be kept"


@pytest.mark.parametrize(
    ("text", "refused"), [("reboot", True), ("sysrq b", True), ("!cad", False)]
)
async def test_reboot_that_would_not_come_back_is_refused_unless_it_is_forced(
    asked: Asked, monkeypatch: pytest.MonkeyPatch, text: str, refused: bool
) -> None:
    def fail(_launched: Launched) -> None:
        raise HostError("its kernel is gone")

    monkeypatch.setattr(module, "check_reboot", fail)
    if not refused:
        await asked.requests.check(read(text))
        return
    with pytest.raises(Refusal, match="its kernel is gone") as caught:
        await asked.requests.check(read(text))
    assert caught.value.error == -errno.EPERM


async def test_guest_that_was_kept_of_a_command_is_rebooted_only_if_that_is_forced(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "check_reboot", lambda _: None)
    await asked.requests.check(read("reboot"))
    asked.guest.launched.command.append(NO_REBOOT)
    with pytest.raises(Refusal, match="would not come back: it was started for a command"):
        await asked.requests.check(read("reboot"))
    await asked.requests.check(read("!reboot"))


@pytest.mark.parametrize("text", ["reboot", "sysrq b"])
async def test_reset_is_a_reboot_in_its_turn(asked: Asked, text: str) -> None:
    assert (await asked.ask(text)).ok
    assert len(asked.rebooted) == 1
    assert asked.kernel.asked == []


async def test_long_line_for_the_log_is_several(asked: Asked) -> None:
    await asked.ask(f"log {'x' * (LOG_PIECE_BYTES + 1)}")
    assert asked.kernel.asked == [f"log {'x' * LOG_PIECE_BYTES}\n", "log x\n"]


async def test_question_to_a_guest_that_reboots_meanwhile_is_asked_again(asked: Asked) -> None:
    milestones = asked.guest.milestones

    async def answer(_text: str, _timeout: float) -> Outcome:
        if len(asked.kernel.asked) > 1:
            return Outcome(ANSWERED, data=b"Linux")
        milestones.mark_rebooting()
        return Outcome(GONE, reason="the guest rebooted")

    asked.kernel.answer = answer
    found: list[Outcome] = []

    async def ask() -> None:
        found.append(await asked.ask("version"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        assert found == []
        milestones.ready.set()
    assert [outcome.data for outcome in found] == [b"Linux"]


async def test_guest_that_lives_without_a_socket_is_waited_for(
    asked: Asked, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """As one that begins anew on a busy host."""
    milestones = asked.guest.milestones
    looked: set[tuple[int, str]] = set()

    def is_closed(pid: int, path: str) -> bool:
        looked.add((pid, path))
        return True

    async def answer(_text: str, _timeout: float) -> Outcome:
        if trio.current_time() > 5 * REBOOT_TIMEOUT:
            return Outcome(ANSWERED, data=b"Linux")
        return Unsent(GONE, reason="the kernel's socket is gone")

    async def reboot() -> None:
        await trio.sleep(5 * REBOOT_TIMEOUT)
        milestones.mark_rebooting()
        await trio.sleep(1)
        milestones.ready.set()

    monkeypatch.setattr(module, "is_closed", is_closed)
    asked.kernel.answer = answer
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reboot)
        assert (await asked.ask("version")).data == b"Linux"
    assert looked == {(asked.guest.launched.pid, asked.kernel.path)}


async def test_request_to_a_guest_that_does_not_come_is_timed_out(
    asked: Asked, autojump_clock: MockClock
) -> None:
    asked.guest.milestones.mark_rebooting()
    outcome = await asked.ask("version")
    assert outcome.kind == TIMED_OUT
    assert "was not ready within 60 seconds" in outcome.reason


async def test_help_and_stamps_are_for_people(asked: Asked) -> None:
    outcome = asked.requests.shown(
        read("help"), Outcome(ANSWERED, data=b"Commands:\n    version\n")
    )
    assert b"From the supervisor:" in outcome.data
    stack = Outcome(ANSWERED, data=b"[    1.234567] Call Trace:\n")
    assert asked.requests.shown(read("stack 1"), stack).data == b"Call Trace:\n"
