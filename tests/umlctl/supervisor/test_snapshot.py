from __future__ import annotations

import errno
import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
import trio

from socketproto.exchange import ANSWERED, Outcome
from tests.cows import make, read
from tests.snapshots import disk, ended
from tests.umlctl.supervisor.devices.conftest import BY, Guest
from umlctl.errors import Refusal, UsageError
from umlctl.host import paths
from umlctl.state import snapshot_making, snapshots
from umlctl.storage.cow_file import opened
from umlctl.supervisor import snapshot, standstill
from umlctl.supervisor.lifecycle import RUNNING, STOPPED
from umlctl.supervisor.snapshot import Asked, take

if TYPE_CHECKING:
    from tests.cows import Made

CLEAN = Asked("clean")


class Life:
    """A guest whose devices are those of a table, and which stops and goes on.

    Fields:
        told: what was done to it
        between: called while it is stopped, before the copies
    """

    def __init__(self, guest: Guest) -> None:
        self.told: list[str] = []
        self.launched = SimpleNamespace(record=guest.record, definition=guest.record.definition)
        self.devices = guest.devices
        self.history = guest.history
        self.lifecycle = SimpleNamespace(state=RUNNING)
        self.kernel = self.pauses = self.shutdown = self

    async def sync(self) -> str:
        self.told.append("sync")
        return ""

    async def ask(self, text: str) -> Outcome:
        self.told.append(text)
        return Outcome(ANSWERED)

    def note_stopped(self, seconds: float, **_by: int) -> None:
        self.launched.record.resume = seconds
        self.lifecycle.state = STOPPED

    async def resume(self, **_by: int) -> None:
        self.told.append("go")
        self.lifecycle.state = RUNNING
        self.launched.record.resume = 0.0


@pytest.fixture
def guest(house: str) -> Guest:
    made = Guest(house)
    made.history.add("started")
    return made


@pytest.fixture
async def made(guest: Guest) -> Made:
    os.mkdir(f"{guest.path}/d")
    found = make(f"{guest.path}/d", 64, range(3, 20))
    await guest.plug(f"{found.cow},slot=1")
    await guest.plug("a.img,slot=2")
    await guest.plug("b.img,slot=3,ro")
    return found


async def taken(life: Life, asked: Asked = CLEAN) -> snapshots.Snapshot:
    return await take(cast("Any", life), asked, cast("Any", BY))


def check_nothing_is_left(life: Life) -> None:
    assert life.lifecycle.state == RUNNING
    assert not [name for name in os.listdir(paths.snapshots_dir()) if name != "lock"]


async def test_all_that_the_guest_writes_is_kept_and_it_goes_on(guest: Guest, made: Made) -> None:
    life = Life(guest)
    one = await taken(life)
    assert life.told == ["sync", "stop", "go"]
    assert snapshots.load("demo", "clean") == one
    first, second = one.layers
    assert (first.disk, first.path, first.backing) == ("ubd1", made.cow, made.backing)
    assert (second.disk, second.backing) == ("ubd2", "")
    assert read(one.path_of(first)) == read(made.cow)
    assert read(one.path_of(second)) == read(f"{guest.path}/a.img")
    (member,) = one.members
    assert [each.name for each in member.disks] == ["ubd1", "ubd2", "ubd3"]
    (event,) = guest.events("snapshot taken")
    assert (event["text"], event["pause"]) == ("clean", one.pause)


async def test_guest_that_was_paused_stays_so(guest: Guest, made: Made) -> None:
    life = Life(guest)
    life.lifecycle.state = STOPPED
    one = await taken(life)
    assert life.told == []
    assert one.members[0].synced == standstill.PAUSED


async def test_full_disk_leaves_nothing_and_the_guest_goes_on(
    guest: Guest, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    life = Life(guest)
    for where, name in ((snapshot_making, "copy_whole"), (snapshots, "_sync")):
        with monkeypatch.context() as patch:
            patch.setattr(where, name, full)
            with pytest.raises(Refusal, match="No space left on device; make room at"):
                await taken(life)
        check_nothing_is_left(life)


async def test_disk_without_room_is_seen_before_the_guest_is_stopped(
    guest: Guest, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    life = Life(guest)
    monkeypatch.setattr(snapshot_making, "room_for", lambda *_: 1 << 60)
    with pytest.raises(Refusal, match="MiB are free; make room at"):
        await taken(life)
    assert life.told == []
    check_nothing_is_left(life)


async def test_guest_that_somebody_resumes_is_not_kept(
    guest: Guest, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    life = Life(guest)

    def resumed(*_: object) -> None:
        life.lifecycle.state = RUNNING

    monkeypatch.setattr(snapshot_making, "copy_all", resumed)
    with pytest.raises(Refusal, match="demo was resumed while its disks were copied"):
        await taken(life)
    check_nothing_is_left(life)


async def test_copy_that_takes_too_long_is_given_up(
    guest: Guest, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(_source: int, _target: int, say: Any) -> None:
        say(1)

    life = Life(guest)
    monkeypatch.setattr(snapshot_making, "copy_whole", slow)
    monkeypatch.setattr(snapshot, "MAX_PAUSE_SECONDS", -1.0)
    with pytest.raises(Refusal, match="copying its disks takes longer"):
        await taken(life)
    check_nothing_is_left(life)


async def test_oldest_go_where_so_many_are_kept(guest: Guest, made: Made) -> None:
    life = Life(guest)
    for name in ("a", "b", "c"):
        await taken(life, Asked(name, keep=2))
    assert snapshots.names("demo") == ["b", "c"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a.img,ro", "demo writes to no disk, so there is nothing"),
        ("a.img,shared", "is shared: others may write to it, whom nobody stops"),
    ],
)
async def test_what_cannot_be_kept_is_said_before_anybody_is_stopped(
    guest: Guest, text: str, why: str
) -> None:
    await guest.plug(text)
    life = Life(guest)
    with pytest.raises(Refusal, match=why):
        await taken(life)
    assert life.told == []
    check_nothing_is_left(life)


async def test_guest_is_not_taken_with_itself_or_with_nobody(guest: Guest, made: Made) -> None:
    life = Life(guest)
    with pytest.raises(Refusal, match="cannot be taken with itself"):
        await taken(life, Asked("x", ("demo",)))
    with trio.fail_after(60), pytest.raises(Refusal, match="no guest 'nobody'"):
        await taken(life, Asked("x", ("nobody",)))
    check_nothing_is_left(life)


async def test_guest_that_has_ended_is_taken_with_one_that_runs(guest: Guest, made: Made) -> None:
    other = disk(guest.path, "db")
    ended("db", other)
    life = Life(guest)
    one = await taken(life, Asked("lab", ("db",)))
    assert life.told == ["sync", "stop", "go"]
    assert [(each.definition.umid, each.ended) for each in one.members] == [
        ("demo", False),
        ("db", True),
    ]
    assert read(one.path_of(one.layers[-1])) == read(other.cow)
    with opened(other.cow, write=True, lock=True):
        pass  # nobody has it any more
    with opened(other.cow, write=True, lock=True), pytest.raises(Refusal, match="is locked"):
        await taken(life, Asked("more", ("db",)))
    assert (life.lifecycle.state, snapshots.names("demo")) == (RUNNING, ["lab"])


def test_what_is_asked_is_read() -> None:
    assert snapshot.read("clean") == Asked("clean")
    assert snapshot.read("c keep=3 with=a,b,a") == Asked("c", ("a", "b"), 3)
    for text in ("c keep=0", "c keep=x", "c more", "c with="):
        with pytest.raises(Refusal, match="`layer save` takes NAME"):
            snapshot.read(text)
    with pytest.raises(UsageError, match="a snapshot's name"):
        snapshot.read("../x")
