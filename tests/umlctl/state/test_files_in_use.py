from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.cows import Made, make
from umlctl.definitions import files
from umlctl.errors import HostError
from umlctl.guest.definition import Definition
from umlctl.host import paths, processes
from umlctl.protocol.status import Ending
from umlctl.recovery import discover
from umlctl.state import enabled, files_in_use, leases, records
from umlctl.state.file_identity import hold_of
from umlctl.state.files_in_use import Pair, check_lone, over, wanted_by
from umlctl.state.records import DeviceEntry, Record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

LOCKING = """
import fcntl, sys
file = open(sys.argv[1], "r+")
fcntl.lockf(file, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def made(house: str) -> Made:
    return make(house, 64, [3])


def guest(umid: str, *disks: str, lives: bool, entries: tuple[DeviceEntry, ...] = ()) -> None:
    """A guest that runs in this process, or has ended."""
    pid = os.getpid()
    record = Record(
        definition=Definition(umid=umid, kernel="/linux", disks=disks, cwd="/"),
        supervisor_pid=1,
        pid=pid,
        started=processes.start_time(pid) or 0,
        boot_id=records.host_boot_id(),
        since=1.0,
        devices=list(entries),
        ending=None if lives else Ending(cause="exited", code=0, time=2.0),
    )
    os.makedirs(paths.record_dir(umid), exist_ok=True)
    records.save(record)


def entry(made: Made, *, readonly: bool = False) -> DeviceEntry:
    holds = [hold_of(made.cow, write=not readonly), hold_of(made.backing, write=False)]
    return DeviceEntry(name="ubd3", asked=made.cow, kernel=f"ubd3={made.cow}", holds=holds)


def users() -> list[leases.Use]:
    return leases.devices_of(discover.running())


def taken(
    what: str, path: str, *, write: bool, write_backing: bool = False
) -> AbstractContextManager[Pair]:
    return files_in_use.taken(what, path, users, write=write, write_backing=write_backing)


def both(made: Made) -> Iterator[pytest.ExceptionInfo[HostError]]:
    """Taking it to be read, and to be merged in place."""
    for write in (False, True):
        with (
            pytest.raises(HostError) as caught,
            taken("cow merge", made.cow, write=write, write_backing=write),
        ):
            pytest.fail("it is in use")
        yield caught


def test_pair_is_taken(made: Made) -> None:
    with taken("cow merge", made.cow, write=True, write_backing=True) as pair:
        assert pair.name == made.backing
        assert os.path.samestat(os.fstat(pair.backing), os.stat(made.backing))
        assert over(pair.name, but=pair.of.path) == []
        for caught in both(made):
            assert "locked" in str(caught.value)


def test_cow_file_that_a_guest_writes_is_refused_whatever_is_wanted(made: Made) -> None:
    guest("demo", lives=True, entries=(entry(made),))
    for caught in both(made):
        assert str(caught.value).startswith(f"cow merge: {made.cow} is written by demo as its ubd3")


def test_cow_file_that_a_guest_reads_can_be_read(made: Made) -> None:
    guest("demo", lives=True, entries=(entry(made, readonly=True),))
    with taken("cow merge", made.cow, write=False):
        pass
    with (
        pytest.raises(HostError, match="is read by demo"),
        taken("cow rebase", made.cow, write=True),
    ):
        pytest.fail("it is in use")


def test_backing_file_that_another_cow_file_of_a_guest_is_over_is_not_written(
    house: str, made: Made
) -> None:
    os.mkdir(f"{house}/far")
    other = make(f"{house}/far", 64, [1], name="b", over=made.backing)
    guest("demo", lives=True, entries=(entry(other),))
    with taken("cow merge", made.cow, write=False):
        pass
    with (
        pytest.raises(HostError, match=f"{made.backing} is read by demo as its ubd3"),
        taken("cow merge", made.cow, write=True, write_backing=True),
    ):
        pytest.fail("it is in use")


@pytest.mark.parametrize("which", ["cow", "backing"])
def test_file_that_an_unknown_kernel_has_locked_is_refused(made: Made, which: str) -> None:
    command = [sys.executable, "-c", LOCKING, getattr(made, which)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        for caught in both(made):
            assert f"is locked by process {process.pid}" in str(caught.value)
        process.communicate()


# Who depends on the backing file


def test_cow_files_of_guests_that_have_ended_or_are_enabled_depend_on_it(
    house: str, made: Made
) -> None:
    found = []
    for name in ("d1", "d2", "d3", "d4"):
        os.mkdir(f"{house}/{name}")
        found.append(make(f"{house}/{name}", 64, [1], name=name, over=made.backing))
    guest("one", found[0].cow, lives=False)
    guest("two", f"{made.backing},cow={found[1].cow}", f"{house}/none", "/dev/null", lives=False)
    guest("three", lives=False, entries=(entry(found[2]),))
    enabled.enable(
        Definition(umid="four", kernel="/linux", disks=(f"{found[3].cow},slot=2",), cwd="/")
    )
    with taken("cow merge", made.cow, write=False) as pair:
        assert over(pair.name, but=pair.of.path) == [each.cow for each in found]


def test_cow_files_beside_either_depend_on_it_and_others_do_not(house: str, made: Made) -> None:
    os.mkdir(f"{house}/far")
    os.rename(made.cow, f"{house}/far/a.cow")
    os.link(f"{house}/far/a.cow", f"{house}/same.cow")
    os.mkfifo(f"{house}/far/fifo")
    os.mkdir(f"{house}/other")
    stranger = make(f"{house}/other", 64, [1], name="x")
    os.rename(stranger.cow, f"{house}/stranger.cow")
    beside = make(house, 64, [1], name="b", over=made.backing)
    far = make(f"{house}/far", 64, [1], name="c", over=made.backing)
    with taken("cow merge", f"{house}/far/a.cow", write=False) as pair:
        assert over(pair.name, but=pair.of.path) == sorted([beside.cow, far.cow])


def test_cow_files_of_guests_that_are_only_written_down_depend_on_it(
    house: str, made: Made
) -> None:
    os.mkdir(f"{house}/far")
    os.makedirs(paths.definitions_dir(), 0o700)
    cows = [
        make(f"{house}/far", 64, [1], name=name, over=made.backing).cow for name in ("a", "b", "c")
    ]
    written = {
        "root": f'root = "{made.backing},cow={cows[0]}"\n',
        "disk": f'disk = ["/none", "{made.backing},cow={cows[1]},slot=3"]\n',
        "base": f'disk = ["{cows[2]}"]\n',
        "derived": 'extends = "base"\n',
        "broken": f'disk = "{cows[1]}',
    }
    for name, text in written.items():
        files.save(name, text)
    with taken("cow merge", made.cow, write=False) as pair:
        assert over(pair.name, but=pair.of.path) == cows
    assert wanted_by(made.backing) == ["disk", "root"]
    assert wanted_by(cows[2]) == ["base", "derived"]
    for name in ("base", "derived"):
        files.remove(name)
    assert wanted_by(cows[2]) == []
    enabled.enable(Definition(umid="kept", kernel="/linux", disks=(f"{cows[2]},slot=1",)))
    assert wanted_by(cows[2]) == ["kept"]


def test_what_would_change_a_backing_file_is_refused_where_others_are_over_it(
    house: str, made: Made
) -> None:
    check_lone("cow merge", made.cow, made.backing)
    beside = make(house, 64, [1], name="b", over=made.backing)
    with pytest.raises(HostError, match=f"cow merge: {made.backing} is also under {beside.cow}, w"):
        check_lone("cow merge", made.cow, made.backing)
    assert over(made.backing) == [made.cow, beside.cow]
