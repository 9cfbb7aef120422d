"""Guests that died unseen: how they ended is judged, and written down by who has them next."""

from __future__ import annotations

import os
import subprocess

import msgspec
import pytest

from umlctl.guest.definition import Definition
from umlctl.host import paths
from umlctl.protocol.status import Ending
from umlctl.recovery import cleanup
from umlctl.state import event_log, records, umid_lock


def ended(text: str, pid: int) -> records.Record:
    return records.Record(
        definition=Definition(umid="demo", kernel="/linux"),
        supervisor_pid=1,
        pid=pid,
        started=1,
        boot_id=records.host_boot_id(),
        since=1.0,
        ending=Ending(cause="exited", code=0, text=text, time=2.0),
    )


def test_end_that_had_no_room_is_written_down_later(house: str) -> None:
    paths.make_run_dir()
    for directory in (paths.record_dir("demo"), paths.guest_dir("demo")):
        os.makedirs(directory)
    last = ended("late", 1 << 22)
    records.save(msgspec.structs.replace(last, ending=None))
    records.save_copy(last)
    assert cleanup.clean_up(last) == []
    assert records.load("demo") == last
    assert not records.is_unwritten("demo")


def test_end_of_an_earlier_life_is_not_written_over_a_later_one(house: str) -> None:
    paths.make_run_dir()
    for directory in (paths.record_dir("demo"), paths.guest_dir("demo")):
        os.makedirs(directory)
    later = msgspec.structs.replace(ended("later", (1 << 22) + 1), ending=None)
    records.save(later)
    assert cleanup.clean_up(ended("earlier", 1 << 22)) == []
    assert records.load("demo") == later


# How a guest is judged that has died unseen


def died(**fields: object) -> records.Record:
    """The record of a guest whose kernel is gone, with what its tiny parent has left."""
    paths.make_run_dir()
    for directory in (paths.record_dir("demo"), paths.guest_dir("demo")):
        os.makedirs(directory)
    record = msgspec.structs.replace(ended("", 1 << 22), ending=None, **fields)
    records.save(record)
    with open(f"{paths.record_dir('demo')}/console.log", "w") as file:
        file.write("reboot: Power down\n")
    with open(f"{paths.guest_dir('demo')}/status", "w") as file:
        file.write("3\n")
    os.utime(file.name, (5.0, 5.0))
    return record


def written() -> list[str]:
    return [event["event"] for event in event_log.Reader("demo").read()]


def test_guest_is_judged_as_it_is_buried_and_nothing_is_written_before(house: str) -> None:
    record = died()
    for _ in range(2):
        judged = cleanup.judged(record)
        assert judged.ending == Ending(cause="exited", code=3, time=5.0)
        assert records.load("demo") == record
        assert written() == []
    assert cleanup.clean_up(record) == []
    assert records.load("demo") == judged
    assert cleanup.judged(record) == judged, "what it was judged by is gone"
    assert not os.path.exists(paths.guest_dir("demo"))
    for _ in range(2):
        assert cleanup.clean_up_last_life("demo") == []
        assert cleanup.clean_up(record) == [], "a record that was read before"
    assert written() == ["ended"]


def test_last_life_of_no_guest_is_nothing(house: str) -> None:
    paths.make_run_dir()
    assert cleanup.clean_up_last_life("demo") == cleanup.clean_up_last_life("../demo") == []


def test_guest_that_is_to_be_started_again_is_judged_so(house: str) -> None:
    definition = Definition(umid="demo", kernel="/linux", restart="on-failure")
    judged = cleanup.judged(died(definition=definition))
    assert judged.again
    assert cleanup.is_wanted_back(judged)
    assert not cleanup.is_wanted_back(msgspec.structs.replace(judged, boot_id="before"))
    with umid_lock.claim("demo"):
        assert not cleanup.is_wanted_back(judged), "its supervisor sees to it"


@pytest.mark.parametrize(
    ("status", "said", "again"),
    [
        (134, "reboot: Restarting system", True),
        (127, "reboot: Restarting system", True),
        (134, "reboot: Power down", False),
        (0, "reboot: Restarting system", False),
    ],
)
def test_guest_whose_kernel_died_as_it_rebooted_is_started_again(
    house: str, status: int, said: str, again: bool
) -> None:
    record = died()
    with open(f"{paths.guest_dir('demo')}/status", "w") as file:
        file.write(f"{status}\n")
    with open(f"{paths.record_dir('demo')}/console.log", "w") as file:
        file.write(f"[    9.1] {said}\n")
    assert cleanup.judged(record).again == again


def test_guest_that_was_about_to_have_another_kernel_is_started_again(house: str) -> None:
    assert cleanup.judged(died(again=True)).again


def test_panic_is_judged_with_its_text(house: str) -> None:
    record = died()
    os.makedirs(os.path.dirname(umid_lock.kernel_socket(record.definition)))
    with open(f"{paths.guest_dir('demo')}/status", "w") as file:
        file.write("134\n")
    with open(f"{paths.record_dir('demo')}/console.log", "w") as file:
        file.write("[ 1.0] Kernel panic - not syncing: sysrq triggered crash\n")
    judged = cleanup.judged(record)
    assert judged.ending is not None
    assert (judged.ending.cause, judged.last_panic) == ("panicked", "sysrq triggered crash")
    cleanup.clean_up(record)
    assert written() == ["panicked", "ended"]


def test_guest_that_somebody_has_is_not_judged(house: str) -> None:
    record = died()
    held = umid_lock.claim("demo")
    assert cleanup.judged(record) == record
    assert cleanup.clean_up(record) == []
    held.leave()


def test_guest_whose_tiny_parent_has_yet_to_say_how_it_ended_is_not_judged(house: str) -> None:
    directory = paths.guest_dir("demo")
    with subprocess.Popen(
        ["sh", "-c", "echo; read line", "shim.sh", directory],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as shim:
        assert shim.stdout is not None
        shim.stdout.readline()  # for a moment, a process that executes a program has no words
        record = died(shim=shim.pid)
        os.unlink(f"{directory}/status")
        assert cleanup.judged(record) == record
        assert cleanup.clean_up(record) == []
        shim.kill()
        shim.wait()
    judged = cleanup.judged(record)
    assert judged.ending is not None
    assert judged.ending.text == "nobody saw how"
