from __future__ import annotations

import os
import signal
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
import trio

from socketproto.exchange import pieces
from socketproto.wire import Reply
from tests.conftest import Bare
from umlctl.host import paths
from umlctl.host.systemd.notify import Manager
from umlctl.supervisor.standby import Standby

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.conftest import Address

DEADLINE = 30.0


class Said(Manager):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self.waits = trio.Event()

    def ready(self, status: str) -> None:
        self.said.append(f"ready: {status}")
        self.waits.set()

    def stopping(self) -> None:
        self.said.append("stopping")


class Other:
    """Another supervisor of the user: what it was asked, and whether it is still there."""

    def __init__(self) -> None:
        self.refuses = False
        self.gone = threading.Event()
        self.server = Bare(paths.supervisor_socket(), self._answer, 0o600)

    def _answer(self, _server: Bare, data: bytes, _address: Address) -> Iterable[bytes]:
        if data == b"quit":
            self.gone.set()
        if self.refuses:
            return [Reply(1, False, b"no such command").encode()]
        return [reply.encode() for reply in pieces(b"")]

    def take(self) -> bool:
        return self.gone.wait(DEADLINE)


@pytest.fixture
def other(house: str) -> Iterator[Other]:
    paths.make_run_dir()
    made = Other()
    with closing(made.server):
        made.server.start()
        yield made


async def test_service_serves_when_the_other_has_ended(other: Other) -> None:
    manager = Said()
    waiting = Standby(other.take, manager)
    with trio.fail_after(DEADLINE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(waiting.wait)
            await manager.waits.wait()
            other.gone.set()
    assert (waiting.came, waiting.started) == (True, True)
    assert other.server.commands == [b"autostart"]
    assert manager.said == ["ready: waiting for the supervisor to end that runs already"]


@pytest.mark.parametrize("listens", [True, False])
async def test_what_the_other_could_not_start_is_left_to_start(other: Other, listens: bool) -> None:
    other.refuses = True
    other.gone.set()
    if not listens:
        other.server.stop()
        other.server.unbind()
    waiting = Standby(other.take, Said())
    with trio.fail_after(DEADLINE):
        await waiting.wait()
    assert (waiting.came, waiting.started) == (True, False)


async def test_service_that_is_told_to_end_ends_the_other(other: Other) -> None:
    manager = Said()
    waiting = Standby(other.take, manager)
    with trio.fail_after(DEADLINE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(waiting.wait)
            await manager.waits.wait()
            os.kill(os.getpid(), signal.SIGTERM)
    assert not waiting.came
    assert other.server.commands == [b"autostart", b"quit"]
    assert manager.said[1:] == ["stopping"]
