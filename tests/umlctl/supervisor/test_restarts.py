from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from umlctl.guest import policy
from umlctl.guest.definition import Definition
from umlctl.protocol.status import Ending
from umlctl.supervisor.restarts import Restarts


def restarts(**fields: Any) -> Restarts:
    return Restarts(Definition(umid="demo", kernel="/linux", **fields))


def ended(cause: str, code: int = 0) -> Ending:
    return Ending(cause=cause, code=code)


@pytest.mark.parametrize(
    ("cause", "code", "hung", "field"),
    [
        ("panicked", 255, False, "on_panic"),
        ("killed", 137, True, "on_hang"),
        ("killed", 137, False, "on_exit"),
        ("exited", 0, False, "on_exit"),
    ],
)
async def test_each_ending_has_its_policy(cause: str, code: int, hung: bool, field: str) -> None:
    made = restarts(restart="no", **{field: "restart"})
    assert made.action(ended(cause, code), asked=False, hung=hung) == "restart"
    assert made.action(ended(cause, code), asked=True, hung=hung) == "nothing"


async def test_guest_that_never_started_is_not_started_again_but_for_later_lives() -> None:
    made = restarts(restart="always")
    failed = ended("never started", 125)
    assert made.action(failed, asked=False, hung=False) == "nothing"
    made.begin()
    assert made.action(failed, asked=False, hung=False) == "restart"


async def test_too_many_restarts_in_a_row_are_given_up() -> None:
    made = restarts(restart="always")
    pauses = [made.pause() for _ in range(policy.GIVE_UP)]
    assert pauses == [policy.pause(tries) for tries in range(policy.GIVE_UP)]
    assert made.pause() is None


async def test_guest_that_ran_well_is_counted_anew(
    autojump_clock: trio.testing.MockClock,
) -> None:
    made = restarts(restart="always")
    for _ in range(3 * policy.GIVE_UP):
        assert made.pause() == policy.pause(0)
        made.begin()
        await trio.sleep(policy.WELL)
