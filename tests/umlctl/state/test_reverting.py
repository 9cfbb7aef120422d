from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cows import make, read
from tests.snapshots import disk, take, write
from umlctl.errors import HostError
from umlctl.host import paths
from umlctl.state import reverting, snapshots
from umlctl.state.file_identity import hold_of
from umlctl.state.leases import Use
from umlctl.state.records import DeviceEntry

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cows import Made
    from umlctl.state.snapshots import Snapshot


class Killed(BaseException):
    pass


def nobody() -> list[Use]:
    return []


def revert(snapshot: Snapshot) -> list[str]:
    with snapshots.lock():
        reverting.finish()
        return reverting.revert(snapshot, nobody)


def both(house: str) -> tuple[list[Made], Snapshot, list[bytes]]:
    """Two disks with a snapshot of both, written to since; and what they were."""
    made = [disk(house, "a"), disk(house, "b")]
    one = take("clean", {"a": [made[0]], "b": [made[1]]})
    before = [read(each.cow) for each in made]
    for each in made:
        write(each, 40, b"new")
    return made, one, before


def check_nothing_is_left(*made: Made) -> None:
    for each in made:
        here = sorted(os.listdir(os.path.dirname(each.cow)))
        assert here == sorted([os.path.basename(each.cow), "base.img"])
    assert not os.path.exists(f"{paths.snapshots_dir()}/revert.json")


def test_all_disks_are_as_they_were(house: str) -> None:
    made, one, before = both(house)
    os.chmod(made[0].cow, 0o640)
    assert revert(one) == [each.cow for each in made]
    assert [read(each.cow) for each in made] == before
    assert os.stat(made[0].cow).st_mode & 0o777 == 0o640
    check_nothing_is_left(*made)
    os.unlink(made[0].cow)
    revert(one)
    assert read(made[0].cow) == before[0]


def test_disk_without_a_cow_file_is_put_back_unless_others_are_over_it(house: str) -> None:
    path = f"{house}/a.img"
    Path(path).write_bytes(b"old" * 4096)
    one = take("clean", {"demo": [path]})
    Path(path).write_bytes(b"new" * 4096)
    other = make(house, 1, [0], name="o", over=path)
    with pytest.raises(HostError, match=f"is the backing file of {other.cow}"):
        revert(one)
    assert read(path).startswith(b"new")
    os.unlink(other.cow)
    revert(one)
    assert read(path) == b"old" * 4096


@pytest.mark.parametrize("at", range(6))
def test_killed_anywhere_it_has_done_all_or_nothing(
    house: str, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    made, one, before = both(house)
    after = [read(each.cow) for each in made]
    count = 0

    def dies() -> None:
        nonlocal count
        count += 1
        if count > at:
            raise Killed

    def mortal(real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            dies()
            return real(*arguments)

        return call

    with monkeypatch.context() as patch:
        for module, name in ((os, "rename"), (os, "fsync"), (reverting, "copy_whole")):
            patch.setattr(module, name, mortal(getattr(module, name)))
        patch.setattr(reverting, "finish", dies)
        with pytest.raises(Killed), snapshots.lock():
            reverting.revert(one, nobody)
    reverting.finish_interrupted()
    now = [read(each.cow) for each in made]
    assert now in (before, after)
    check_nothing_is_left(*made)
    revert(one)
    assert [read(each.cow) for each in made] == before


def test_renames_that_were_interrupted_are_finished(
    house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, one, before = both(house)
    real = os.rename

    def once(source: str, target: str) -> None:
        if target == made[1].cow:
            raise Killed
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", once)
        with pytest.raises(Killed):
            revert(one)
    assert read(made[1].cow) != before[1]
    reverting.finish_interrupted()
    assert [read(each.cow) for each in made] == before
    check_nothing_is_left(*made)


def test_full_disk_leaves_all_as_it_is(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made, one, _ = both(house)
    after = [read(each.cow) for each in made]
    calls = 0

    def full(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(reverting, "copy_whole", full)
    with pytest.raises(OSError, match="No space left"):
        revert(one)
    assert [read(each.cow) for each in made] == after
    check_nothing_is_left(*made)


def test_disk_that_a_guest_has_is_not_touched(house: str) -> None:
    made, one, _ = both(house)
    after = read(made[0].cow)
    holds = [hold_of(made[0].cow, write=True)]
    entry = DeviceEntry(name="ubd3", asked=made[0].cow, kernel=f"ubd3={made[0].cow}", holds=holds)
    said = f"{made[0].cow} is written by other as its ubd3"
    with snapshots.lock(), pytest.raises(HostError, match=said):
        reverting.revert(one, lambda: [Use("other", entry)])
    assert read(made[0].cow) == after
    check_nothing_is_left(*made)


def test_what_no_kernel_would_take_is_not_put_back(house: str) -> None:
    made, one, _ = both(house)
    os.utime(made[0].backing, (1, 1))
    with pytest.raises(HostError, match="does not fit its backing file"):
        revert(one)
    plain = f"{house}/a.img"
    Path(plain).write_bytes(b"old" * 4096)
    cut = take("cut", {"demo": [plain]})
    os.truncate(cut.path_of(cut.layers[0]), 10)
    with pytest.raises(HostError, match="has not the 12288 bytes"):
        revert(cut)


def test_disk_that_is_made_anew_is_left_out(house: str) -> None:
    one = take("lost", {"demo": [disk(house)]}, discard=True)
    with pytest.raises(HostError, match=r"`umlctl snapshot clone demo lost NEW` gives"):
        revert(one)


def test_plan_that_cannot_be_read_is_an_error_and_stays(house: str) -> None:
    with snapshots.lock():
        pass
    Path(f"{paths.snapshots_dir()}/revert.json").write_bytes(b"{")
    with pytest.raises(HostError, match="cannot be understood"):
        reverting.finish_interrupted()
    assert os.path.exists(f"{paths.snapshots_dir()}/revert.json")
