"""Guests that are launched, whose kernels do nothing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests import fake_kernel
from umlctl.guest.definition import Definition
from umlctl.supervisor.guest_task import run_guest

if TYPE_CHECKING:
    from pathlib import Path

    from umlctl.supervisor.guest import Guest
    from umlctl.supervisor.launch.launched import Launched

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


def abandon(launched: Launched) -> None:
    """What the death of its supervisor leaves of a guest."""
    launched.notify.close()
    launched.pidfile.close()
    for descriptor in (launched.claim.owner, launched.claim.lock):
        os.close(descriptor)


async def finish(launched: Launched) -> list[dict[str, Any]]:
    """Supervise a guest, and end it; its events."""
    async with trio.open_nursery() as nursery:
        guest: Guest = await nursery.start(run_guest, launched, None)
        guest.kill("the test is over")
    return list(guest.history)
