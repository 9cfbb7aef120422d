"""What is seen again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from umlctl import exitcodes

if TYPE_CHECKING:
    import pytest

    from tests.umlctl.shell.conftest import At


async def test_watching_repeats_and_can_be_given_up(
    at: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    async def sleep(seconds: float) -> None:
        seen.append(seconds)
        await trio.lowlevel.checkpoint()
        if len(seen) == 3:
            scope.cancel()

    monkeypatch.setattr(trio, "sleep", sleep)
    with trio.CancelScope() as scope:
        await at.session.obey("watch -n 0.5 version")
    assert scope.cancelled_caught
    assert seen == [0.5] * 3
    assert at.supervisor.asked == ["version"] * 3


async def test_watching_what_fails_ends(at: At) -> None:
    assert await at.obey("watch remove ubd7") == exitcodes.REFUSED
