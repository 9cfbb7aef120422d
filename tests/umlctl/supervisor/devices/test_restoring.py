from __future__ import annotations

import os
from typing import TYPE_CHECKING

import trio
import trio.testing

from tests.umlctl.supervisor.devices.conftest import (
    MB,
    Guest,
    refused,
)
from umlctl.backends.disk import DISK
from umlctl.backends.nic import VECTOR
from umlctl.backends.registry import BEING_PLUGGED
from umlctl.errors import HostError
from umlctl.guest.specs import parse_disk
from umlctl.state import records
from umlctl.supervisor.devices import memory, restoring

if TYPE_CHECKING:
    import pytest

    from umlctl.backends.interface import Owner
    from umlctl.state.records import DeviceEntry


async def test_file_that_was_changed_is_not_plugged_again(guest: Guest) -> None:
    await guest.plug("a.img")
    await guest.plug("b.img,cow=new.cow")
    os.rename(f"{guest.path}/a.img", f"{guest.path}/old.img")
    os.mkdir(f"{guest.path}/a.img")
    os.utime(f"{guest.path}/b.img", (1, 1))
    await restoring.renew(guest.devices)
    await guest.reboot()
    assert guest.kernel.told == []
    first, second = guest.devices.entries
    assert "another file was put in the place of" in first.problem
    assert "does not fit its backing file" in second.problem


async def test_devices_of_the_command_line_are_looked_at(guest: Guest) -> None:
    guest.boots_with("ubd1", "ubd1=/x")
    guest.boots_with("ubd2", "ubd2=/y")
    guest.kernel.disks["ubd1"] = "/x"
    changed = guest.devices.changed
    await guest.after_boot(again=False)
    there, lacking = guest.devices.entries
    assert there.observed is not None
    assert there.problem == ""
    assert (lacking.observed, lacking.problem) == (None, "the guest does not have it")
    (event,) = guest.events("device lost")
    assert (event["device"], event["text"]) == ("ubd2", lacking.problem)
    assert guest.kernel.told == []
    assert changed.is_set()


async def test_guest_without_devices_is_not_asked(guest: Guest) -> None:
    await guest.after_boot(again=False)
    await guest.reboot()
    assert not guest.kernel.asked


async def test_image_that_was_emptied_does_not_come_back_and_it_is_said_why(guest: Guest) -> None:
    await guest.plug("a.img")
    os.truncate(f"{guest.path}/a.img", 0)
    await restoring.renew(guest.devices)
    await guest.reboot()
    (entry,) = guest.devices.entries
    assert "a.img is empty" in entry.problem
    assert guest.events("device lost")


async def test_device_that_the_guest_lacks_after_a_reboot_is_said_in_one_sentence(
    guest: Guest,
) -> None:
    await guest.plug("a.img")
    guest.kernel.hidden.add("ubd1")
    await guest.reboot()
    assert guest.devices.entries[0].problem == (
        "ubd1: the kernel took it, and the guest does not have it; `umlctl logs demo` may say why"
    )


async def test_devices_come_back_in_order_after_a_reboot(guest: Guest) -> None:
    texts = ("b.img,slot=5", "a.img,ro,slot=2", "transport=fd,fd=3", "a.img,ro,slot=1")
    for text in texts:
        await guest.plug(text)
    await guest.config("con1=null")
    await guest.config("mem=-16M")
    told = guest.kernel.told
    await guest.reboot()
    assert guest.kernel.told == told
    assert not guest.events("device lost")
    for entry in guest.devices.entries:
        assert entry.problem == ""
        assert entry.observed is not None
    assert guest.kernel.free == 184 * MB


async def test_device_of_the_command_line_that_was_removed_stays_away(guest: Guest) -> None:
    guest.boots_with("ubd1", "ubd1=/x")
    guest.kernel.disks["ubd1"] = "/x"
    await guest.remove("ubd1")
    kept = records.load("demo")
    assert kept is not None
    assert kept.removed == ["ubd1"]
    entry = await guest.plug("a.img,slot=1")
    guest.kernel.reboot()
    guest.kernel.disks["ubd1"] = "/x"
    await guest.after_boot(again=True)
    assert guest.kernel.told == ["remove ubd1", f"config {entry.kernel}"]
    assert guest.kernel.disks["ubd1"] == f"{guest.path}/a.img"


async def test_device_that_is_lost_is_told_and_tried_again(guest: Guest) -> None:
    entry = await guest.plug("a.img")
    await guest.plug("b.img")
    guest.kernel.answers[f"config {entry.kernel}"] = refused("out of memory")
    await guest.reboot()
    assert (entry.observed, entry.problem) == (None, "ubd1: out of memory")
    (event,) = guest.events("device lost")
    assert (event["device"], event["text"]) == ("ubd1", "ubd1: out of memory")
    assert guest.devices.find("ubd2").problem == ""  # type: ignore[union-attr]
    guest.kernel.answers.clear()
    await guest.reboot()
    assert entry.problem == ""
    assert entry.observed is not None


async def test_nic_that_is_lost_can_be_removed(guest: Guest) -> None:
    entry = await guest.plug("transport=fd,fd=3")
    guest.kernel.hidden.add("vec0")
    await guest.reboot()
    assert entry.problem
    assert (await guest.remove("vec0")).ok
    assert guest.names == []


async def test_host_that_is_not_ready_again_is_a_problem_of_the_device(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def renew(entry: DeviceEntry, _pid: int) -> None:
        if entry.name == "vec0":
            raise HostError("its tap is still open")

    entry = guest.boots_with("vec0", "vec0:transport=fd,fd=3")
    other = await guest.plug("transport=fd,fd=3")
    monkeypatch.setattr(VECTOR, "renew", renew)
    for problem in ("its tap is still open", ""):
        guest.kernel.reboot()
        guest.kernel.nics.add("vec0")
        await restoring.renew(guest.devices)
        await guest.after_boot(again=True)
        assert entry.problem == problem
        assert entry.observed is not None
        assert other.problem == ""
        monkeypatch.setattr(VECTOR, "renew", lambda *_: None)


async def test_request_waits_until_the_devices_are_back(guest: Guest) -> None:
    await guest.plug("a.img,ro")
    guest.kernel.reboot()
    order: list[str] = []

    async def back() -> None:
        await guest.after_boot(again=True)
        order.append("back")

    async def plug() -> None:
        order.append((await guest.plug("a.img,ro")).name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(back)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(plug)
    assert sorted(order) == ["back", "ubd2"]
    assert [text.partition("=")[0] for text in guest.kernel.told] == [
        "config ubd1r",
        "config ubd2r",
    ]


async def test_guest_that_begins_anew_keeps_what_it_boots_with(guest: Guest) -> None:
    guest.kernel.free = 100 * MB
    await guest.config("mem=-200M", force=True)
    guest.kernel.reboot()
    guest.kernel.free = 90 * MB
    await guest.after_boot(again=True)
    (entry,) = guest.devices.entries
    assert (entry.kernel, entry.problem) == (f"mem=-{90 - (memory.SPARE_BYTES >> 20)}M", "")
    assert guest.kernel.free == memory.SPARE_BYTES
    assert guest.events("memory changed")[-1]["taken"] == 90 * MB - memory.SPARE_BYTES


async def test_end_of_the_guest_lets_everything_go(guest: Guest) -> None:
    before = guest.files
    await guest.plug("a.img,discard")
    await guest.plug("b.img,cow=new.cow")
    assert await restoring.release(guest.devices) == []
    assert guest.files - before == {f"{guest.path}/new.cow"}


async def test_end_amid_a_plugging_leaves_nothing_of_it(guest: Guest) -> None:
    before = guest.files
    entry = DISK.prepare(parse_disk("a.img,cow=new.cow", guest.path), 1, guest.devices.owner, ())
    entry.problem = BEING_PLUGGED
    guest.devices.entries.append(entry)
    assert await restoring.release(guest.devices) == []
    assert guest.files == before


async def test_all_is_let_go_the_last_first_and_what_fails_is_told(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def release(entry: DeviceEntry, owner: Owner) -> str:
        seen.append(f"{owner.umid} {entry.name}")
        return "failed" if entry.name == "ubd2" else ""

    for slot in (1, 2, 3):
        await guest.plug(f"a.img,ro,slot={slot}")
    monkeypatch.setattr(DISK, "release", release)
    assert await restoring.release(guest.devices) == ["failed"]
    assert seen == ["demo ubd3", "demo ubd2", "demo ubd1"]
