"""What is written down late of a guest that has ended."""

from __future__ import annotations

import os

import msgspec

from umlctl.guest.definition import Definition
from umlctl.host import burial, paths, records
from umlctl.protocol.status import Ending


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
    assert burial.bury(last) == []
    assert records.load("demo") == last
    assert not records.is_unwritten("demo")


def test_end_of_an_earlier_life_is_not_written_over_a_later_one(house: str) -> None:
    paths.make_run_dir()
    for directory in (paths.record_dir("demo"), paths.guest_dir("demo")):
        os.makedirs(directory)
    later = msgspec.structs.replace(ended("later", (1 << 22) + 1), ending=None)
    records.save(later)
    assert burial.bury(ended("earlier", 1 << 22)) == []
    assert records.load("demo") == later
