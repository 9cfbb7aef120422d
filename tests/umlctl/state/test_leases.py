from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from umlctl.errors import HostError
from umlctl.guest.definition import Definition
from umlctl.host import paths, processes
from umlctl.protocol.status import Ending
from umlctl.recovery import discover
from umlctl.state import leases, records
from umlctl.state.records import DeviceEntry, Record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from umlctl.state.leases import Use

DEADLINE = 30.0
HOLDING = """
import sys
from umlctl.state import leases
with leases.lock():
    print("held", flush=True)
    sys.stdin.readline()
print("free", flush=True)
sys.stdin.read()
"""


@contextmanager
def holder() -> Iterator[subprocess.Popen[str]]:
    """Another process that has the lock until it is sent a line."""
    command = [sys.executable, "-c", HOLDING]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.communicate()


def let_go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    assert process.stdout.readline() == "free\n"


def keep(umid: str, *devices: str, **fields: Any) -> Record:
    """A record on disk, as of a guest that is this process."""
    started = processes.start_time(os.getpid())
    assert started is not None
    record = Record(
        **{
            "definition": Definition(umid=umid, kernel="/linux"),
            "supervisor_pid": 10,
            "pid": os.getpid(),
            "started": started,
            "boot_id": records.host_boot_id(),
            "since": 1.0,
            "devices": [DeviceEntry(name=name, asked=name, kernel=name) for name in devices],
            **fields,
        }
    )
    os.makedirs(paths.record_dir(umid), exist_ok=True)
    records.save(record)
    return record


def names(uses: list[Use]) -> list[tuple[str, str]]:
    return [(use.umid, use.entry.name) for use in uses]


# The lock


def test_lock_is_of_one_supervisor_at_a_time(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "LOCK_TIMEOUT", 0.05)
    with holder() as process:
        with pytest.raises(HostError, match=r"devices.lock for 0.05 seconds"), leases.lock():
            pass
        let_go(process)
        with leases.lock():
            pass
    with leases.lock():
        pass


def test_lock_is_waited_for(house: str) -> None:
    got = threading.Event()

    def take() -> None:
        with leases.lock():
            got.set()

    with holder() as process:
        thread = threading.Thread(target=take)
        thread.start()
        assert not got.wait(0.05)
        let_go(process)
        assert got.wait(DEADLINE)
        thread.join(DEADLINE)


def test_lock_of_a_process_that_was_killed_is_free(house: str) -> None:
    with holder() as process:
        process.kill()
        process.wait(DEADLINE)
        with leases.lock():
            pass


def test_lock_is_let_go_after_an_error(house: str) -> None:
    with pytest.raises(ZeroDivisionError), leases.lock():
        raise ZeroDivisionError
    with leases.lock():
        pass


# Who has what


def test_devices_of_every_live_guest_are_found(house: str) -> None:
    keep("one", "ubd1", "vec0")
    keep("two", "ubd0")
    keep("three")
    assert names(leases.devices_of(discover.running())) == [
        ("one", "ubd1"),
        ("one", "vec0"),
        ("two", "ubd0"),
    ]
    assert names(leases.devices_of(discover.running(but="one"))) == [("two", "ubd0")]


def test_dead_guests_have_nothing(house: str) -> None:
    live = keep("live", "ubd1")
    keep("ended", "ubd1", ending=Ending(cause="exited", code=0))
    keep("booted", "ubd1", boot_id="another boot of this host")
    keep("recycled", "ubd1", started=live.started + 1)
    child = subprocess.Popen(["true"])
    child.wait(DEADLINE)
    keep("gone", "ubd1", pid=child.pid)
    assert names(leases.devices_of(discover.running())) == [("live", "ubd1")]


def test_record_that_cannot_be_read_hides_no_other(house: str) -> None:
    keep("good", "ubd1")
    keep("bad", "ubd1")
    with open(records.path_of("bad"), "wb") as file:
        file.write(b"{")
    assert names(leases.devices_of(discover.running())) == [("good", "ubd1")]


def test_host_without_guests_has_no_devices_in_use(house: str) -> None:
    assert leases.devices_of(discover.running()) == []
