from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING

from socketproto.exchange import ANSWERED, Outcome
from tests.umlctl.supervisor.devices.conftest import (
    Guest,
    ok,
    refused,
)
from umlctl.backends.disk import DISK
from umlctl.supervisor.devices import observing
from umlctl.supervisor.devices.table import ABSENT

if TYPE_CHECKING:
    import pytest


async def test_plugged_nic_is_looked_at_in_the_guest(guest: Guest) -> None:
    entry = await guest.plug("transport=fd,fd=3")
    assert guest.kernel.nics == {"vec0"}
    assert entry.observed == {"address": "02:00:00:00:00:01", "operstate": "down", "mtu": "1"}


async def test_nic_of_a_guest_without_sysfs_is_seen_all_the_same(guest: Guest) -> None:
    """Its kernel would log every file that is not there."""
    guest.kernel.mounts = "none /proc proc rw 0 0\n"
    assert (await guest.plug("transport=fd,fd=3")).observed == {}
    assert not [text for text in guest.kernel.asked if "/sys/class" in text]


async def test_facts_of_a_hostile_guest_are_kept_short_and_sound(guest: Guest) -> None:
    path = "proc 1/root/sys/class/net/vec0/address"
    guest.kernel.answers[path] = Outcome(ANSWERED, 0, b"\xff" + b"x" * 10_000)
    entry = await guest.plug("transport=fd,fd=3")
    assert entry.observed is not None
    assert entry.observed["address"].startswith("\\xffxx")
    assert len(entry.observed["address"]) == 64
    assert guest.names == ["vec0"]


async def test_device_that_somebody_took_away_is_missed_and_can_be_dropped(guest: Guest) -> None:
    for text in ("a.img", "transport=fd,fd=3"):
        entry = await guest.plug(text)
        guest.kernel.disks.pop(entry.name, None)
        guest.kernel.nics.discard(entry.name)
        await observing.observe(guest.devices)
        assert (entry.problem, entry.observed) == (ABSENT, None)
        guest.kernel.answers[f"remove {entry.name}"] = refused("no such device", -errno.ENODEV)
        assert (await guest.remove(entry.name)).ok
        assert guest.names == []
    assert [event["device"] for event in guest.events("device lost")] == ["ubd1", "vec0"]


async def test_what_has_become_of_a_file_is_noted_while_the_guest_has_it(guest: Guest) -> None:
    await guest.plug("a.img")
    await guest.plug("b.img")
    for entry in guest.devices.entries:
        entry.observed = {"size": 4096}
    assert await observing.notes(guest.devices) == {}
    os.truncate(f"{guest.path}/b.img", 1024)
    os.unlink(f"{guest.path}/a.img")
    notes = await observing.notes(guest.devices)
    assert "b.img has 1024 bytes now" in notes["ubd2"]
    assert "a.img is gone" in notes["ubd1"]


async def test_host_that_does_not_answer_for_its_files_holds_nobody_up(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a file system over a network may not."""
    asked = threading.Event()
    monkeypatch.setattr(DISK, "note", lambda _entry: asked.wait())
    monkeypatch.setattr(observing, "HOST_TIMEOUT", 0.01)
    await guest.plug("a.img")
    try:
        assert await observing.notes(guest.devices) == {}
    finally:
        asked.set()


async def test_table_shows_what_the_guest_has_now(guest: Guest) -> None:
    await guest.plug("a.img")
    await guest.plug("transport=fd,fd=3")
    guest.kernel.answers["proc 1/root/sys/class/net/vec0/operstate"] = ok("up\n")
    await observing.observe(guest.devices)
    disk, nic = guest.devices.listing()
    assert (disk.name, disk.asked, disk.boot) == ("ubd1", f"{guest.path}/a.img", False)
    assert (nic.observed or {})["operstate"] == "up"
    assert nic.mac
    for empty in ("problem", "made", "tap", "shared", "addr"):
        assert not getattr(disk, empty)
