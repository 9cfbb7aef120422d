from __future__ import annotations

import os

import pytest

from tests.cows import read
from tests.snapshots import disk, take
from umlctl.guest.definition import Definition
from umlctl.state import clones
from umlctl.state.snapshots import Member, Plugged


def member(definition: Definition, **disks: str) -> Member:
    plugged = tuple(Plugged(name=name, asked=asked) for name, asked in disks.items())
    return Member(definition=definition, disks=plugged)


def test_new_guest_has_its_own_name_disks_and_addresses() -> None:
    old = Definition(
        umid="demo",
        kernel="/linux",
        root="/base.img,cow=/root.cow,sync",
        disks=("/data.img,slot=3,discard,serial=S", "/cd.iso,ro"),
        nics=(
            "switch=lan,nic=0,mac=02:00:00:00:00:01,addr=10.0.0.2",
            "user,nic=1,forward=2222:22",
            "switch=lan,nic=2,mac=02:00:00:00:00:02,addr=auto",
        ),
        arguments=("ubd5=/x.img", "quiet"),
        pidfile="/run/demo.pid",
        mem=512 << 20,
    )
    new, lost = clones.definition_of(
        member(
            old,
            ubd0="/base.img,cow=/root.cow,sync",
            ubd3="/data.img,slot=3,discard,serial=S",
            ubd1="/cd.iso,ro",
            ubd5="ubd5=/x.img",
        ),
        "twin",
        "/srv/twin",
    )
    assert (new.umid, new.mem, new.pidfile) == ("twin", 512 << 20, "")
    assert new.root == "/srv/twin/ubd0.img,sync"
    assert new.disks == (
        "/srv/twin/ubd3.img,slot=3,serial=S",
        "/cd.iso,slot=1,ro",
        "/srv/twin/ubd5.img,slot=5",
    )
    assert new.nics == ("switch=lan,nic=0", "user,nic=1", "switch=lan,nic=2,addr=auto")
    assert new.arguments == ("quiet",)
    assert lost == ["addr 10.0.0.2", "forward 2222:22"]


def test_guest_without_an_image_keeps_its_root_and_what_the_kernel_was_told() -> None:
    old = Definition(
        umid="demo", kernel="/linux", nics=("vec0:transport=tap,ifname=t0,mac=02:00:00:00:00:01",)
    )
    new, lost = clones.definition_of(
        member(old, ubd0="/dev/null", ubd1="/a.img"), "twin", "/srv/twin"
    )
    assert (new.root, new.disks) == (old.root, ("/srv/twin/ubd1.img,slot=1",))
    assert new.nics == old.nics
    assert "a MAC of its own" in lost[0]


def test_disks_are_copied_all_or_none(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [disk(house), disk(house, number=2)]
    one = take("clean", {"demo": [*made]})
    place = f"{house}/twin"
    calls = 0

    def full(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(28, "No space left on device")

    before = sorted(os.listdir(house))
    with monkeypatch.context() as patch:
        patch.setattr(clones, "copy_whole", full)
        with pytest.raises(OSError, match="No space"):
            clones.copy_layers(one, list(one.layers), place)
    assert sorted(os.listdir(house)) == before
    clones.copy_layers(one, list(one.layers), place)
    assert sorted(os.listdir(place)) == ["ubd1.img", "ubd2.img"]
    assert read(clones.file_of(place, "ubd2")) == read(made[1].cow)
    with pytest.raises(FileExistsError):
        clones.copy_layers(one, list(one.layers), place)
