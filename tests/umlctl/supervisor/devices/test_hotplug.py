from __future__ import annotations

import errno
import os

import pytest

from tests.umlctl.supervisor.devices.conftest import (
    OPEN,
    SILENCE,
    Guest,
    ok,
    refused,
)
from umlctl.errors import Refusal
from umlctl.state import records
from umlctl.supervisor.devices import hotplug, restoring
from umlctl.supervisor.devices.table import UNSETTLED


@pytest.mark.parametrize("text", ["a.img", "a.img,cow=new.cow", "a.img,discard"])
async def test_device_that_the_guest_does_not_have_is_taken_out_again(
    guest: Guest, text: str
) -> None:
    before = guest.files
    guest.kernel.hidden.add("ubd1")
    with pytest.raises(Refusal, match="ubd1: the kernel took it, and the guest does not have it"):
        await guest.plug(text)
    assert guest.kernel.disks == {"ubd0": "/dev/null"}
    assert guest.names == []
    assert guest.files == before


async def test_kernel_that_could_not_open_an_older_nic_gets_no_other_until_it_reboots(
    guest: Guest,
) -> None:
    """Seen on 6.1: the next one, of either kind, is its end."""
    guest.kernel.hidden.add("eth0")
    with pytest.raises(Refusal, match="eth0: the kernel took it, and the guest does not have it"):
        await guest.plug("eth0=mcast")
    guest.kernel.hidden.clear()
    for text in ("eth0=mcast", "eth1=mcast", "transport=fd,fd=3"):
        with pytest.raises(Refusal, match="could not open eth0, and may panic of another NIC"):
            await guest.plug(text)
    await guest.plug("a.img")
    await guest.plug("eth1=mcast", force=True)
    await restoring.renew(guest.devices)
    await guest.plug("eth0=mcast")


async def test_device_with_other_files_than_were_asked_for_is_not_it(guest: Guest) -> None:
    guest.kernel.answers["config ubd1"] = ok("/another.img")
    with pytest.raises(Refusal, match="the guest does not have it"):
        await guest.plug("a.img")
    assert guest.names == []


async def test_device_that_appears_late_is_waited_for(guest: Guest) -> None:
    looks = []

    def before(text: str) -> None:
        if text == "proc partitions":
            looks.append(text)
            if len(looks) == 3:
                guest.kernel.hidden.clear()

    guest.kernel.hidden.add("ubd1")
    guest.kernel.before = before
    assert (await guest.plug("a.img")).problem == ""


async def test_forced_device_is_not_looked_for(guest: Guest) -> None:
    guest.kernel.hidden.add("ubd1")
    entry = await guest.plug("a.img", force=True)
    assert entry.observed is None
    assert guest.kernel.asked == [f"config {entry.kernel}"]
    assert guest.names == ["ubd1"]


async def test_device_of_a_silent_kernel_is_taken_out_when_it_answers_again(guest: Guest) -> None:
    """It may have taken it: until then the file is held, and the slot is in use."""
    before = guest.files
    kernel = guest.kernel

    def silent(text: str) -> None:
        if text.startswith("config ubd1="):
            kernel._config(text.removeprefix("config "))  # it takes it, later
            kernel.answers[text] = kernel.answers["remove ubd1"] = SILENCE

    kernel.before = silent
    with pytest.raises(Refusal, match="ubd1: silence") as refusal:
        await guest.plug("a.img,cow=new.cow")
    assert refusal.value.error == -errno.ETIMEDOUT
    assert guest.names == ["ubd1"]
    assert guest.devices.entries[0].problem == UNSETTLED
    assert guest.devices.entries[0].holds
    await restoring.remove_unsettled(guest.devices)
    assert guest.names == ["ubd1"], "it is silent still"
    kernel.answers.clear()
    kernel.before = lambda _text: None
    await restoring.remove_unsettled(guest.devices)
    assert guest.names == []
    assert kernel.disks == {"ubd0": "/dev/null"}
    assert guest.files == before


async def test_device_that_cannot_be_taken_out_again_is_kept_with_its_problem(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hotplug, "OPEN_TIMEOUT", 0.0)
    guest.kernel.hidden.add("ubd1")
    guest.kernel.answers["remove ubd1"] = OPEN
    with pytest.raises(Refusal, match="cannot be taken out again: Device is currently open"):
        await guest.plug("a.img,cow=new.cow")
    assert guest.names == ["ubd1"]
    assert os.path.exists(f"{guest.path}/new.cow"), "the guest writes to it"  # noqa: ASYNC240
    kept = records.load("demo")
    assert kept is not None
    assert "cannot be taken out" in kept.devices[0].problem


async def test_first_disk_takes_the_place_of_none(guest: Guest) -> None:
    await guest.plug("a.img,slot=0")
    assert guest.kernel.told == ["remove ubd0", f"config ubd0={guest.path}/a.img"]
    await guest.reboot()
    assert guest.kernel.told == ["remove ubd0", f"config ubd0={guest.path}/a.img"]
    assert not guest.events("device lost")


async def test_first_disk_that_fails_leaves_none_in_its_place(guest: Guest) -> None:
    with pytest.raises(Refusal, match="No such file"):
        await guest.plug("none,slot=0")
    assert not guest.kernel.asked
    guest.kernel.answers[f"config ubd0={guest.path}/a.img"] = refused("no")
    with pytest.raises(Refusal, match="ubd0: no"):
        await guest.plug("a.img,slot=0")
    assert guest.kernel.disks == {"ubd0": "/dev/null"}
    guest.kernel.answers.clear()
    guest.kernel.hidden.add("ubd0")
    with pytest.raises(Refusal, match="does not have it"):
        await guest.plug("a.img,slot=0")
    assert guest.kernel.disks == {"ubd0": "/dev/null"}


async def test_first_disk_that_is_one_is_not_taken_away(guest: Guest) -> None:
    guest.kernel.disks["ubd0"] = "/root.img"
    with pytest.raises(Refusal, match="already configured"):
        await guest.plug("a.img,slot=0")
    assert guest.kernel.disks == {"ubd0": "/root.img"}


async def test_disk_that_is_still_scanned_for_partitions_is_removed_a_moment_later(
    guest: Guest,
) -> None:
    def before(text: str) -> None:
        if guest.kernel.asked.count("remove ubd1") == 3:
            guest.kernel.answers.clear()

    await guest.plug("a.img")
    guest.kernel.answers["remove ubd1"] = OPEN
    guest.kernel.before = before
    assert (await guest.remove("ubd1")).ok
    assert guest.kernel.asked.count("remove ubd1") == 3
    assert guest.names == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (-errno.EAGAIN, "ubd1: another process of this host has its file locked"),
        (-errno.EISDIR, "ubd1: Is a directory"),
        (1, "ubd1: the kernel cannot, and does not say why; its log may"),
    ],
)
async def test_what_the_kernel_refuses_without_words_is_told_in_words(
    guest: Guest, error: int, said: str
) -> None:
    device = f"config ubd1={guest.path}/a.img"
    guest.kernel.before = lambda text: (
        guest.kernel.answers.update({text: refused("", error)})
        if (text.startswith(device))
        else None
    )
    with pytest.raises(Refusal, match=said) as caught:
        await guest.plug("a.img")
    assert caught.value.error == error
