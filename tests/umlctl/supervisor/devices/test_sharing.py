"""With a guest whose commands are told here; tests/live has real ones."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from tests.umlctl.supervisor.devices.conftest import BY, DEADLINE, Guest
from umlctl.backends.share import NOT_YET, entries_of
from umlctl.errors import GuestEnded, HostError, NeverStarted, Refusal, Unprepared
from umlctl.execution import in_guest
from umlctl.guest.confinement import WRITES
from umlctl.host import binds, paths
from umlctl.supervisor.devices import restoring, sharing
from umlctl.supervisor.launch.place import shared_directory
from umlctl.supervisor.readiness import Milestones

if TYPE_CHECKING:
    from collections.abc import Sequence

    from umlctl.supervisor.devices.table import DeviceTable


class Commands:
    """What runs in the guest: it mounts and unmounts as it is told.

    Fields:
        ran: the words of each command
        fails: what the next command ends with
        busy: nothing can be unmounted
        links: where a path leads in the guest
    """

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self.ran: list[tuple[str, ...]] = []
        self.fails: Exception | None = None
        self.busy = False
        self.links: dict[str, str] = {}

    def run(self, _umid: str, words: Sequence[str], own: Any, **asked: Any) -> int:
        self.ran.append(tuple(words))
        if self.fails is not None:
            raise self.fails
        kernel = self.guest.kernel
        for share in asked["mounts"]:
            place = self.links.get(share.target, share.target)
            kernel.mounts += f"none {place} hostfs rw,relatime,{share.source} 0 0\n"
        if words[0] == "umount":
            if self.busy:
                own.takers[1](b"umount: target is busy.\n")
                return 32
            lines = kernel.mounts.splitlines(keepends=True)
            place = self.links.get(words[1], words[1])
            kernel.mounts = "".join(line for line in lines if f" {place} " not in line)
        return 0


@pytest.fixture
def commands(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> Commands:
    made = Commands(guest)
    monkeypatch.setattr(in_guest, "run", made.run)
    return made


async def test_share_is_added_and_taken_away(guest: Guest, commands: Commands) -> None:
    entry = await sharing.add(guest.devices, f"{guest.path}:/mnt", BY)
    assert (entry.name, entry.problem, entry.observed) == ("share0", "", {"path": "/mnt"})
    assert guest.names == ["share0"]
    await guest.remove("share0")
    assert guest.names == []
    assert commands.ran[-1] == ("umount", "/mnt")
    assert [each["device"] for each in guest.events("device removed")] == ["share0"]


async def test_share_that_a_link_leads_elsewhere_with_is_not_left_in_the_guest(
    guest: Guest, commands: Commands
) -> None:
    commands.links["/var/run/it"] = "/run/it"
    before = guest.kernel.mounts
    with pytest.raises(Refusal, match="does not have it at /var/run/it, from where a link"):
        await sharing.add(guest.devices, f"{guest.path}:/var/run/it", BY)
    assert guest.names == []
    assert guest.kernel.mounts == before


async def test_guest_that_says_much_fills_no_memory(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def much(_umid: str, _words: Sequence[str], own: Any, **_asked: Any) -> int:
        for _ in range(3):
            own.takers[1](b"x" * sharing.MAX_SAID_BYTES)
        return 1

    monkeypatch.setattr(in_guest, "run", much)
    said, code = await sharing._command(guest.devices, "share0", ("umount", "/mnt"))
    assert (len(said), code) == (sharing.MAX_SAID_BYTES, 1)


async def test_share_is_refused_and_nothing_of_it_is_left(guest: Guest, commands: Commands) -> None:
    commands.fails = Unprepared("the guest could not mount /mnt: No such file or directory")
    with pytest.raises(Refusal, match="share0: the guest could not mount /mnt") as caught:
        await sharing.add(guest.devices, f"{guest.path}:/mnt", BY)
    assert caught.value.error == -errno.EIO
    assert guest.names == []
    for text in (f"{guest.path}/none", f"{guest.path}:mnt"):
        with pytest.raises(Refusal):
            await sharing.add(guest.devices, text, BY)
    assert len(commands.ran) == 1


async def test_share_is_at_one_place_once(guest: Guest, commands: Commands) -> None:
    await sharing.add(guest.devices, f"{guest.path}:/mnt", BY)
    with pytest.raises(Refusal, match="share0 is there already") as caught:
        await sharing.add(guest.devices, "/:/mnt", BY)
    assert caught.value.error == -errno.EBUSY
    await sharing.add(guest.devices, f"{guest.path}:/srv", BY)
    assert guest.names == ["share0", "share1"]
    assert len(commands.ran) == 2


async def test_share_that_is_in_use_stays(guest: Guest, commands: Commands) -> None:
    await sharing.add(guest.devices, f"{guest.path}:/mnt", BY)
    commands.busy = True
    with pytest.raises(Refusal, match=r"the guest keeps it: umount: target is busy\.") as caught:
        await guest.remove("share0")
    assert caught.value.error == -errno.EBUSY
    assert guest.names == ["share0"]
    guest.kernel.mounts = ""  # somebody in the guest has unmounted it
    await guest.remove("share0")
    assert guest.names == []


async def test_share_that_is_not_there_cannot_be_taken_away(guest: Guest) -> None:
    with pytest.raises(Refusal, match="the guest has no share3"):
        await guest.remove("share3")


async def test_share_is_back_after_a_reboot(guest: Guest, commands: Commands) -> None:
    entry = await sharing.add(guest.devices, f"{guest.path}:/mnt", BY)
    guest.kernel.mounts = ""
    await guest.reboot()
    assert (entry.problem, entry.observed) == ("", {"path": "/mnt"})
    guest.kernel.mounts = ""
    commands.fails = GuestEnded("it has ended")
    await guest.reboot()
    assert entry.problem == "share0: it has ended"
    assert guest.events("device lost")


async def test_share_whose_directory_is_gone_is_not_mounted_again(
    guest: Guest, commands: Commands
) -> None:
    os.mkdir(f"{guest.path}/d")
    entry = await sharing.add(guest.devices, f"{guest.path}/d:/mnt", BY)
    os.rmdir(f"{guest.path}/d")
    guest.kernel.mounts = ""
    await restoring.renew(guest.devices)
    await guest.reboot()
    assert "is no directory of this host" in entry.problem
    assert len(commands.ran) == 1


async def test_guest_that_takes_its_time_mounts_it_when_it_can(
    guest: Guest, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restoring, "TRY_INTERVAL", 0.001)
    guest.devices.entries.extend(entries_of((f"{guest.path}:/mnt",)))
    (entry,) = guest.devices.entries
    commands.fails = NeverStarted("it has not begun the command")
    await guest.after_boot(again=False)
    assert entry.problem.startswith(NOT_YET)
    milestones = Milestones()
    with trio.fail_after(DEADLINE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(restoring.keep_sharing, guest.devices, milestones)
            milestones.ready.set()
            for _ in range(2):
                await guest.devices.changed.wait()
                assert entry.problem.startswith(NOT_YET)
            commands.fails = None
            while entry.problem:
                await guest.devices.changed.wait()
            nursery.cancel_scope.cancel()
    assert entry.observed == {"path": "/mnt"}


async def test_guest_that_never_mounts_is_tried_ever_more_rarely(
    guest: Guest, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    tried: list[float] = []

    async def silent(_: DeviceTable) -> None:
        tried.append(trio.current_time())

    monkeypatch.setattr(sharing, "try_again", silent)
    guest.devices.entries.extend(entries_of((guest.path,)))
    milestones = Milestones()
    milestones.ready.set()
    with trio.move_on_after(40):
        await restoring.keep_sharing(guest.devices, milestones)
    assert [when - tried[0] for when in tried] == pytest.approx([0, 2, 6, 14, 29])


async def test_guest_that_never_mounts_does_not_keep_other_changes_waiting_for_long(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[float] = []

    def silent(*_: object, **asked: Any) -> int:
        limits.append(asked["limit"])
        raise NeverStarted("nobody there has begun it")

    monkeypatch.setattr(in_guest, "run", silent)
    guest.devices.entries.extend(entries_of((guest.path, f"{guest.path}:/mnt")))
    await sharing.try_again(guest.devices)
    assert limits == [sharing.TRY_TIMEOUT] * 2
    assert all(entry.problem.startswith(NOT_YET) for entry in guest.devices.entries)


def test_confined_kernel_without_mounts_of_its_own_is_given_nothing_later(guest: Guest) -> None:
    guest.record.confined = WRITES
    (entry,) = entries_of((guest.path,))
    with pytest.raises(HostError, match=f"start it with --share {guest.path}"):
        sharing.bring_in(guest.record, entry)


def test_confined_kernel_finds_it_where_it_was_brought(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound: list[tuple[str, str, bool]] = []

    def bind(_pid: int, _started: int, source: str, target: str, *, write: bool) -> None:
        bound.append((source, target, write))

    monkeypatch.setattr(binds, "bind_tree", bind)
    monkeypatch.setattr(binds, "unbind", lambda *_: None)
    guest.record.confined, guest.record.binds = WRITES, True
    os.mkdir(paths.kept_dir(), 0o700)
    place = shared_directory(guest.record.definition)
    os.makedirs(place)
    (entry,) = entries_of((f"{guest.path}:/mnt,ro",))
    sharing.bring_in(guest.record, entry)
    assert entry.told == f"{place}/share0"
    assert bound == [(guest.path, entry.told, False)]
    sharing.take_out(guest.record, entry)
    assert not os.path.exists(entry.told)
