from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING

import msgspec
import pytest
import trio

from tests import fake_kernel
from tests.umlctl.supervisor.launch.conftest import DEADLINE, finish, processes_of
from umlctl.errors import HostError
from umlctl.host import processes
from umlctl.host.pidfile import Pidfile
from umlctl.networks import segments
from umlctl.state import records
from umlctl.state.umid_lock import claim
from umlctl.supervisor.door import Door
from umlctl.supervisor.guest_task import run_guest
from umlctl.supervisor.launch import entrance, spawn
from umlctl.supervisor.launch import launch as module
from umlctl.supervisor.launch.entrance import Entrance
from umlctl.supervisor.launch.launch import launch

if TYPE_CHECKING:
    from pathlib import Path

    from umlctl.guest.definition import Definition
    from umlctl.protocol.events import Event
    from umlctl.protocol.status import Ending
    from umlctl.supervisor.guest import Guest


def test_full_disk_at_the_last_step_leaves_no_kernel(
    definition: Definition, house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(_record: records.Record) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(records, "save", save)
    with claim("demo") as held, pytest.raises(HostError, match=r"demo cannot .*No space left"):
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


def test_pidfile_is_let_go_of_if_the_guest_cannot_be_heard(
    definition: Definition, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deaf(_path: str) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(module, "notify_socket", deaf)
    with (
        claim("demo") as held,
        pytest.raises(HostError, match=r"demo cannot .*Too many open files"),
    ):
        launch(definition, held)
    assert not os.path.exists(definition.pidfile)


async def test_starts_at_the_same_time_are_no_more_than_are_allowed(
    definition: Definition, house: str
) -> None:
    os.mkdir(f"{house}/u/config", 0o700)
    with open(f"{house}/u/config/umlctl.toml", "w") as file:
        file.write("[host]\nmax_guests = 2\n")
    launched = []
    refused = []

    def start(umid: str) -> None:
        mine = msgspec.structs.replace(definition, umid=umid, pidfile="")
        held = claim(umid)
        try:
            launched.append(launch(mine, held))
        except HostError as problem:
            held.release()
            refused.append(str(problem))

    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(trio.to_thread.run_sync, start, f"g{number}")
    try:
        assert (len(launched), len(refused)) == (2, 3)
        for said in refused:
            assert f"2 guests run, and {house}/u/config/umlctl.toml:2 allows 2" in said
    finally:
        for each in launched:
            await finish(each)
    start("later")
    assert len(launched) == 3
    await finish(launched[-1])


async def test_guest_with_more_memory_than_there_is_starts_where_that_is_written_down(
    definition: Definition, house: str
) -> None:
    huge = msgspec.structs.replace(definition, mem=1 << 50)
    with claim("demo") as held, pytest.raises(HostError, match="there can never be more than"):
        launch(huge, held)
    os.mkdir(f"{house}/u/config", 0o700)
    with open(f"{house}/u/config/umlctl.toml", "w") as file:
        file.write("[host]\novercommit = true\n")
    with claim("demo") as held, pytest.raises(HostError, match=r"takes .* when it boots"):
        launch(huge, held)


async def test_guest_without_a_door_ends_at_once_and_says_why(
    definition: Definition, house: str
) -> None:
    launched = launch(definition, claim("demo"))
    os.mkdir(f"{house}/u/run/g/demo/mconsole~")
    with (
        trio.fail_after(DEADLINE / 2),
        pytest.raises(HostError, match=r"demo cannot .*s a directory"),
    ):
        await run_guest(launched)
    assert not processes.alive(launched.pid, launched.started)
    with claim("demo"):
        pass  # the name is free


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


@pytest.mark.parametrize(
    "step",
    [
        "host.pidfile.Pidfile.remove",
        "supervisor.guest_task.remove_place",
        "supervisor.guest_task.Door.close",
    ],
)
async def test_what_cannot_be_removed_of_a_guest_is_said_and_its_end_stands(
    definition: Definition, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    close = Door.close

    def fail(*arguments: object) -> None:
        for each in arguments:
            if isinstance(each, Door):
                close(each)
            elif isinstance(each, Pidfile):
                each.close()
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), "/its/place")

    monkeypatch.setattr(f"umlctl.{step}", fail)
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


def spoil(data: bytes = b"{") -> None:
    with open(records.path_of("demo"), "wb") as file:
        file.write(data)


def test_kernel_that_cannot_enter_a_namespace_is_started_outside(
    definition: Definition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that says what nsenter says when it cannot."""
    segment = segments.start("lan", idle=60)
    way = Entrance()
    way.words = ["sh", "-c", "echo nsenter: cannot open /proc/7/fd/9 >&2; exit 1"]
    way.inode = 7
    monkeypatch.setattr(entrance, "find", lambda *_: way)
    asked = msgspec.structs.replace(definition, nics=("switch=lan,nic=0",))
    try:
        with claim("demo") as held:
            launched = launch(asked, held)
            assert "transport=bess" in launched.record.devices[0].kernel
            spawn.end(launched.shim, launched.pid)
            launched.close()
    finally:
        segment.quit()
