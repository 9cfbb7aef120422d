"""Guests whose record is lost. Here a shell stands for the kernel, under a kernel's words."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from umlctl.guest import cmdline
from umlctl.guest.definition import Definition
from umlctl.host import paths, processes
from umlctl.protocol.status import Ending
from umlctl.recovery import discover
from umlctl.state import event_log, leases, records, umid_lock
from umlctl.state.records import Record

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFINITION = Definition(umid="demo", kernel="/usr/bin/linux", mem=64 << 20)


@contextlib.contextmanager
def running(*words: str, umid: str = "demo", uml_dir: str = "") -> Iterator[int]:
    """A process that looks like the kernel of a guest of ours; its pid."""
    line = cmdline.build(
        Definition(umid=umid, kernel="/usr/bin/linux", mem=64 << 20),
        uml_dir=uml_dir or paths.kernel_dir(),
        notify="/n",
        init="/i",
        devices=words,
    )
    command = ["/usr/bin/linux", "-c", "read line", *line]
    with subprocess.Popen(command, executable="/bin/sh", stdin=subprocess.PIPE) as process:
        end = time.monotonic() + 30
        while b"umid" not in _cmdline(process.pid):
            assert time.monotonic() < end
            time.sleep(0.001)
        try:
            yield process.pid
        finally:
            process.kill()


def _cmdline(pid: int) -> bytes:
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read()


@pytest.fixture
def run_dir(house: str) -> str:
    return paths.make_run_dir()


def leave(umid: str = "demo") -> None:
    """What a guest has in the run directory."""
    os.makedirs(paths.guest_dir(umid))


def spoil(umid: str = "demo") -> None:
    os.makedirs(paths.record_dir(umid), exist_ok=True)
    with open(records.path_of(umid), "wb") as file:
        file.write(b'{"version":1,')


def test_guest_is_found_by_its_kernel(run_dir: str) -> None:
    leave()
    spoil()
    with running() as pid:
        (found,) = discover.without_supervisor()
        assert (found.pid, found.started) == (pid, processes.start_time(pid))
        assert found.boot_id == records.host_boot_id()
        assert found.shim == 0
        assert abs(found.since - time.time()) < 60
        known = found.definition
        assert (known.umid, known.kernel, known.mem) == ("demo", "/usr/bin/linux", 64 << 20)
        assert known.cwd == os.getcwd()
        again = discover.find("demo")
        assert again is not None
        again.since = found.since  # computed anew, to the millisecond
        assert again == found
    assert discover.find("demo") is None
    assert discover.without_supervisor() == []


def test_guest_without_a_record_is_found_too(run_dir: str) -> None:
    leave()
    with running() as pid:
        assert [each.pid for each in discover.without_supervisor()] == [pid]


def test_kernel_that_is_none_of_ours_is_not_found(run_dir: str) -> None:
    leave()
    with running(uml_dir="/tmp/uml"), running(umid="demo2"):
        assert discover.see("demo") is None


def test_guest_with_a_supervisor_is_not_lost(run_dir: str) -> None:
    held = umid_lock.claim("demo")
    with held, running():
        spoil()
        command = "from umlctl.recovery import discover; print(len(discover.without_supervisor()))"
        others = subprocess.run(["python3", "-c", command], capture_output=True, check=True)
        assert others.stdout == b"0\n"
        assert [each.definition.umid for each in discover.unrecorded()] == ["demo"]


def test_guest_with_a_record_is_as_it_says(run_dir: str) -> None:
    os.makedirs(paths.record_dir("demo"))
    leave()
    with running() as pid:
        kept = Record(
            definition=DEFINITION,
            supervisor_pid=1,
            pid=pid,
            started=processes.start_time(pid) or 0,
            boot_id=records.host_boot_id(),
            since=5.0,
            guest_boot="known",
        )
        records.save(kept)
        assert discover.without_supervisor() == [kept]
        assert discover.find("demo") == kept


def test_what_is_no_command_line_of_ours_leaves_a_bare_definition(run_dir: str) -> None:
    leave()
    with running("ubd1d=/a,/b") as pid:
        found = discover.see("demo")
    assert found is not None
    assert (found.pid, found.definition.mem) == (pid, Definition(umid="x", kernel="x").mem)


def test_devices_are_those_of_the_command_line(run_dir: str, short: str) -> None:
    for name in ("disk", "cow", "base"):
        with open(f"{short}/{name}", "wb"):
            pass
    leave()
    with running(
        f"ubd1r={short}/disk",
        f"ubd2={short}/cow,{short}/base",
        f"ubd3={paths.record_dir('demo')}/ubd3.cow,{short}/base",
        f"vec0:transport=bess,dst={paths.network_port('lan')},mac=02:00:00:00:00:01",
        f"vec1:transport=bess,dst={paths.network_port('demo..1')},mac=02:00:00:00:00:02",
        "vec2:transport=tap,ifname=nosuchtap,mac=02:00:00:00:00:03",
        "vec3:transport=tap,ifname=uml-demo-3,mac=02:00:00:00:00:04",
        "vec4:transport=bess,dst=/elsewhere/port,mac=02:00:00:00:00:05",
    ):
        found = discover.see("demo")
        in_use = leases.devices_of(discover.running())
        assert discover.running(but="demo") == []
    assert found is not None
    entries = {entry.name: entry for entry in found.devices}
    assert all(entry.boot for entry in found.devices)
    assert [each.entry for each in in_use] == found.devices, "their files are not free"
    assert [hold.path for hold in entries["ubd1"].holds] == [f"{short}/disk"]
    assert [hold.write for hold in entries["ubd1"].holds] == [False]
    assert [hold.write for hold in entries["ubd2"].holds] == [True, False]
    assert entries["ubd2"].made == {}
    assert entries["ubd3"].made == {"discard": f"{paths.record_dir('demo')}/ubd3.cow"}
    assert entries["ubd3"].asked == f"{short}/base,slot=3,discard"
    asked = [entries[f"vec{number}"].asked for number in range(4)]
    assert asked == ["switch=lan,nic=0", "user,nic=1", "tap=nosuchtap,nic=2", "tap=auto,nic=3"]
    made = [entries[f"vec{number}"].made for number in range(5)]
    assert made == [{}, {"segment": "demo..1"}, {}, {"tap": "uml-demo-3"}, {}]
    assert [entries[f"vec{number}"].network for number in (0, 1, 4)] == ["lan", "demo..1", ""]
    assert entries["vec4"].mac == "02:00:00:00:00:05"


def test_unreadable_records_of_the_dead_are_set_aside_with_what_is_left_of_them(
    run_dir: str,
) -> None:
    leave()
    spoil()
    os.makedirs(os.path.dirname(paths.public_socket("demo")))
    (said,) = discover.set_dead_aside()
    assert "it is kept as record.json.unreadable-" in said
    assert len(os.listdir(paths.record_dir("demo"))) == 2, "the history says so, too"
    assert [event["text"] for event in event_log.Reader("demo").read()] == [said]
    assert os.listdir(f"{run_dir}/g") == []
    assert os.listdir(paths.public_dir()) == []
    assert discover.set_dead_aside() == []


def test_unreadable_record_is_set_aside_once_the_tiny_parent_has_let_the_name_go(
    run_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its kernel has just ended, and it has yet to write down how."""
    leave()
    spoil()
    lock = os.open(f"{run_dir}/g/demo.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    words = ["sh", "-c", "echo; read line", "/umlctl/shim.sh", paths.guest_dir("demo")]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[lock]
    ) as parent:
        os.close(lock)
        assert parent.stdout is not None
        parent.stdout.readline()
        waited: list[float] = []

        def sleep(seconds: float) -> None:
            waited.append(seconds)
            parent.communicate()

        monkeypatch.setattr(time, "sleep", sleep)
        (said,) = discover.set_dead_aside()
    assert waited == [discover.LOOK_INTERVAL]
    assert "it is kept as record.json.unreadable-" in said
    assert os.listdir(f"{run_dir}/g") == []


def test_records_of_those_that_run_or_can_be_read_stay(run_dir: str) -> None:
    spoil("held")
    with umid_lock.claim("held"):
        assert discover.set_dead_aside() == []
    leave()
    spoil()
    with running():
        assert [umid for umid, _ in records.unreadable()] == ["demo", "held"]
        assert len(discover.set_dead_aside()) == 1, "of the one that does not run"
        assert os.path.exists(records.path_of("demo"))
    os.unlink(records.path_of("demo"))
    records.save(
        Record(
            definition=DEFINITION,
            supervisor_pid=1,
            pid=0,
            started=0,
            boot_id="",
            since=0.0,
            ending=Ending(cause="exited", code=0),
        )
    )
    assert discover.set_dead_aside() == []


def test_no_record_is_believed_about_the_tiny_parent() -> None:
    with running(umid="demo", uml_dir="/k") as pid:
        assert discover.shim_of(pid) == 0
    with subprocess.Popen(
        ["sh", "-c", "sleep 600 & echo $!; wait", "shim.sh"], stdout=subprocess.PIPE
    ) as shim:
        assert shim.stdout is not None
        child = int(shim.stdout.readline())
        assert discover.shim_of(child) == shim.pid
        os.kill(child, 9)
