from __future__ import annotations

import inspect
import threading
from typing import TYPE_CHECKING

import pytest
import trio

import umlctl.trio
from umlctl.errors import NotExecuted, TimedOut
from umlctl.library import console, guest, many

if TYPE_CHECKING:
    from umlctl.execution.running import Canceller

DEADLINE = 60.0
ONLY_BLOCKING = {"history", "never", "umid"}
"""What one has and the other has no need of."""


@pytest.mark.parametrize(
    ("blocking", "other"),
    [
        (guest.Guest, umlctl.trio.Guest),
        (console.Console, umlctl.trio.Console),
        (many.Runner, umlctl.trio.Runner),
    ],
)
def test_both_have_the_same(blocking: type, other: type) -> None:
    def public(of: type) -> set[str]:
        return {name for name in dir(of) if not name.startswith("_")}

    found = public(other)
    assert public(blocking) - ONLY_BLOCKING <= found
    for name in public(blocking) & found:
        of_blocking = inspect.signature(getattr(blocking, name)).parameters
        of_other = inspect.signature(getattr(other, name)).parameters
        assert set(of_other) <= set(of_blocking), name
        assert set(of_blocking) - set(of_other) <= {"canceller", "timeout"}, name


async def test_command_that_is_cancelled_is_told_to_end_and_waited_for() -> None:
    begun, told = threading.Event(), threading.Event()

    def run(canceller: Canceller) -> None:
        begun.set()
        while not canceller.is_cancelled:
            told.wait(0.01)
        told.set()
        raise TimedOut("told to end")

    with trio.fail_after(DEADLINE):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(umlctl.trio._cancellable, run)
                await trio.to_thread.run_sync(begun.wait)
                scope.cancel()
    assert scope.cancelled_caught
    assert told.is_set()


async def test_answer_and_error_are_those_of_the_command() -> None:
    def fail(_canceller: Canceller) -> int:
        raise NotExecuted("none")

    assert await umlctl.trio._cancellable(lambda canceller: canceller.is_cancelled) is False
    with pytest.raises(NotExecuted, match="none"):
        await umlctl.trio._cancellable(fail)


async def test_thread_that_waits_for_a_console_sees_that_it_is_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waited: list[float] = []

    def wait(_console: console.Console, seconds: float) -> bool:
        waited.append(seconds)
        return False

    monkeypatch.setattr(console.Console, "_wait", wait)
    made = object.__new__(umlctl.trio._CancellableConsole)
    assert await trio.to_thread.run_sync(made._wait, 0.6) is False
    assert waited == [0.25, 0.25, pytest.approx(0.1)]
    waited.clear()

    def cancel(_console: console.Console, seconds: float) -> bool:
        waited.append(seconds)
        trio.from_thread.run_sync(scope.cancel)
        return False

    monkeypatch.setattr(console.Console, "_wait", cancel)
    with trio.CancelScope() as scope:
        await trio.to_thread.run_sync(made._wait, DEADLINE)
    assert scope.cancelled_caught
    assert waited == [0.25]
