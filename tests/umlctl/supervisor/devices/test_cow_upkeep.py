from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from tests.cows import Made, make, read
from tests.umlctl.supervisor.devices.conftest import BY, OPEN, Guest, refused
from umlctl.errors import Refusal
from umlctl.state import records
from umlctl.storage import cow, journal, merge
from umlctl.storage.cow_file import check_fits, open_backing, open_cow
from umlctl.supervisor.devices import cow_upkeep, observing, restoring
from umlctl.supervisor.devices.table import AWAY

if TYPE_CHECKING:
    from umlctl.state.records import DeviceEntry

WORK = [cow_upkeep.commit, cow_upkeep.empty]


@pytest.fixture
def made(guest: Guest) -> Made:
    os.mkdir(f"{guest.path}/d")
    return make(f"{guest.path}/d", 64, range(3, 20))


async def plugged(guest: Guest, made: Made) -> DeviceEntry:
    entry = await guest.plug(made.cow)
    guest.kernel.asked.clear()
    return entry


def disk(made: Made) -> bytes:
    """What a guest reads, which a kernel takes."""
    with open_cow(made.cow) as of, open_backing(of) as backing:
        check_fits(of, backing, made.backing)
        found = bytearray(read(made.backing))
        for start, end in of.runs():
            found[start:end] = of.read(start, end - start)
    return bytes(found)


def written(made: Made) -> int:
    with open_cow(made.cow) as of:
        return of.written()


def check_is_in(guest: Guest, made: Made) -> None:
    """The guest has the disk, and nothing else is left."""
    (entry,) = guest.devices.entries
    kept = records.load("demo")
    assert kept is not None
    assert (entry.problem, kept.devices[0].problem, guest.devices.away) == ("", "", "")
    assert entry.observed is not None
    assert guest.kernel.disks["ubd1"] == made.cow
    assert sorted(os.listdir(f"{guest.path}/d")) == ["a.cow", "base.img"]


async def test_what_was_written_is_in_the_backing_file(guest: Guest, made: Made) -> None:
    await plugged(guest, made)
    done = await cow_upkeep.commit(guest.devices, "ubd1", BY)
    assert (done.name, done.cow, done.backing) == ("ubd1", made.cow, made.backing)
    assert done.bytes == 17 * 512
    assert guest.kernel.told == ["remove ubd1", f"config ubd1={made.cow}"]
    assert (read(made.backing), written(made)) == (made.disk, 0)
    check_is_in(guest, made)
    (event,) = guest.events("disk committed")
    assert (event["device"], event["text"], event["uid"]) == ("ubd1", made.backing, 1000)


async def test_what_was_written_is_forgotten(guest: Guest, made: Made) -> None:
    await plugged(guest, made)
    assert (await cow_upkeep.empty(guest.devices, "ubd1", BY)).bytes == 17 * 512
    assert (read(made.backing), disk(made), written(made)) == (made.below, made.below, 0)
    check_is_in(guest, made)
    assert [each["text"] for each in guest.events("disk reset")] == [made.cow]


@pytest.mark.parametrize("work", WORK)
async def test_disk_that_is_mounted_stays_in_with_where(
    guest: Guest, made: Made, work: object
) -> None:
    await plugged(guest, made)
    before = read(made.cow)
    guest.kernel.answers["remove ubd1"] = OPEN
    guest.kernel.mounts += "/dev/ubdb1 /srv ext4 rw 0 0\n"
    with pytest.raises(Refusal, match=r"ubd1 is mounted in the guest on /srv; .* when the guest h"):
        await work(guest.devices, "ubd1", BY)  # type: ignore[operator]
    check_is_in(guest, made)
    assert (read(made.cow), read(made.backing)) == (before, made.below)


@pytest.mark.parametrize("at", [0, 1])
async def test_merge_that_fails_leaves_the_disk_as_it_was(
    guest: Guest, made: Made, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    await plugged(guest, made)
    real, calls = os.copy_file_range, 0

    def full(*arguments: int) -> int:
        nonlocal calls
        calls += 1
        if calls > at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        source, target, _, *places = arguments
        return real(source, target, 512, *places)

    with monkeypatch.context() as patch:
        patch.setattr(os, "copy_file_range", full)
        with pytest.raises(Refusal, match="No space left on device; the disk is as it was"):
            await cow_upkeep.commit(guest.devices, "ubd1", BY)
    assert (disk(made), written(made)) == (made.disk, 17 * 512)
    check_is_in(guest, made)
    await cow_upkeep.commit(guest.devices, "ubd1", BY)
    assert read(made.backing) == made.disk


@pytest.mark.parametrize(
    ("text", "name", "why"),
    [
        ("a.img", "ubd1", r"ubd1 has no COW file; what the guest writes is in .*a\.img already"),
        ("{cow},ro", "ubd1", "ubd1 is plugged read-only"),
        ("{cow},shared", "ubd1", "ubd1 is shared, and others may be using it"),
        ("{cow}", "ubd2", "ubd2 is no disk of this guest"),
        ("{cow}", "con1", "con1 is no disk of this guest"),
        ("{cow}", "xyz", "xyz"),
    ],
)
@pytest.mark.parametrize("work", WORK)
async def test_what_cannot_be_is_refused_and_the_guest_keeps_its_disk(
    guest: Guest, made: Made, work: object, text: str, name: str, why: str
) -> None:
    await guest.plug(text.format(cow=made.cow))
    guest.kernel.asked.clear()
    with pytest.raises(Refusal, match=why):
        await work(guest.devices, name, BY)  # type: ignore[operator]
    assert guest.kernel.told == []


async def test_backing_file_that_others_are_over_is_not_written(guest: Guest, made: Made) -> None:
    await plugged(guest, made)
    other = make(f"{guest.path}/d", 64, [1], name="b", over=made.backing)
    with pytest.raises(Refusal, match=f"is also under {other.cow}"):
        await cow_upkeep.commit(guest.devices, "ubd1", BY)
    os.rename(other.cow, f"{guest.path}/b.cow")
    await guest.plug(f"{guest.path}/b.cow")
    guest.kernel.asked.clear()
    with pytest.raises(Refusal, match=f"{made.backing} is read by demo as its ubd2"):
        await cow_upkeep.commit(guest.devices, "ubd1", BY)
    assert guest.kernel.told == []
    await cow_upkeep.empty(guest.devices, "ubd1", BY)


async def test_disk_that_the_guest_does_not_take_again_is_written_down(
    guest: Guest, made: Made
) -> None:
    await plugged(guest, made)
    guest.kernel.answers[f"config ubd1={made.cow}"] = refused("no memory", -errno.ENOMEM)
    with pytest.raises(Refusal, match="ubd1: no memory"):
        await cow_upkeep.empty(guest.devices, "ubd1", BY)
    assert guest.devices.entries[0].problem == AWAY
    guest.kernel.answers.clear()
    await restoring.remove_unsettled(guest.devices)
    check_is_in(guest, made)


@pytest.mark.parametrize("left", ["nothing", "merge", "reset"])
@pytest.mark.parametrize("again", [False, True])
async def test_supervisor_that_adopts_the_guest_plugs_the_disk_again(
    guest: Guest, made: Made, left: str, *, again: bool
) -> None:
    entry = await plugged(guest, made)
    entry.problem = AWAY
    guest.kernel.disks.pop("ubd1")
    if left == "reset":
        with open(journal.reset_of(made.cow), "xb"):
            pass
    if left == "merge":
        with open_cow(made.cow) as of:
            journal.begin_merge(made.cow, of.header)
        with open(made.backing, "r+b") as file:  # a part has arrived
            file.seek(3 * 512)
            file.write(made.disk[3 * 512 : 9 * 512])
    await restoring.renew(guest.devices)
    await guest.after_boot(again=again)
    check_is_in(guest, made)
    assert disk(made) == (made.below if left == "reset" else made.disk)


async def test_disk_that_is_out_is_not_looked_for(guest: Guest, made: Made) -> None:
    await plugged(guest, made)
    guest.devices.away = "ubd1"
    await observing.observe(guest.devices)
    assert guest.kernel.asked == []


async def test_cow_file_that_is_being_changed_is_plugged_into_no_guest(
    guest: Guest, made: Made
) -> None:
    with open_cow(made.cow) as of:
        journal.begin_merge(made.cow, of.header)
    with pytest.raises(Refusal, match="was interrupted, and nothing is lost"):
        await guest.plug(made.cow)
    with open_cow(made.cow, write=True) as of, open_backing(of, write=True) as backing:
        assert merge.give_up(of, backing)
    assert cow.read(made.cow) is not None
    await guest.plug(made.cow)
