from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from socketproto.exchange import REFUSED
from tests.umlctl.supervisor.devices.conftest import (
    DEADLINE,
    MB,
    OPEN,
    Guest,
    ok,
    refused,
)
from umlctl.backends.registry import BEING_PLUGGED
from umlctl.errors import Refusal
from umlctl.guest.specs import parse_disk
from umlctl.recovery import discover
from umlctl.state import leases, records
from umlctl.supervisor.devices import hotplug

if TYPE_CHECKING:
    from umlctl.state.records import Record


async def test_plugged_disk_is_in_the_guest_in_the_table_and_on_disk(guest: Guest) -> None:
    changed = guest.devices.changed
    entry = await guest.plug("a.img,serial=S")
    assert guest.kernel.told == [f"config ubd1={guest.path}/a.img,,S"]
    assert entry.observed == {"block": "ubdb", "size": MB, "partitions": ["ubdb1"]}
    assert (entry.name, entry.problem, entry.boot) == ("ubd1", "", False)
    kept = records.load("demo")
    assert kept is not None
    assert kept.devices == [entry]
    (event,) = guest.events("device added")
    assert (event["device"], event["text"], event["uid"], event["pid"]) == (
        *("ubd1", entry.kernel),
        *(1000, 4711),
    )
    assert changed.is_set()
    assert not guest.devices.changed.is_set()


async def test_device_is_written_down_before_the_kernel_hears_of_it(guest: Guest) -> None:
    """A supervisor that is killed then leaves a note, and others keep off the file."""
    seen: list[tuple[str, str]] = []

    def before(text: str) -> None:
        kept = records.load("demo")
        assert kept is not None
        if text.startswith("config ubd1="):
            seen.extend((entry.name, entry.problem) for entry in kept.devices)

    guest.kernel.before = before
    await guest.plug("a.img")
    assert seen == [("ubd1", BEING_PLUGGED)]


@pytest.mark.parametrize("text", ["a.img", "a.img,cow=new.cow", "a.img,discard"])
@pytest.mark.parametrize("said", ["Failed to parse", ""])
async def test_device_that_the_kernel_refuses_leaves_nothing(
    guest: Guest, text: str, said: str
) -> None:
    before = guest.files
    device = parse_disk(f"{text},slot=3", guest.path)
    name = f"{guest.directory}/ubd3.cow" if device.discard else device.cow
    guest.kernel.answers[f"config {device.device(3, name)}"] = refused(said, -errno.EINVAL)
    with pytest.raises(Refusal, match=f"ubd3: {said or 'Invalid argument'}") as refusal:
        await guest.plug(f"{text},slot=3")
    assert refusal.value.error == -errno.EINVAL
    assert guest.names == []
    assert guest.files == before
    assert not guest.events("device added")
    assert "remove ubd3" not in guest.kernel.asked, "another device may be there"


async def test_request_that_is_given_up_leaves_nothing(guest: Guest) -> None:
    before = guest.files
    guest.kernel.slow.add(f"config ubd1={guest.path}/new.cow,{guest.path}/a.img")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(guest.plug, "a.img,cow=new.cow")
        with trio.fail_after(DEADLINE):
            while not guest.kernel.told:  # noqa: ASYNC110 - the fake has nobody to tell
                await trio.sleep(0.001)
        nursery.cancel_scope.cancel()
    assert guest.kernel.asked[-1] == "remove ubd1", "the kernel may have taken it"
    assert guest.names == []
    assert guest.files == before


@pytest.mark.parametrize("text", ["/\udcff.img", "a.img,serial=\udcff"])
async def test_what_is_no_utf8_never_reaches_the_table(guest: Guest, text: str) -> None:
    from umlctl.errors import UsageError

    with pytest.raises(UsageError, match="UTF-8"):
        parse_disk(text, guest.path)


async def test_device_that_cannot_be_written_down_is_not_plugged(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_record: Record) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = guest.files
    with monkeypatch.context() as patch:
        patch.setattr(records, "save", full)
        with pytest.raises(Refusal, match=r"ubd1: cannot be written down: .*No space") as refusal:
            await guest.plug("a.img,cow=new.cow")
    assert refusal.value.error == -errno.ENOSPC
    assert not guest.kernel.asked
    assert guest.names == []
    assert guest.files == before


async def test_first_free_slot_is_taken_and_never_the_first_of_all(guest: Guest) -> None:
    assert (await guest.plug("a.img,ro,slot=2")).name == "ubd2"
    found = [(await guest.plug("a.img,ro")).name for _ in range(3)]
    assert found == ["ubd1", "ubd3", "ubd4"]
    await guest.remove("ubd1")
    assert (await guest.plug("a.img,ro")).name == "ubd1"


async def test_nics_are_numbered_from_zero_by_their_family(guest: Guest) -> None:
    guest.boots_with("vec1", "vec1:transport=fd,fd=3")
    names = [(await guest.plug("transport=fd,fd=3")).name for _ in range(3)]
    assert names == ["vec0", "vec2", "vec3"]
    assert (await guest.plug("eth0=mcast")).name == "eth0"


async def test_slot_in_use_is_refused_with_what_is_there(guest: Guest) -> None:
    await guest.plug("a.img,slot=3")
    guest.kernel.asked.clear()
    with pytest.raises(
        Refusal,
        match=rf"ubd3 is in use: {guest.path}/a.img,slot=3; take another, or `umlctl",
    ) as refusal:
        await guest.plug("b.img,slot=3")
    assert refusal.value.error == -errno.EBUSY
    assert not guest.kernel.asked


async def test_guest_that_is_full_is_told_so(guest: Guest) -> None:
    for slot in range(1, 16):
        guest.boots_with(f"ubd{slot}", f"ubd{slot}=/x{slot}")
    assert (await guest.plug("a.img")).name == "ubd0", "the last that is free, without a root on it"
    guest.kernel.asked.clear()
    with pytest.raises(Refusal, match="all 16 of ubd"):
        await guest.plug("b.img")
    for number in range(64):
        guest.boots_with(f"vec{number}", f"vec{number}:transport=fd,fd=3")
    with pytest.raises(Refusal, match="all 64 of vec"):
        await guest.plug("transport=fd,fd=3")
    assert not guest.kernel.asked


async def test_config_plugs_what_the_table_knows(guest: Guest) -> None:
    assert (await guest.config("ubd1r=a.img")).ok
    assert (await guest.config("vec2:transport=fd,fd=3")).ok
    assert (await guest.config("con1=null")).ok
    assert (await guest.config("mem=-8M")).ok
    assert guest.names == ["ubd1", "vec2", "con1", "mem"]
    assert guest.devices.entries[0].kernel == f"ubd1r={guest.path}/a.img"


@pytest.mark.parametrize("text", ["ubd99=/a", "vec0:nonsense", "udb1=/a", "foo=bar", "mem=1"])
async def test_what_is_no_device_goes_to_the_kernel_only_if_forced(guest: Guest, text: str) -> None:
    with pytest.raises(Refusal) as refusal:
        await guest.config(text)
    assert refusal.value.error == -errno.EINVAL
    assert not guest.kernel.asked
    guest.kernel.answers[f"config {text}"] = ok("done")
    assert (await guest.config(text, force=True)).text == "done"
    assert guest.names == []


async def test_dangerous_nic_is_plugged_only_if_forced(guest: Guest) -> None:
    text = "vec0:transport=fd,fd=3,ifup=/bin/sh"
    for dangerous in (text, "con1=port:9000"):
        with pytest.raises(Refusal):
            await guest.config(dangerous)
    assert (await guest.config("con1=port:9000", force=True)).ok
    assert guest.names == ["con1"]


async def test_removed_device_is_gone_with_what_was_made_for_it(guest: Guest) -> None:
    before = guest.files
    await guest.plug("a.img,discard")
    changed = guest.devices.changed
    assert (await guest.remove("ubdb")).ok
    assert guest.kernel.told[-1] == "remove ubd1"
    assert guest.names == []
    assert guest.files == before
    (event,) = guest.events("device removed")
    assert (event["device"], event["uid"], event["pid"]) == ("ubd1", 1000, 4711)
    assert changed.is_set()


async def test_removed_device_keeps_the_cow_file_that_stays(guest: Guest) -> None:
    await guest.plug("a.img,cow=new.cow")
    await guest.remove("ubd1")
    assert f"{guest.path}/new.cow" in guest.files


@pytest.mark.parametrize(
    ("mounts", "said"),
    [
        ("/dev/ubdb /data ext4 rw 0 0\n", "ubd1 is mounted in the guest on /data; unmount it"),
        (
            "none /proc proc rw 0 0\n/dev/ubdb1 /a ext4\n/dev/ubdb2 /b ext4\n/dev/ubdc /c ext4\n",
            "ubd1 is mounted in the guest on /a, /b; unmount it",
        ),
        ("/dev/ubdc /c ext4\nrubbish\n\n", "ubd1 is open in the guest, by a process or as swap"),
    ],
)
async def test_disk_that_is_open_stays_and_it_is_said_where(
    guest: Guest, mounts: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hotplug, "OPEN_TIMEOUT", 0.0)
    await guest.plug("a.img,discard")
    guest.kernel.answers["remove ubd1"] = OPEN
    guest.kernel.mounts = mounts
    with pytest.raises(Refusal, match=said) as refusal:
        await guest.remove("ubd1")
    assert refusal.value.error == -errno.EBUSY
    assert guest.names == ["ubd1"]
    assert f"{guest.directory}/ubd1.cow" in guest.files


@pytest.mark.parametrize(
    ("name", "said"),
    [("vec0", "vec0 is up in the guest; `ip link set vec0 down`"), ("con1", "con1: Device is")],
)
async def test_other_device_that_is_open_stays(guest: Guest, name: str, said: str) -> None:
    await guest.plug("transport=fd,fd=3")
    guest.kernel.answers[f"remove {name}"] = OPEN
    with pytest.raises(Refusal, match=said):
        await guest.remove(name)
    assert guest.names == ["vec0"]


async def test_what_the_kernel_says_of_a_device_that_is_not_there_is_the_answer(
    guest: Guest,
) -> None:
    outcome = await guest.remove("vec7")
    assert (outcome.kind, outcome.error) == (REFUSED, -errno.ENODEV)
    assert not guest.events("device removed")


@pytest.mark.parametrize("text", ["", "ubd", "ubd16", "ubd1x", "vec", "foo1", "memory"])
async def test_what_is_no_name_is_refused(guest: Guest, text: str) -> None:
    with pytest.raises(Refusal) as refusal:
        await guest.remove(text)
    assert refusal.value.error == -errno.EINVAL
    assert not guest.kernel.asked


async def test_plugging_waits_for_no_thread_in_which_another_waits_for_it(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A supervisor may start more guests at once than it has threads, and each start waits for the
    lock of all devices in one."""
    real, order = discover.running, []
    limiter = trio.to_thread.current_default_thread_limiter()
    limiter.total_tokens = 1

    def start_another() -> None:
        with leases.lock():
            order.append("another")

    def running(but: str) -> list[Record]:
        trio.from_thread.run_sync(nursery.start_soon, trio.to_thread.run_sync, start_another)
        return real(but)

    monkeypatch.setattr(discover, "running", running)
    async with trio.open_nursery() as nursery:
        await guest.plug("a.img")
        order.append("plugged")
    assert sorted(order) == ["another", "plugged"]
    assert guest.names == ["ubd1"]
