"""What is read of the disk, cut or scrambled as it may be. HOME and UMLCTL_DIR lead to
a place of the harness's own.
"""

from __future__ import annotations

import os
from contextlib import suppress

from umlctl.errors import HostError, UsageError
from umlctl.host import paths
from umlctl.networks import definitions, segments
from umlctl.output import views
from umlctl.state import (
    console_log,
    event_log,
    records,
    snapshot_archive,
    snapshots,
    umid_lock,
)
from umlctl.storage import cow as cows
from umlctl.storage import cow_file, journal


def _put(path: str, data: bytes) -> str:
    """Have the data stand at a path."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb", buffering=0) as file:
        file.write(data)
    return path


def record(data: bytes) -> None:
    """A guest's record is read whole, or said to be unreadable."""
    _put(records.path_of("demo"), data)
    try:
        found = records.read("demo")
    except records.Unreadable:
        assert records.load("demo") is None
        assert "it is kept as" in records.set_aside("demo")
        return
    assert found is not None
    assert found.definition.umid == "demo"
    records.save(found)
    assert records.read("demo") == found
    assert records.ended_status(found).umid == "demo"


def network(data: bytes) -> None:
    """The definition of a network."""
    _put(f"{paths.state_dir()}/networks/lan.json", data)
    try:
        found = definitions.load("lan")
    except HostError:
        assert definitions.load_all() == []
        return
    assert definitions.load_all() == [found]


def index(data: bytes) -> None:
    """The index of a console's log."""
    log = f"{paths.state_dir()}/console.log"
    path = _put(console_log.index_of(log), data)
    entries = console_log.read_index(path)
    assert len(entries) <= data.count(b"\n")
    assert set(console_log.boots(path)) <= set(entries)
    for entry in entries:
        assert console_log.written_since(log, entry.time) >= 0


def history(data: bytes) -> None:
    """The history of a guest, in two files and read while it grows."""
    path = event_log.path_of("demo")
    _put(path + ".1", data[: len(data) // 3])
    _put(path, data[: len(data) // 2])
    reader = event_log.Reader("demo")
    found = list(reader.read())
    _put(path, data)
    found += reader.read()
    for event in sorted(found, key=lambda event: float(event["time"])):
        assert event_log.decode(event_log.encode(event)) == event
        assert views.event_line(event_log.encode(event))
    event_log.append("demo", event_log.encode({"time": 1.0, "event": "last"}))
    assert list(reader.read())[-1] == {"time": 1.0, "event": "last"}


def switch_options(data: bytes) -> None:
    """How a switch was started, for who starts it again."""
    paths.make_run_dir()  # private, for the other targets too
    _put(paths.network_options("lan"), data)
    with suppress(HostError):
        for word in segments.read_options("lan"):
            assert "\0" not in word


def pid_files(data: bytes) -> None:
    """The files of a guest that hold a number: of a kernel of that name, and of a lock's owner."""
    public = os.path.dirname(paths.public_socket("demo"))
    _put(f"{public}/pid", data)
    _put(f"{paths.make_run_dir()}/g/demo.lock", data)
    with umid_lock.claim("demo") as held:
        assert not os.path.exists(f"{public}/pid")
        _put(f"{held.directory}/owner", data)
        assert umid_lock.has_owner("demo")


def cow(data: bytes) -> None:
    """The header of a COW file, and what the file holds by it."""
    path = _put(f"{paths.state_dir()}/disk", data)
    try:
        header = cows.read(path)
    except cows.BadCow:
        return
    if header is None:
        return
    with suppress(cows.BadCow):
        assert cows.decode(cows.encode(header)) == header
    with suppress(OSError, ValueError):
        cows.mismatch(header, path)
    with suppress(HostError), cow_file.open_cow(path) as of:
        end = 0
        for start, stop in of.runs():
            assert end <= start < stop <= of.size
            end = stop
        assert of.written() == sum(stop - start for start, stop in of.runs())


def cow_journal(data: bytes) -> None:
    """The journal of a merge into a backing file."""
    path = f"{paths.state_dir()}/disk"
    _put(journal.journal_of(path), data)
    assert journal.interrupted(path)
    with suppress(HostError):
        found = journal.read_journal(path)
        assert found is not None
        assert found.size == int(found.size)


def archive(data: bytes) -> None:
    """A snapshot from elsewhere: what is kept of it can be read again, and nothing else is
    written."""
    path = f"{paths.state_dir()}/disk"
    _put(path, data)
    with suppress(HostError, UsageError), open(path, "rb") as file, snapshots.lock():
        made = snapshot_archive.read(file, "x", lambda _count: None)
        assert snapshots.load(made.guest, "x") == made
        assert {*os.listdir(made.directory)} == {
            snapshots.RECORD,
            *(layer.file for layer in made.layers),
        }
        snapshots.remove(made)
    assert all(not names for _, _, names in os.walk(f"{paths.snapshots_dir()}/demo"))
