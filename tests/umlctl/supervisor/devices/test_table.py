from __future__ import annotations

import errno
import os
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from socketproto.exchange import GONE, TIMED_OUT, Outcome
from umlctl.backends.nic import NicBackend
from umlctl.errors import Refusal
from umlctl.state import leases, records
from umlctl.state.records import DeviceEntry

if TYPE_CHECKING:
    from tests.umlctl.supervisor.devices.conftest import (
        Guest,
    )
    from umlctl.state.records import Record


async def test_stopped_guest_is_not_told_about_devices(guest: Guest) -> None:
    entry = await guest.plug("b.img")
    guest.kernel.asked.clear()
    guest.stopped = True
    for request in (guest.plug("a.img"), guest.remove(entry.name)):
        with pytest.raises(Refusal, match="the guest is paused") as refusal:
            await request
        assert refusal.value.error == -errno.EBUSY
    assert guest.kernel.told == []
    assert guest.names == [entry.name]


async def test_what_the_host_finds_wrong_is_the_answer(guest: Guest) -> None:
    with pytest.raises(Refusal, match=f"cannot read {guest.path}/none: No such file") as refusal:
        await guest.plug("none")
    assert refusal.value.error == -errno.ENOENT
    with pytest.raises(Refusal, match="a network's name") as refusal:
        await guest.plug("switch=a/b")
    assert refusal.value.error == -errno.EINVAL
    await guest.plug("a.img")
    with pytest.raises(Refusal, match="is written by demo as its ubd1"):
        await guest.plug("a.img")
    assert guest.names == ["ubd1"]


async def test_want_of_descriptors_is_told_with_what_helps(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(leases, "os", SimpleNamespace(**vars(os) | {"open": full}))
    with pytest.raises(Refusal, match=r"the devices cannot be locked: .*`ulimit -n`") as refusal:
        await guest.plug("a.img")
    assert refusal.value.error == -errno.EMFILE


async def test_record_that_cannot_be_written_later_is_told_and_no_more(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = records.save

    def full_later(record: Record) -> None:
        if not any(entry.problem for entry in record.devices):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(record)

    monkeypatch.setattr(records, "save", full_later)
    assert (await guest.plug("a.img")).problem == ""
    assert "No space left" in guest.events("not recorded")[0]["text"]


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (Outcome(GONE, reason="the guest is dead"), -errno.ECONNRESET),
        (Outcome(TIMED_OUT, reason="the kernel has not answered"), -errno.ETIMEDOUT),
    ],
)
async def test_kernel_that_cannot_answer_is_not_asked(
    guest: Guest, outcome: Outcome, error: int
) -> None:
    before = guest.files
    guest.kernel.away = outcome
    for request in (
        guest.plug("a.img,cow=new.cow"),
        guest.config("mem=-8M"),
        guest.config("con1=null"),
        guest.remove("ubd1"),
    ):
        with pytest.raises(Refusal, match=outcome.reason) as refusal:
            await request
        assert refusal.value.error == error
    assert not guest.kernel.asked
    assert guest.files == before


async def test_requests_at_once_take_their_turns(guest: Guest) -> None:
    found: list[str] = []

    async def plug() -> None:
        found.append((await guest.plug("a.img,ro")).name)

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(plug)
    assert sorted(found) == guest.names == [f"ubd{slot}" for slot in range(1, 6)]


async def test_hook_that_fails_is_told(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    await guest.plug("transport=fd,fd=3")
    monkeypatch.setattr(NicBackend, "release", lambda *_: "the `down` hook failed")
    assert (await guest.remove("vec0")).ok
    assert guest.events("failed")[0]["text"] == "the `down` hook failed"
    assert guest.names == []


async def test_guest_is_on_the_switches_of_its_nics(guest: Guest) -> None:
    assert guest.devices.networks() == set()
    guest.boots_with("vec0", "vec0:transport=fd,fd=3", network="lan")
    guest.boots_with("vec1", "vec1:transport=fd,fd=3", network="lan")
    guest.boots_with("vec2", "vec2:transport=fd,fd=3", network="lost", problem="lost")
    assert guest.devices.networks() == {"lan"}


class Rows(list[DeviceEntry]):
    """Rows that one thread alone may change."""

    def __init__(self) -> None:
        super().__init__()
        self.thread = threading.get_ident()

    def append(self, entry: DeviceEntry) -> None:
        assert threading.get_ident() == self.thread
        super().append(entry)

    def remove(self, entry: DeviceEntry) -> None:
        assert threading.get_ident() == self.thread
        super().remove(entry)


async def test_no_worker_thread_changes_the_rows(guest: Guest) -> None:
    guest.record.devices = Rows()
    await guest.plug("a.img")
    await guest.config("mem=-8M")
    await guest.config("con1=null")
    guest.kernel.hidden.add("ubd2")
    with pytest.raises(Refusal, match="does not have it"):
        await guest.plug("b.img")
    await guest.remove("ubd1")
    assert guest.names == ["mem", "con1"]
