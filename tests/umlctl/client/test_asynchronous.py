from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.lowlevel

from socketproto.exchange import GONE, TIMED_OUT, pieces
from umlctl.client import asynchronous as module
from umlctl.client.ask import Deadline
from umlctl.client.asynchronous import AsyncGuestClient
from umlctl.errors import InDoubt, NoGuest, NotOnBareKernel, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.conftest import Address, Bare

    MakeBare = Callable[..., Bare]


def answered(_server: Bare, data: bytes, _address: Address) -> Iterable[bytes]:
    return [] if data == b"k" else [each.encode() for each in pieces(data)]


def die(server: Bare, data: bytes, _address: Address) -> Iterable[bytes]:
    if data != b"k":
        server.unbind()
    return []


async def test_errors_are_those_of_who_waits(bare: MakeBare, house: str) -> None:
    with AsyncGuestClient(bare(answered).path) as guest:
        with pytest.raises(NotOnBareKernel):
            await guest.ask("status")
        with pytest.raises(UsageError):
            await guest.ask("log " + "x" * 5000)
    with AsyncGuestClient("nobody") as guest, pytest.raises(NoGuest):
        await guest.ask("version")


async def test_next_supervisor_is_asked_what_does_no_harm_twice(
    bare: MakeBare, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = bare(die, mode=0o600)

    def adopt(_name: str) -> bool:
        bare(answered, mode=0o600)  # stands at the same path
        return True

    monkeypatch.setattr(module, "adopt", adopt)
    with AsyncGuestClient(server.path) as guest:
        assert (await guest.ask("version")).text == "version"


async def test_what_may_have_been_done_is_not_asked_twice(
    bare: MakeBare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "adopt", lambda _name: True)
    with AsyncGuestClient(bare(die, mode=0o600).path) as guest, pytest.raises(InDoubt):
        await guest.ask("remove ubd1")


async def test_other_tasks_go_on_while_an_answer_is_waited_for(bare: MakeBare) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await trio.lowlevel.checkpoint()
            ticks += 1

    with AsyncGuestClient(bare(lambda *_: []).path) as guest:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tick)
            outcome = await guest.ask("version", Deadline(0.1))
            nursery.cancel_scope.cancel()
    assert outcome.kind == TIMED_OUT
    assert ticks


async def test_who_only_looks_has_nobody_adopted(
    bare: MakeBare, house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def adopt(name: str) -> bool:
        raise AssertionError(name)

    monkeypatch.setattr(module, "adopt", adopt)
    with AsyncGuestClient(bare(die, mode=0o600).path, looks=True) as guest:
        assert (await guest.ask("version")).kind == GONE
    with AsyncGuestClient("demo", looks=True) as guest, pytest.raises(NoGuest):
        await guest.ask("version")
