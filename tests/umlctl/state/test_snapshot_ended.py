from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import msgspec
import pytest

from tests.cows import read
from tests.snapshots import disk, ended
from umlctl.errors import HostError
from umlctl.host import paths
from umlctl.state import snapshot_ended, snapshot_making, snapshots
from umlctl.state.leases import Use
from umlctl.storage import journal
from umlctl.storage.cow_file import opened

if TYPE_CHECKING:
    from collections.abc import Iterable

    from umlctl.state.records import Record
    from umlctl.state.snapshots import Snapshot


def nobody() -> Iterable[Use]:
    return []


def take(*guests: Record, users: snapshot_ended.Users = nobody) -> Snapshot:
    name = guests[0].definition.umid
    with snapshots.lock(), snapshots.making(name, "a") as place:
        return snapshot_ended.take(guests, "a", place, users)


def check_nothing_is_left() -> None:
    assert not [name for name in os.listdir(paths.snapshots_dir()) if name != "lock"]


def test_several_guests_are_kept_together(house: str) -> None:
    first, second = disk(house), disk(house, "db")
    one = take(ended("demo", first), ended("db", second))
    assert snapshots.load("demo", "a") == one
    assert (one.guests, one.pause) == (["demo", "db"], 0.0)
    assert all(each.ended for each in one.members)
    for layer, made in zip(one.layers, (first, second), strict=True):
        assert read(one.path_of(layer)) == read(made.cow)


def test_only_one_that_has_ended_and_is_not_started_again_is_found(house: str) -> None:
    record = ended("demo", disk(house))
    assert snapshot_ended.find("demo") == record
    assert snapshot_ended.find("nobody") is None
    ended("demo", again=True)
    assert snapshot_ended.find("demo") is None
    ended("demo", lives=True)
    assert snapshot_ended.find("demo") is None


def test_disk_that_another_guest_writes_is_refused(house: str) -> None:
    made = disk(house)
    record = ended("demo", made)
    users = [Use("web", record.devices[0])]
    with pytest.raises(HostError, match=f"{made.cow} is written by web as its ubd1"):
        take(record, users=lambda: users)
    check_nothing_is_left()


def test_nobody_writes_to_it_meanwhile(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = disk(house)
    tried = []

    def write(*_: object) -> None:
        with pytest.raises(HostError, match="is locked"), opened(made.cow, write=True, lock=True):
            pass
        tried.append(True)

    monkeypatch.setattr(snapshot_making, "copy_whole", write)
    take(ended("demo", made))
    assert tried


def test_merge_that_was_interrupted_is_said(house: str) -> None:
    made = disk(house)
    with open(journal.journal_of(made.cow), "wb"):
        pass
    with pytest.raises(HostError, match="interrupted"):
        take(ended("demo", made))
    check_nothing_is_left()


@pytest.mark.parametrize("lack", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_what_the_host_refuses_leaves_nothing(
    house: str, lack: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(lack, os.strerror(lack))

    record = ended("demo", disk(house))
    for where, name in ((snapshot_making, "copy_whole"), (snapshots, "_sync")):
        with monkeypatch.context() as patch:
            patch.setattr(where, name, refused)
            with pytest.raises(HostError, match=os.strerror(lack)):
                take(record)
        check_nothing_is_left()


def test_disk_that_is_gone_is_said(house: str) -> None:
    made = disk(house)
    record = ended("demo", made)
    os.unlink(made.cow)
    with pytest.raises(HostError, match=f"cannot read {made.cow}: No such file"):
        take(msgspec.structs.replace(record))
    check_nothing_is_left()
