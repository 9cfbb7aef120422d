from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest
import trio

from umlctl.errors import HostError
from umlctl.guest.definition import Definition
from umlctl.host import processes, records
from umlctl.host.claim import claim
from umlctl.supervisor.launch import launch
from umlctl.supervisor.run import run_guest

if TYPE_CHECKING:
    from pathlib import Path

    from umlctl.supervisor.guest import Guest

DEADLINE = 30.0


@pytest.fixture
def definition(house: str, tmp_path: Path) -> Definition:
    """A guest whose kernel makes no group of its own, as none has in its first moment."""
    kernel = tmp_path / "linux"
    kernel.write_text(f"#!/bin/sh\necho $$ >{house}/inside\nexec sleep 600\n")
    kernel.chmod(0o700)
    return Definition(umid="demo", kernel=str(kernel), pidfile=f"{house}/pid", timeout=DEADLINE)


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


def test_full_disk_at_the_last_step_leaves_no_kernel(
    definition: Definition, house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(_record: records.Record) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(records, "save", save)
    with claim("demo") as held, pytest.raises(HostError, match=r"demo: .*No space left"):
        launch(definition, held)
    assert processes_of(definition) == []
    assert not os.path.exists(f"{house}/pid")
    assert not os.path.exists(f"{house}/r/umlctl/g/demo.lock")


async def test_guest_without_a_door_ends_at_once_and_says_why(
    definition: Definition, house: str
) -> None:
    launched = launch(definition, claim("demo"))
    os.rmdir(f"{house}/h/.uml/demo")
    with trio.fail_after(DEADLINE / 2), pytest.raises(HostError, match=r"demo: .*No such file"):
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
    assert guest.dead.is_set()
    with claim("demo"):
        pass


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
