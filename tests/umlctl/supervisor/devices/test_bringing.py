from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.umlctl.supervisor.launch.test_jail import running
from umlctl.devices import ubd
from umlctl.errors import HostError
from umlctl.guest.confinement import OFF, STRICT, WRITES
from umlctl.guest.definition import Definition
from umlctl.host import landlock, processes
from umlctl.state.records import DeviceEntry, Hold, Record
from umlctl.supervisor.devices import bringing
from umlctl.supervisor.launch.place import plugged_directory

if TYPE_CHECKING:
    from pathlib import Path

CONFINES = pytest.mark.skipif(bool(landlock.unable()), reason="this host confines no kernel")
TAP = "vec0:transport=tap,ifname=t0"


def disk(*files: str, write: bool = True) -> DeviceEntry:
    holds = [
        Hold(path=path, device=1, inode=1, write=write and not i) for i, path in enumerate(files)
    ]
    return DeviceEntry(name="ubd1", asked=files[-1], kernel=f"ubd1={','.join(files)}", holds=holds)


def record(confined: str) -> Record:
    definition = Definition(umid="demo", kernel="/linux")
    here = os.getpid()
    return Record(
        definition=definition,
        supervisor_pid=here,
        pid=here,
        started=0,
        boot_id="",
        since=0.0,
        confined=confined,
    )


@pytest.mark.parametrize("confined", ["", OFF])
def test_kernel_that_is_not_confined_is_told_what_was_asked_for(confined: str) -> None:
    entry = disk("/nowhere")
    bringing.bring_in(record(confined), entry)
    assert entry.told == ""
    bringing.take_out(record(confined), entry)
    bringing.check(record(confined), "vec0", TAP)


@pytest.mark.parametrize("confined", [WRITES, STRICT])
def test_what_a_confined_one_cannot_have_is_told_with_what_helps(confined: str) -> None:
    with pytest.raises(HostError, match=r"vec0: .*confined.*--rw /dev/net/tun"):
        bringing.check(record(confined), "vec0", TAP)


def test_nic_has_the_switch_that_another_had_at_the_start_whatever_it_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sw").mkdir()
    (tmp_path / "link").symlink_to("sw")
    there, same, other = (
        f"vec1:transport=vde,vnl=vde://{tmp_path}/{name}" for name in ("sw", "link", "other")
    )
    monkeypatch.setattr(processes, "command", lambda _pid: ["/linux", there])
    bringing.check(record(WRITES), "vec1", there)
    bringing.check(record(WRITES), "vec1", same)
    with pytest.raises(HostError, match=f"--rw {tmp_path}/other"):
        bringing.check(record(WRITES), "vec1", other)


def test_people_see_the_paths_that_they_gave() -> None:
    entry = disk("/my/cow", "/my/base")
    entry.told = "ubd1=/own/dev/ubd1,/own/dev/ubd1.backing"
    assert bringing.as_given(entry, "/own/dev/ubd1,/own/dev/ubd1.backing\n") == "/my/cow,/my/base\n"
    assert bringing.as_given(disk("/a"), "/b") == "/b"


@CONFINES
@pytest.mark.parametrize("confined", [WRITES, STRICT])
def test_file_appears_for_the_kernel_and_is_taken_away_again(
    house: str, tmp_path: Path, confined: str
) -> None:
    cow, base = tmp_path / "cow", tmp_path / "base"
    cow.write_text("cow")
    base.write_text("base")
    entry = disk(str(cow), str(base))
    given = (f"{tmp_path}/linux.sh", str(base))
    with running(tmp_path, "", confine=confined, ro=given) as (launched, _):
        bringing.bring_in(launched.record, entry)
        own = plugged_directory(launched.definition, write=True)
        told = f"{own}/ubd1"
        assert entry.told == f"ubd1={told},{base}"
        again = bringing.recovered(launched.record, ubd.parse(entry.told))
        assert again is not None
        assert (again.kernel, again.told) == (entry.kernel, entry.told)
        inside = f"/proc/{launched.pid}/root"
        assert os.path.samefile(f"{inside}{told}", cow)
        bringing.take_out(launched.record, entry)
        assert os.listdir(own) == []
        assert not os.path.exists(f"{inside}{told}")
    assert cow.read_text() == "cow", house


@pytest.mark.parametrize(
    ("fields", "readable"),
    [
        ({}, False),
        ({"ro": ("/images",)}, True),
        ({"rw": ("/images/base",)}, True),
        ({"cwd": "/images"}, False),
        ({"root": "/images/"}, True),
        ({"ro": ("/images/other",)}, False),
    ],
)
def test_backing_file_must_be_one_that_a_strictly_confined_kernel_was_given(
    fields: dict[str, object], readable: bool
) -> None:
    its = record(STRICT)
    its.definition = Definition(umid="demo", kernel="/linux", **fields)  # type: ignore[arg-type]
    cow = disk("/any/cow", "/images/base")
    if readable:
        bringing._check_backing(its, cow)
        return
    with pytest.raises(HostError, match=r"cannot read the backing file /images/base; .*--ro"):
        bringing._check_backing(its, cow)
    at_boot = disk("/images/base")
    at_boot.boot = True
    its.devices = [at_boot]
    bringing._check_backing(its, cow)
    its.confined = WRITES
    its.devices = []
    bringing._check_backing(its, cow)


@CONFINES
def test_kernel_without_mounts_of_its_own_gets_a_link(house: str, tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_text("image")
    with running(tmp_path, "") as (launched, _):
        launched.record.binds = False
        entry = disk(str(image))
        bringing.bring_in(launched.record, entry)
        place = f"{plugged_directory(launched.definition, write=True)}/ubd1"
        assert os.path.samefile(place, image) == entry.told.endswith(place)
        bringing.take_out(launched.record, entry)
        assert not os.path.exists(place)
        assert image.read_text() == "image", house


@CONFINES
@pytest.mark.parametrize("binds", [True, False])
def test_file_that_cannot_be_given_is_told_with_what_helps(
    house: str, tmp_path: Path, binds: bool
) -> None:
    with running(tmp_path, "") as (launched, _):
        launched.record.binds = binds
        with pytest.raises(HostError, match=r"ubd1: /proc/none cannot .*--rw /proc/none"):
            bringing.bring_in(launched.record, disk("/proc/none"))
        assert os.listdir(plugged_directory(launched.definition, write=True)) == [], house
