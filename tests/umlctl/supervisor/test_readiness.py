from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from umlctl.errors import Refusal
from umlctl.supervisor.rate_limits import MAX_SUBSCRIPTIONS
from umlctl.supervisor.readiness import REBOOT_TIMEOUT, Milestones, Readiness

if TYPE_CHECKING:
    from trio.testing import MockClock


class MadeCall:
    """A request of one process.

    Fields:
        parts: signs of life that its client got
    """

    uid, pid = 1000, 7

    def __init__(self) -> None:
        self.parts = 0

    def step_aside(self) -> None:
        pass

    async def part(self) -> None:
        self.parts += 1


def test_each_life_has_milestones_of_its_own_and_one_end() -> None:
    milestones = Milestones()
    milestones.over.set()
    milestones.mark_dead()
    assert milestones.ready.is_set()
    assert milestones.up.is_set()
    milestones.begin()
    assert not milestones.ready.is_set()
    assert not milestones.dead.is_set()
    assert milestones.over.is_set()


def test_reboot_takes_readiness_away_and_nothing_else() -> None:
    milestones = Milestones()
    milestones.ready.set()
    milestones.up.set()
    milestones.mark_rebooting()
    assert not milestones.ready.is_set()
    assert milestones.up.is_set()


async def test_request_waits_with_signs_of_life_until_its_guest_is_ready(
    autojump_clock: MockClock,
) -> None:
    milestones = Milestones()
    readiness = Readiness(milestones, 60.0)
    call: Any = MadeCall()

    async def boot() -> None:
        await trio.sleep(5.5)
        milestones.ready.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(boot)
        assert await readiness.wait(call, trio.current_time() + 60.0)
    assert call.parts == 5


async def test_request_waits_through_a_reboot_and_not_beyond_its_deadline(
    autojump_clock: MockClock,
) -> None:
    milestones = Milestones()
    readiness = Readiness(milestones, 60.0)
    milestones.ready.set()
    milestones.mark_rebooting()
    call: Any = MadeCall()
    assert not await readiness.wait(call, trio.current_time() + 3.0)
    assert trio.current_time() == pytest.approx(3.0)


async def test_too_many_requests_of_one_process_are_refused(autojump_clock: MockClock) -> None:
    milestones = Milestones()
    readiness = Readiness(milestones, 60.0)
    call: Any = MadeCall()
    async with trio.open_nursery() as nursery:
        for _ in range(MAX_SUBSCRIPTIONS[0]):
            nursery.start_soon(readiness.wait, call, trio.current_time() + 60.0)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(Refusal, match="too many requests wait"):
            await readiness.wait(call, trio.current_time() + 60.0)
        milestones.ready.set()


async def test_guest_whose_socket_is_gone_comes_again_if_it_reboots(
    autojump_clock: MockClock,
) -> None:
    milestones = Milestones()
    readiness = Readiness(milestones, 60.0)
    milestones.ready.set()
    assert not await readiness.comes_again(lambda: False)
    assert trio.current_time() == pytest.approx(REBOOT_TIMEOUT, abs=0.1)
    milestones.mark_rebooting()
    assert await readiness.comes_again(lambda: False)
    milestones.mark_dead()
    assert not await readiness.comes_again(lambda: True)


async def test_guest_that_lives_without_a_socket_may_take_long_to_come_again(
    autojump_clock: MockClock,
) -> None:
    milestones = Milestones()
    readiness = Readiness(milestones, 60.0)
    milestones.ready.set()

    async def reboot() -> None:
        await trio.sleep(5 * REBOOT_TIMEOUT)
        milestones.mark_rebooting()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reboot)
        assert await readiness.comes_again(lambda: True)
    milestones.ready.set()
    began = trio.current_time()
    assert not await readiness.comes_again(lambda: True)
    assert trio.current_time() - began == pytest.approx(60.0)
