from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio

from tests import fake_kernel
from umlctl.backends.disk import DISK
from umlctl.backends.interface import Owner
from umlctl.errors import GuestInUse, HostError, NeverStarted
from umlctl.guest.definition import Definition
from umlctl.guest.plug import parse_disk
from umlctl.host import processes, records
from umlctl.host.claim import claim
from umlctl.recovery import discover
from umlctl.supervisor import launch as launching
from umlctl.supervisor.door import Door
from umlctl.supervisor.launch import adopt, check_files, check_reboot, launch
from umlctl.supervisor.run import run_guest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from umlctl.protocol.events import Event
    from umlctl.protocol.status import Ending
    from umlctl.supervisor.guest import Guest
    from umlctl.supervisor.launch import Launched

DEADLINE = 30.0


@pytest.fixture
def definition(house: str, tmp_path: Path) -> Definition:
    """A guest whose kernel makes no group of its own, as none has in its first moment."""
    script = f"echo $$ >{house}/inside\nexec sleep 600\n"
    kernel = fake_kernel.write(f"{tmp_path}/linux", script)
    return Definition(umid="demo", kernel=kernel, pidfile=f"{house}/pid", timeout=DEADLINE)


def processes_of(definition: Definition) -> list[str]:
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if definition.kernel.encode() in file.read().split(b"\0"):
                    found.append(pid)
        except OSError:
            continue
    return found


def test_root_that_no_kernel_can_mount_is_said_before_the_boot(
    definition: Definition, tmp_path: Path
) -> None:
    image = tmp_path / "root.img"
    image.write_bytes(bytes(450) + b"\x83\0\0\0\0\x08\0\0\0\x08".ljust(60, b"\0") + b"\x55\xaa")
    asked = msgspec.structs.replace(definition, root=str(image))
    with claim("demo") as held, pytest.raises(HostError, match="root=/dev/ubda1"):
        launch(asked, held)
    assert processes_of(definition) == []
    for word in ("root=/dev/ubda1", "initrd=/boot/initrd"):
        check_files(msgspec.structs.replace(asked, arguments=(word,)))


def test_disk_of_the_command_line_that_a_reboot_would_not_find_is_said_before(
    definition: Definition, house: str
) -> None:
    """What was plugged later is left out after the reboot, and the guest comes back without."""
    for name in ("a.img", "b.img"):
        with open(f"{house}/{name}", "wb") as file:
            file.truncate(4096)
    asked = msgspec.structs.replace(definition, disks=(f"{house}/a.img,slot=1",))
    with claim("demo") as held:
        launched = launch(asked, held)
        try:
            later = DISK.prepare(
                parse_disk(f"{house}/b.img"), 2, Owner("demo", held.records, ""), []
            )
            launched.record.devices.append(later)
            os.unlink(f"{house}/b.img")
            check_reboot(launched)
            os.unlink(f"{house}/a.img")
            with pytest.raises(HostError, match=r"ubd1: cannot read .*a\.img"):
                check_reboot(launched)
        finally:
            processes.kill_guest(launched.pid, launched.started, [])
            os.waitpid(launched.shim, 0)
            launched.notify.close()
            os.close(launched.pidfile)


def test_full_disk_at_the_last_step_leaves_no_kernel(
    definition: Definition, house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(_record: records.Record) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(records, "save", save)
    with claim("demo") as held, pytest.raises(HostError, match=r"demo: .*No space left"):
        launch(definition, held)
    end = time.monotonic() + DEADLINE
    while processes_of(definition):  # the host ends it a moment later
        assert time.monotonic() < end
        time.sleep(0.01)
    assert not os.path.exists(f"{house}/pid")
    assert not os.path.exists(f"{house}/u/run/g/demo.lock")


def test_kernel_of_which_nothing_can_be_seen_is_ended_if_it_cannot_be_kept(
    definition: Definition, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unseen(_pid: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patched:
        patched.setattr(processes, "start_time", unseen)
        with claim("demo") as held, pytest.raises(HostError, match="Too many open files"):
            launch(definition, held)
    end = time.monotonic() + DEADLINE
    while processes_of(definition):  # the host ends it with its parent, a moment later
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_does_not_begin_a_kernel_in_time_is_ended_with_all_that_it_has_started(
    house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launching, "BEGINS", 0.2)
    reader, writer = os.pipe()
    log = f"{house}/log"
    os.close(os.open(log, os.O_CREAT, 0o600))
    words = ["sh", "-c", "sleep 600 & sleep 600"]
    with pytest.raises(NeverStarted, match=r"did not begin a kernel within 0\.2 seconds"):
        launching._spawn(words, (writer, -1, -1), log, dict(os.environ), [], [])
    os.close(writer)
    assert os.read(reader, 1) == b""  # the end comes when the last that has it open is gone
    os.close(reader)


def test_pidfile_is_let_go_of_if_the_guest_cannot_be_heard(
    definition: Definition, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deaf(_path: str) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(launching, "_notify_socket", deaf)
    with claim("demo") as held, pytest.raises(HostError, match=r"demo: .*Too many open files"):
        launch(definition, held)
    assert not os.path.exists(definition.pidfile)


async def test_guest_without_a_door_ends_at_once_and_says_why(
    definition: Definition, house: str
) -> None:
    launched = launch(definition, claim("demo"))
    os.mkdir(f"{house}/u/run/g/demo/mconsole~")
    with trio.fail_after(DEADLINE / 2), pytest.raises(HostError, match=r"demo: .*s a directory"):
        await run_guest(launched)
    assert not processes.alive(launched.pid, launched.started)
    with claim("demo"):
        pass  # the name is free


async def test_pidfile_is_locked_as_long_as_the_guest_runs(
    definition: Definition, house: str
) -> None:
    launched = launch(definition, claim("demo"))
    for descriptor in (launched.claim.owner, launched.claim.lock, launched.pidfile):
        os.close(descriptor)  # as of a supervisor that was killed
    launched.notify.close()
    with open(f"{house}/pid") as file:
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert file.read() == f"{launched.pid}\n"
    adopted = adopt(launched.record)
    async with trio.open_nursery() as nursery:
        guest: Guest = await nursery.start(run_guest, adopted, None)
        guest.kill("the test is over")
    assert "pid" not in os.listdir(house)


async def test_pidfile_that_somebody_removed_is_no_reason_to_keep_the_name(
    definition: Definition, house: str
) -> None:
    launched = launch(definition, claim("demo"))
    os.unlink(f"{house}/pid")
    async with trio.open_nursery() as nursery:
        guest: Guest = await nursery.start(run_guest, launched, None)
        guest.kill("the test is over")
    assert guest.milestones.dead.is_set()
    with claim("demo"):
        pass


@pytest.mark.parametrize("step", ["remove_pidfile", "remove_place", "Door.close"])
async def test_what_cannot_be_removed_of_a_guest_is_said_and_its_end_stands(
    definition: Definition, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    close = Door.close

    def fail(*arguments: object) -> None:
        for each in arguments:
            if isinstance(each, Door):
                close(each)
            elif isinstance(each, int) and each >= 0:
                os.close(each)
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), "/its/place")

    monkeypatch.setattr(f"umlctl.supervisor.run.{step}", fail)
    launched = launch(definition, claim("demo"))
    told: list[Event] = []
    endings: list[Ending] = []

    async def run(task_status: trio.TaskStatus[Guest]) -> None:
        endings.append(await run_guest(launched, told.append, task_status=task_status))

    async with trio.open_nursery() as nursery:
        guest: Guest = await nursery.start(run)
        guest.kill("the test is over")
    assert [ending.text for ending in endings] == ["the test is over"]
    assert [event["text"] for event in told if event["event"] == "not removed"] == [
        "[Errno 1] Operation not permitted: '/its/place'"
    ]
    with claim("demo"):
        pass  # the name is free


def test_pidfile_that_cannot_be_removed_is_free_all_the_same(
    definition: Definition, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_path: str) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    descriptor = launching._lock_pidfile(definition)
    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", fail)
        with pytest.raises(PermissionError):
            launching.remove_pidfile(definition, descriptor)
    launching.remove_pidfile(definition, launching._lock_pidfile(definition))
    assert not os.path.exists(definition.pidfile)


async def test_pidfile_that_somebody_put_in_its_place_is_kept(
    definition: Definition, house: str
) -> None:
    launched = launch(definition, claim("demo"))
    os.unlink(f"{house}/pid")
    os.close(os.open(f"{house}/pid", os.O_CREAT))
    async with trio.open_nursery() as nursery:
        guest: Guest = await nursery.start(run_guest, launched, None)
        guest.kill("the test is over")
    os.unlink(f"{house}/pid")


async def test_memory_goes_where_it_is_told_to(
    definition: Definition, house: str, tmp_path: Path
) -> None:
    fake_kernel.write(f"{tmp_path}/linux", f"echo $TMPDIR >{house}/seen\nexec sleep 600\n")
    launched = launch(msgspec.structs.replace(definition, mem_dir=house), claim("demo"))
    async with trio.open_nursery() as nursery:
        guest: Guest = await nursery.start(run_guest, launched, None)
        with trio.fail_after(DEADLINE):
            while not _text(f"{house}/seen"):  # noqa: ASYNC110 - the kernel has nobody to tell
                await trio.sleep(0.005)
        guest.kill("the test is over")
    assert _text(f"{house}/seen") == f"{house}\n"


def _text(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except FileNotFoundError:
        return ""


def test_memory_is_not_made_where_nothing_can_be_executed(
    definition: Definition, house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = list(os.statvfs(house))
    there[8] = os.ST_NOEXEC
    monkeypatch.setattr(os, "statvfs", lambda _path: os.statvfs_result(there))
    with claim("demo") as held, pytest.raises(HostError, match="it is mounted noexec"):
        launch(msgspec.structs.replace(definition, mem_dir=house), held)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mem_dir": "/none"}, "memory in /none: No such file"),
        ({"mem_dir": "{house}", "mem": 1 << 60}, "there can never be more than"),
        ({"cwd": "/none"}, "there is no directory /none"),
        ({"root": "/none/"}, "there is no directory /none/"),
        ({"kernel": "/none"}, "/none is not a UML kernel: there is no such file"),
        ({"kernel": "/bin/ls"}, "/bin/ls is not a UML kernel: it is another program"),
    ],
)
def test_host_is_looked_at_before_anything_is_started(
    definition: Definition, house: str, change: dict[str, Any], said: str
) -> None:
    change = {k: v.format(house=house) if isinstance(v, str) else v for k, v in change.items()}
    with claim("demo") as held, pytest.raises(HostError, match=said):
        launch(msgspec.structs.replace(definition, **change), held)
    assert processes_of(definition) == []


# Adoption


async def test_kernel_without_a_supervisor_is_adopted_and_ends_as_any(
    definition: Definition, house: str
) -> None:
    first = launch(definition, claim("demo"))
    first.notify.close()  # as the death of its supervisor leaves it
    for descriptor in (first.claim.owner, first.claim.lock, first.pidfile):
        os.close(descriptor)
    (record,) = discover.without_supervisor()
    adopted = adopt(record)
    assert (adopted.pid, adopted.shim, adopted.adopted) == (first.pid, first.shim, True)
    assert discover.without_supervisor() == []
    with pytest.raises(GuestInUse, match="has a supervisor"):
        adopt(record)
    async with trio.open_nursery() as nursery:
        guest: Guest = await nursery.start(run_guest, adopted, None)
        guest.kill("the test is over")
    assert not processes.alive(first.pid, first.started)
    assert not os.path.exists(f"{house}/pid")  # noqa: ASYNC240
    kept = records.load("demo")
    assert kept is not None
    assert kept.ending is not None
    assert guest.history.last is not None
    assert [event["event"] for event in guest.history][:1] == ["adopted"]


def test_kernel_that_has_ended_is_not_adopted(definition: Definition) -> None:
    first = launch(definition, claim("demo"))
    first.notify.close()
    for descriptor in (first.claim.owner, first.claim.lock, first.pidfile):
        os.close(descriptor)
    (record,) = discover.without_supervisor()
    processes.kill_guest(first.pid, first.started, [])
    os.waitpid(first.shim, 0)
    assert discover.without_supervisor() == []
    with pytest.raises(GuestInUse, match="does not run any more"):
        adopt(record)
    with claim("demo"):
        pass  # the name is free


# Records that are lost


def abandon(launched: Launched) -> None:
    """What the death of its supervisor leaves of a guest."""
    launched.notify.close()
    for descriptor in (launched.claim.owner, launched.claim.lock, launched.pidfile):
        if descriptor >= 0:
            os.close(descriptor)


def spoil(data: bytes = b"{") -> None:
    with open(records.path_of("demo"), "wb") as file:
        file.write(data)


async def finish(launched: Launched) -> list[dict[str, Any]]:
    """Supervise a guest, and end it; its events."""
    async with trio.open_nursery() as nursery:
        guest: Guest = await nursery.start(run_guest, launched, None)
        guest.kill("the test is over")
    return list(guest.history)


async def test_guest_that_is_started_where_a_record_cannot_be_read_says_so(
    definition: Definition,
) -> None:
    os.makedirs(os.path.dirname(records.path_of("demo")))
    spoil()
    launched = launch(definition, claim("demo"))
    assert records.load("demo") == launched.record
    events = await finish(launched)
    assert [event["event"] for event in events][:2] == ["started", "record lost"]
    assert "it is kept as record.json.unreadable-" in events[1]["text"]


async def test_guest_whose_record_was_damaged_is_adopted_and_says_so(
    definition: Definition,
) -> None:
    first = launch(definition, claim("demo"))
    abandon(first)
    spoil()
    adopted = adopt(first.record)
    assert records.load("demo") == adopted.record
    events = await finish(adopted)
    assert [event["event"] for event in events][:2] == ["adopted", "record lost"]
    assert len(os.listdir(os.path.dirname(records.path_of("demo")))) > 1


async def test_guest_whose_records_were_removed_is_adopted_and_says_so(
    definition: Definition,
) -> None:
    first = launch(definition, claim("demo"))
    abandon(first)
    shutil.rmtree(os.path.dirname(records.path_of("demo")))
    events = await finish(adopt(first.record))
    assert events[1]["text"] == "there is no record of demo"


async def test_number_of_another_process_is_not_taken_for_the_tiny_parent(
    definition: Definition, bystander: int
) -> None:
    """What does not end is killed, group and all."""
    first = launch(definition, claim("demo"))
    abandon(first)
    adopted = adopt(msgspec.structs.replace(first.record, shim=bystander))
    assert adopted.shim == first.shim
    await finish(adopted)
    assert processes.start_time(bystander)


@pytest.fixture
def bystander() -> Iterator[int]:
    """A process that is nobody's business; its pid."""
    with subprocess.Popen(["sleep", "600"], process_group=0) as other:
        yield other.pid
        other.kill()
