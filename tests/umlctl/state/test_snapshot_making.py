from __future__ import annotations

import os

import pytest

from tests.cows import read
from tests.snapshots import disk, ended, take
from umlctl.errors import HostError
from umlctl.state import snapshot_making, snapshots


def test_what_a_guest_writes_is_copied_and_told_of(house: str) -> None:
    made = disk(house)
    record = ended("demo", made)
    (layer,) = snapshot_making.layers_of(record)
    assert (layer.disk, layer.path, layer.backing) == ("ubd1", made.cow, made.backing)
    with snapshots.lock(), snapshots.making("demo", "a") as place:
        snapshot_making.copy_all([layer], place, float("inf"))
        assert read(f"{place}/{layer.file}") == read(made.cow)
    member = snapshot_making.member_of(record, "not seen")
    assert (member.synced, member.lacks, member.ended) == ("not seen", (), False)


def test_disk_that_was_discarded_is_lacking(house: str) -> None:
    kept, lost = disk(house), disk(house, number=2)
    record = ended("demo", kept, lost)
    record.devices[1].made = {"discard": lost.cow}
    assert len(snapshot_making.layers_of(record)) == 2
    os.unlink(lost.cow)
    assert [each.disk for each in snapshot_making.layers_of(record)] == ["ubd1"]
    assert snapshot_making.member_of(record).lacks == ("ubd2, which was discarded",)
    del record.devices[0]
    with pytest.raises(HostError, match="has ended with it, by `discard`"):
        snapshot_making.layers_of(record)


def test_copy_has_no_time_for_ever(house: str) -> None:
    layers = snapshot_making.layers_of(ended("demo", disk(house)))
    with (
        snapshots.lock(),
        snapshots.making("demo", "a") as place,
        pytest.raises(HostError, match="takes longer than 600 seconds"),
    ):
        snapshot_making.copy_all(layers, place, 0.0)


def test_copies_for_which_there_is_no_room_are_not_begun(
    house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = snapshot_making.layers_of(ended("demo", disk(house)))
    snapshot_making.check_room(layers, house)
    monkeypatch.setattr(snapshot_making, "room_for", lambda *_: 1 << 60)
    with pytest.raises(HostError, match=r"take 1099511627776 MiB, and \d+ MiB are free; make room"):
        snapshot_making.check_room(layers, house)


def test_oldest_are_removed(house: str) -> None:
    made = disk(house)
    for number in range(3):
        take(f"s{number}", {"demo": [made]}, time=float(number))
    snapshot_making.prune("demo", 1)
    assert snapshots.names("demo") == ["s2"]
