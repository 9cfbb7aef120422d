from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import msgspec
import pytest
import trio

from tests.umlctl.supervisor.launch.conftest import abandon, finish
from umlctl.errors import GuestInUse
from umlctl.host import processes
from umlctl.recovery import discover
from umlctl.state import records
from umlctl.state.umid_lock import claim
from umlctl.supervisor.guest_task import run_guest
from umlctl.supervisor.launch.adopt import adopt
from umlctl.supervisor.launch.launch import launch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from umlctl.guest.definition import Definition
    from umlctl.supervisor.guest import Guest


async def test_kernel_without_a_supervisor_is_adopted_and_ends_as_any(
    definition: Definition, house: str
) -> None:
    first = launch(definition, claim("demo"))
    abandon(first)
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
    abandon(first)
    (record,) = discover.without_supervisor()
    processes.kill_guest(first.pid, first.started, [])
    os.waitpid(first.shim, 0)
    assert discover.without_supervisor() == []
    with pytest.raises(GuestInUse, match="does not run any more"):
        adopt(record)
    with claim("demo"):
        pass  # the name is free


async def test_pidfile_is_locked_as_long_as_the_guest_runs(
    definition: Definition, house: str
) -> None:
    launched = launch(definition, claim("demo"))
    abandon(launched)
    with open(f"{house}/pid") as file:
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert file.read() == f"{launched.pid}\n"
    adopted = adopt(launched.record)
    async with trio.open_nursery() as nursery:
        guest: Guest = await nursery.start(run_guest, adopted, None)
        guest.kill("the test is over")
    assert "pid" not in os.listdir(house)


def spoil(data: bytes = b"{") -> None:
    with open(records.path_of("demo"), "wb") as file:
        file.write(data)


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
