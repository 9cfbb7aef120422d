from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from typing import Any

import msgspec
import pytest

from tests.damage import damaged
from umlctl.guest.definition import Definition
from umlctl.host import paths, processes
from umlctl.protocol.status import Device, Ending, Status
from umlctl.state import records
from umlctl.state.records import Record, ended_status, load, load_all, save


def record(umid: str = "demo", *, named: bool = True, **fields: Any) -> Record:
    definition = Definition(umid=umid, kernel="/linux", named=named)
    return Record(
        **{
            "definition": definition,
            "supervisor_pid": 10,
            "pid": 20,
            "started": 30,
            "boot_id": "boot",
            "since": 40.5,
            **fields,
        }
    )


def write_record(umid: str = "demo", *, pid: int = 0, **asked: Any) -> None:
    """What says that a guest runs; a process is its kernel, this one if no other is named.

    asked: of its definition
    """
    pid = pid or os.getpid()
    runs = record(
        definition=Definition(umid=umid, kernel="/linux", **asked),
        supervisor_pid=os.getpid(),
        pid=pid,
        started=processes.start_time(pid) or 0,
        boot_id=records.host_boot_id(),
    )
    os.makedirs(paths.record_dir(umid), exist_ok=True)
    save(runs)


def keep(umid: str = "demo", **fields: Any) -> Record:
    """A record on disk, as of a guest that was started."""
    os.makedirs(paths.record_dir(umid), exist_ok=True)
    made = record(umid, **fields)
    save(made)
    return made


def ended(code: int, time: float) -> Ending:
    return Ending(cause="exited", code=code, time=time)


def test_record_survives_the_disk(house: str) -> None:
    plain = keep()
    assert load("demo") == plain
    over = keep(last_panic="Oops ü", ending=Ending(cause="panicked", code=255, text="x", time=1.5))
    assert load("demo") == over != plain
    assert os.listdir(paths.record_dir("demo")) == ["record.json"]
    assert os.stat(records.path_of("demo")).st_mode == 0o100600


def test_guest_without_a_record_has_none(house: str) -> None:
    assert load("demo") is None
    assert list(load_all()) == []


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"definition": {}}', b"\0" * 4096]
)
def test_record_that_cannot_be_read_is_none_and_spoils_no_other(house: str, data: bytes) -> None:
    good = keep("good")
    keep("bad")
    with open(records.path_of("bad"), "wb") as file:
        file.write(data)
    assert load("bad") is None
    assert list(load_all()) == [good]


def put(data: bytes, umid: str = "demo") -> None:
    with open(records.path_of(umid), "wb") as file:
        file.write(data)


def test_damaged_record_is_read_whole_or_said_to_be_unreadable(house: str) -> None:
    made = keep(last_panic="Oops", ending=ended(3, 1.5))
    with open(records.path_of("demo"), "rb") as file:
        whole = file.read()
    unreadable = 0
    for data in damaged(whole):
        put(data)
        try:
            found = records.read("demo")
        except records.Unreadable as problem:
            assert "the record of demo cannot be read: " in str(problem)  # noqa: PT017
            assert records.path_of("demo") in str(problem)  # noqa: PT017
            assert load("demo") is None
            unreadable += 1
        else:
            assert found == made
    assert unreadable > 2 * len(whole) - 20, "only the end, and the seal itself, can be spared"


def test_record_of_a_newer_umlctl_is_not_interpreted(house: str) -> None:
    newer = msgspec.to_builtins(keep()) | {
        "version": records.FORM_VERSION + 1,
        "definition": "elsewhere",
    }
    put(msgspec.json.encode(newer))
    with pytest.raises(records.Unreadable, match="of a newer umlctl: its version is 2"):
        records.read("demo")


def test_record_from_before_there_were_versions_is_read(house: str) -> None:
    made = keep()
    old = msgspec.to_builtins(made)
    del old["version"]
    put(msgspec.json.encode(old))
    assert records.read("demo") == made


def test_record_nested_without_end_is_unreadable(house: str) -> None:
    keep()
    put(b'{"x":' + b"[" * 100_000)
    with pytest.raises(records.Unreadable):
        records.read("demo")


def test_directory_in_place_of_a_record_is_unreadable_and_can_be_set_aside(house: str) -> None:
    os.makedirs(records.path_of("demo"))
    with pytest.raises(records.Unreadable, match="Is a directory"):
        records.read("demo")
    assert "it is kept as" in records.set_aside("demo")
    assert records.read("demo") is None


def test_unreadable_record_is_set_aside_and_nothing_is_lost(house: str) -> None:
    keep()
    put(b"{")
    assert [umid for umid, _ in records.unreadable()] == ["demo"]
    said = records.set_aside("demo")
    (kept,) = os.listdir(paths.record_dir("demo"))
    assert kept.startswith("record.json.unreadable-2")
    assert said.endswith(f"it is kept as {kept}")
    with open(f"{paths.record_dir('demo')}/{kept}", "rb") as file:
        assert file.read() == b"{"
    assert list(records.unreadable()) == []


def test_record_that_can_be_read_is_not_set_aside(house: str) -> None:
    assert records.set_aside("demo") == ""
    made = keep()
    assert records.set_aside("demo") == ""
    assert load("demo") == made


def test_records_set_aside_are_bounded_and_the_newest_stay(house: str) -> None:
    keep()
    for number in range(10):
        put(b"%d" % number)
        assert records.set_aside("demo")
        time.sleep(0.001)  # their names are their times
    names = sorted(os.listdir(paths.record_dir("demo")))
    assert len(names) == records.MAX_ASIDE
    with open(f"{paths.record_dir('demo')}/{names[-1]}", "rb") as file:
        assert file.read() == b"9"


def test_record_that_cannot_be_moved_is_said(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    keep()
    put(b"{")

    def fail(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "rename", fail)
    assert records.set_aside("demo").endswith("it cannot be set aside: Read-only file system")


def test_write_that_fails_leaves_the_old_record(
    house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = keep()
    with open(records.path_of("demo"), "rb") as file:
        whole = file.read()

    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    for call in ("write", "fsync", "rename"):
        with monkeypatch.context() as patch:
            patch.setattr(os, call, fail)
            with pytest.raises(OSError, match="full"):
                save(record(last_panic="new"))
        with open(records.path_of("demo"), "rb") as file:
            assert file.read() == whole
        assert load("demo") == old
    save(record(last_panic="new"))
    assert load("demo") == record(last_panic="new")


KILLED = """
import os, signal, sys
from umlctl.state import records
call, count = sys.argv[1], int(sys.argv[2])
real = getattr(os, call)

def die(*arguments):
    if call == "write":
        real(arguments[0], arguments[1][:count])
    os.kill(os.getpid(), signal.SIGKILL)

kept = records.read("demo")
kept.last_panic = "new " * 50
setattr(os, call, die)
records.save(kept)
"""


@pytest.mark.parametrize(
    ("call", "count"),
    [*(("write", count) for count in (0, 1, 100, 300, 10_000)), ("fsync", 0), ("rename", 0)],
)
def test_writer_that_is_killed_at_any_byte_leaves_the_old_record(
    house: str, call: str, count: int
) -> None:
    old = keep()
    command = [sys.executable, "-c", KILLED, call, str(count)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert records.read("demo") == old
    save(record(last_panic="newer"))
    assert records.read("demo") == record(last_panic="newer")
    assert os.listdir(paths.record_dir("demo")) == ["record.json"]


def test_records_are_listed_by_name(house: str) -> None:
    for umid in ("b", "a", "c"):
        keep(umid)
    assert [each.definition.umid for each in load_all()] == ["a", "b", "c"]


def test_summary_of_a_dead_guest_says_what_its_record_knows(house: str) -> None:
    over = record(last_panic="Oops", ending=Ending(cause="panicked", code=255, text="Oops", time=9))
    assert ended_status(over) == Status(
        umid="demo",
        state="dead",
        since=9,
        started=40.5,
        kernel="/linux",
        memory_limit=over.definition.mem,
        last_panic="Oops",
        log=f"{paths.record_dir('demo')}/console.log",
        ending=Ending(cause="panicked", code=255, text="Oops", time=9),
    )
    unseen = ended_status(record())
    assert (unseen.since, unseen.ending, unseen.last_panic) == (40.5, None, None)


def test_boot_of_this_host_has_an_id() -> None:
    assert len(records.host_boot_id()) == 36


def test_clients_see_a_device_by_the_names_that_its_record_has() -> None:
    kept = set(records.DeviceEntry.__struct_fields__)
    assert kept - {"told"} == set(Device.__struct_fields__) - {"host", "note"}
    entry = records.DeviceEntry(
        name="vec0", asked="user", kernel="transport=bess", told="x", mac="y"
    )
    seen = records.device_status(entry)
    assert all(getattr(seen, name) == getattr(entry, name) for name in kept - {"told"})
