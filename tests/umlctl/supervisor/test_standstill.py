"""Another guest's supervisor, as it answers; tests/live has real ones."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from socketproto.exchange import pieces
from umlctl.errors import Refusal
from umlctl.guest.definition import Definition
from umlctl.host import paths, processes
from umlctl.state import records
from umlctl.state.records import Record
from umlctl.supervisor.standstill import Other

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.conftest import Address, Bare


class Supervisor:
    """It answers for a guest that stops and goes on."""

    def __init__(self, house: str, bare: Callable[..., Bare]) -> None:
        self.state, self.resume = "running", 0.0
        self.asked: list[str] = []
        os.makedirs(f"{house}/h/.uml/web")
        bare(self._answer, name="h/.uml/web/mconsole", mode=0o600)
        started = processes.start_time(os.getpid())
        record = Record(
            definition=Definition(umid="web", kernel="/linux"),
            supervisor_pid=1,
            pid=os.getpid(),
            started=started or 0,
            boot_id=records.host_boot_id(),
            since=1.0,
        )
        os.makedirs(paths.record_dir("web"))
        records.save(record)

    def _answer(self, _server: Bare, data: bytes, _address: Address) -> Iterable[bytes]:
        text = data.decode()
        if text != "k":
            self.asked.append(text)
        answer: Any = b""
        error = 0
        if text == "status":
            answer = msgspec.json.encode({"state": self.state, "resume": self.resume})
        elif text.startswith("stop"):
            if self.state == "stopped":
                answer, error = b"Already stopped", 1
            self.state, self.resume = "stopped", 7.0
        elif text == "go":
            self.state, self.resume = "running", 0.0
        return [reply.encode() for reply in pieces(answer, error)]


@pytest.fixture
def supervisor(house: str, bare: Callable[..., Bare]) -> Supervisor:
    return Supervisor(house, bare)


async def test_guest_stands_still_and_goes_on(supervisor: Supervisor) -> None:
    with Other("web", 60.0) as other:
        await other.look()
        assert (other.runs, other.record.definition.umid) == (True, "web")
        await other.stop()
        assert await other.has_stood_still()
        supervisor.resume = 8.0
        assert not await other.has_stood_still()
        await other.resume()
    assert "stop 60" in supervisor.asked
    assert supervisor.state == "running"


async def test_guest_that_was_paused_is_left_so(supervisor: Supervisor) -> None:
    supervisor.state = "stopped"
    with Other("web", 60.0) as other:
        await other.look()
        assert await other.sync() == "it was paused"
        await other.stop()
        await other.resume()
    assert not [text for text in supervisor.asked if text.startswith(("stop", "go", "sysrq"))]


async def test_guest_that_boots_is_not_taken(supervisor: Supervisor) -> None:
    supervisor.state = "booting"
    with Other("web", 60.0) as other, pytest.raises(Refusal, match="web is booting"):
        await other.look()
