from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import trio
import trio.testing

from socketproto.client import Client
from tests.umlctl.supervisor.serving import DEADLINE, adopt, define, kill, leave, serving
from umlctl.host import processes
from umlctl.protocol.status import Ending
from umlctl.recovery import discover
from umlctl.state import records
from umlctl.state.umid_lock import has_owner
from umlctl.supervisor import adoption

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


__all__ = ["define"]


async def test_guest_that_does_not_answer_holds_up_who_asks_for_it_alone(
    define: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adoption, "ANSWER_TIMEOUT", 10 * DEADLINE)
    left = leave(define("silent"))
    async with serving() as path:
        await adopt(path, "another")
        assert has_owner("silent")
        with Client(path) as client:
            with trio.move_on_after(0.1) as patience:
                await client.request("adopt silent", DEADLINE)
            assert patience.cancelled_caught
        os.kill(left.pid, signal.SIGSTOP)
        await adopt(path, "silent")  # nobody could say when it will answer
        await adopt(path)


async def test_guest_that_cannot_be_brought_back_holds_nobody_up(
    define: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adoption, "ANSWER_TIMEOUT", 10 * DEADLINE)
    left = leave(define("demo"))
    processes.kill_guest(left.pid, left.started, [])
    os.waitpid(left.shim, 0)  # noqa: ASYNC222 - it has been killed
    os.unlink(left.definition.kernel)
    left.record.again = True
    left.record.ending = Ending(cause="ended", code=1)
    records.save(left.record)
    async with serving() as path:
        await adopt(path)
        assert not has_owner("demo")


async def test_guest_that_has_just_died_is_buried_once_its_tiny_parent_has_said_how(
    define: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    left = leave(define("demo"))
    os.kill(left.shim, signal.SIGSTOP)
    kill(left)
    looked: list[float] = []
    sleep = time.sleep

    def look_again(seconds: float) -> None:
        if not looked:  # later it may be no more
            os.kill(left.shim, signal.SIGCONT)
        looked.append(seconds)
        sleep(seconds)

    monkeypatch.setattr(time, "sleep", look_again)
    monkeypatch.setattr(discover, "SHIM_TIMEOUT", DEADLINE)
    async with serving() as path:
        await adopt(path)
        record = records.load("demo")
    with suppress(ChildProcessError):  # the supervisor reaps whatever ends of this process
        os.waitpid(left.shim, 0)  # noqa: ASYNC222 - its kernel has been killed
    assert looked
    assert record is not None
    assert record.ending is not None
    assert record.ending.cause != "ended", "it was seen how"
