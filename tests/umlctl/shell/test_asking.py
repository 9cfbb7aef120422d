from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec
import pytest

from socketproto.exchange import GONE, Outcome, pieces
from umlctl import exitcodes
from umlctl.guest.definition import Definition
from umlctl.host import paths
from umlctl.protocol.status import Ending
from umlctl.shell.asking import request
from umlctl.state import event_log, records

if TYPE_CHECKING:
    from tests.conftest import Address, Bare
    from tests.umlctl.cli.conftest import Supervisor


async def test_outcome_is_the_guests(supervisor: Supervisor) -> None:
    supervisor.answers["version"] = (b"Linux demo", 0)
    outcome = await request("demo", ["version"])
    assert isinstance(outcome, Outcome)
    assert outcome.text == "Linux demo"
    await request("demo", ["!sysrq", "t"])
    assert supervisor.asked == ["version", "!sysrq t"]


async def test_guest_that_has_ended_instead_of_rebooting_is_gone(supervisor: Supervisor) -> None:
    def is_gone(server: Bare, _data: bytes, _address: Address) -> list[bytes]:
        os.unlink(server.path)
        return [reply.encode() for reply in pieces(b"")]

    supervisor.server.answer = is_gone
    outcome = await request("demo", ["reboot"])
    assert isinstance(outcome, Outcome)
    assert outcome.kind == GONE
    assert "no guest 'demo'" in outcome.reason


@pytest.mark.parametrize("words", [["proc"], ["version", "x"]])
async def test_wrong_words_are_said_and_not_sent(
    supervisor: Supervisor, capfd: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert await request("demo", words) == exitcodes.USAGE
    assert capfd.readouterr().err.startswith(f"umlctl: {words[0]} demo: ")
    assert supervisor.asked == []


async def test_nobody_answers_but_a_record_may(
    house: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert await request("demo", ["status"]) == exitcodes.NO_GUEST
    assert "no guest 'demo'" in capfd.readouterr().err
    os.makedirs(paths.record_dir("demo"))
    ending = Ending(cause="panicked", code=255, text="no way on", time=5.0)
    records.save(
        records.Record(
            definition=Definition(umid="demo", kernel="/linux"),
            supervisor_pid=1,
            pid=0,
            started=0,
            boot_id="",
            since=1.0,
            ending=ending,
        )
    )
    event = event_log.encode({"time": 5.0, "umid": "demo", "event": "panicked"})
    event_log.append("demo", event)
    status = await request("demo", ["status"])
    assert isinstance(status, Outcome)
    assert msgspec.json.decode(status.data)["ending"]["text"] == "no way on"
    told: list[bytes] = []
    past = await request("demo", ["events"], told.append)
    assert isinstance(past, Outcome)
    assert told == [past.data] == [event]
    assert await request("demo", ["version"]) == exitcodes.NO_GUEST
