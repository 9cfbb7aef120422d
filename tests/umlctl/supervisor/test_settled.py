from __future__ import annotations

import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from umlctl.errors import NoGuest, Refused
from umlctl.execution.freezing import FROZEN_SECONDS
from umlctl.supervisor import settled
from umlctl.supervisor.settled import NOT_THAWED, Settled, settle_all, thaw_all

if TYPE_CHECKING:
    from collections.abc import Callable

Freeze = SimpleNamespace


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Freeze]:
    """Has the file systems of each guest frozen, in this way."""

    def freeze(problem: Exception | None = None, **fields: Any) -> Freeze:
        found = Freeze(missed=0, since=time.monotonic(), left=False, thawed=0)
        found.__dict__.update(fields)

        def thaw() -> None:
            found.thawed += 1

        def make(_umid: str) -> Freeze:
            if problem is not None:
                raise problem
            return found

        found.thaw = thaw
        monkeypatch.setattr(settled, "Frozen", make)
        return found

    return freeze


def guest(*, runs: bool = True) -> Settled:
    async def sync() -> str:
        return "synced"

    return Settled(cast("Any", SimpleNamespace(umid="demo", runs=runs, sync=sync)))


async def test_what_is_frozen_is_not_synced_and_is_thawed_once(
    frozen: Callable[..., Freeze],
) -> None:
    made, one = frozen(), guest()
    await settle_all([one])
    one.note_stopped()
    assert (one.is_frozen, one.synced) == (True, "")
    await thaw_all([one])
    await one.thaw()
    assert made.thawed == 1
    assert one.seconds > 0
    assert one.note == ""


@pytest.mark.parametrize("problem", [Refused("no"), NoGuest("none"), OSError(5, "bad")])
async def test_guest_that_cannot_freeze_is_synced(
    frozen: Callable[..., Freeze], problem: Exception
) -> None:
    frozen(problem)
    one = guest()
    await settle_all([one])
    one.note_stopped()
    assert (one.is_frozen, one.synced) == (False, "synced")
    await thaw_all([one])
    assert one.seconds == 0


async def test_guest_that_does_not_run_is_not_asked_to_freeze(
    frozen: Callable[..., Freeze],
) -> None:
    frozen(AssertionError())
    one = guest(runs=False)
    await one.settle()
    assert one.synced == "synced"


@pytest.mark.parametrize(
    "fields", [{"missed": 1}, {"since": time.monotonic() - FROZEN_SECONDS - 1}]
)
async def test_what_may_not_be_frozen_is_not_said_to_be(
    frozen: Callable[..., Freeze], fields: dict[str, Any]
) -> None:
    made, one = frozen(**fields), guest()
    await one.settle()
    one.note_stopped()
    assert not one.is_frozen
    await one.thaw()
    assert made.thawed == 1


async def test_guest_that_does_not_say_that_it_has_thawed_has_a_note(
    frozen: Callable[..., Freeze],
) -> None:
    frozen(left=True)
    one = guest()
    await one.settle()
    await one.thaw()
    assert one.note == NOT_THAWED
