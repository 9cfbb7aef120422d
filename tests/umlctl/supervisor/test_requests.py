"""Requests to a guest whose kernel is made up; tests/live has real ones."""

from __future__ import annotations

import errno
import json
from typing import TYPE_CHECKING, Any, cast

import pytest

from socketproto.exchange import ANSWERED, GONE, TIMED_OUT, TRUNCATED, Outcome
from tests.umlctl.supervisor.made import MadeCall, MadeKernel
from umlctl import exitcodes
from umlctl.protocol.guard import read
from umlctl.supervisor import requests as module
from umlctl.supervisor.guest import Guest
from umlctl.supervisor.lifecycle import Ready
from umlctl.supervisor.requests import Requests

if TYPE_CHECKING:
    from umlctl.protocol.guard import CommandLine
    from umlctl.supervisor.launch.launched import Launched

STRANGER = 4711


class Asked:
    """A guest that runs, and who asks it."""

    def __init__(self, launched: Launched) -> None:
        self.guest = Guest(launched)
        self.kernel = MadeKernel()
        self.guest.life.kernel = self.kernel
        self.guest.handle(Ready())
        self.requests = Requests(self.guest)

    async def ask(self, text: str, uid: int = 0) -> MadeCall:
        call = MadeCall(text, uid)
        await self.requests.handle(cast("Any", call))
        return call

    @property
    def events(self) -> list[str]:
        return [event["event"] for event in self.guest.history]


@pytest.fixture
async def asked(launched: Launched) -> Asked:
    return Asked(launched)


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (Outcome(ANSWERED, data=b"Linux"), 0),
        (Outcome(TRUNCATED, data=b"Lin"), exitcodes.ENODATA),
        (Outcome(TIMED_OUT, reason="silence"), exitcodes.ETIMEDOUT),
        (Outcome(GONE, reason="it has ended"), exitcodes.ECONNRESET),
    ],
)
async def test_each_outcome_has_its_error(
    asked: Asked, monkeypatch: pytest.MonkeyPatch, outcome: Outcome, error: int
) -> None:
    async def answer(_text: str, _timeout: float) -> Outcome:
        return outcome

    monkeypatch.setattr("umlctl.supervisor.readiness.REBOOT_TIMEOUT", 0.01)
    monkeypatch.setattr("umlctl.supervisor.kernel_requests.is_closed", lambda *_: False)
    asked.kernel.answer = answer
    call = await asked.ask("version")
    assert call.error == error
    assert (outcome.data.decode() or outcome.reason) in call.text


async def test_line_is_read_once(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    times = []

    def counted(text: str) -> CommandLine:
        times.append(text)
        return read(text)

    monkeypatch.setattr(module, "read", counted)
    for text in ("version", "nonsense"):
        call = MadeCall(text, uid=STRANGER)
        for _ in range(2):
            assert asked.requests.answer_at_once(cast("Any", call)) is None
        await asked.requests.handle(cast("Any", call))
    assert times == ["version", "nonsense"]


async def test_stranger_is_refused_and_that_is_counted_and_told(asked: Asked) -> None:
    call = await asked.ask("version", uid=STRANGER)
    assert call.error == -errno.EPERM
    assert asked.guest.clients_refused == 1
    assert asked.kernel.asked == []
    assert asked.events[-1] == "client refused"


async def test_what_is_dangerous_is_told_and_a_slip_of_the_tongue_is_not(asked: Asked) -> None:
    assert (await asked.ask("proc kcore")).error == -errno.EPERM
    assert asked.events[-1] == "refused"
    before = asked.events
    assert (await asked.ask("verzion")).error == 1
    assert (await asked.ask("start x")).error == -errno.EINVAL
    assert asked.events == before
    assert asked.guest.refused == 3
    assert asked.kernel.asked == []


async def test_request_that_fails_here_ends_nothing(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_text: str, _timeout: float) -> Outcome:
        raise ValueError("what?")

    asked.kernel.answer = fail
    call = await asked.ask("version")
    assert call.error == -errno.EIO
    assert "internal error" in call.text
    assert asked.events[-1] == "internal error"


async def test_what_is_lacking_here_may_be_tried_again(asked: Asked) -> None:
    async def fail(_text: str, _timeout: float) -> Outcome:
        raise OSError(errno.EMFILE, "Too many open files")

    asked.kernel.answer = fail
    call = await asked.ask("version")
    assert call.error == -errno.EAGAIN
    assert call.text.startswith("not done: ")


async def test_question_is_answered_at_once_by_a_kernel_that_can(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asked.kernel, "ask_at_once", lambda _text: Outcome(ANSWERED, data=b"Linux"))
    at_once = asked.requests.answer_at_once
    assert at_once(cast("Any", MadeCall("version"))) == (b"Linux", 0)
    for text in ("status", "stop", "config ubd1=/x", "proc 1/root/etc/passwd", "nonsense"):
        assert at_once(cast("Any", MadeCall(text))) is None


async def test_status_is_one_of_our_own(asked: Asked) -> None:
    call = await asked.ask("status")
    assert json.loads(call.said)["state"] == "running"
    assert asked.kernel.asked == []
