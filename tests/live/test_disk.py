"""COW files of disks that a guest has: merged and emptied under it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.live.conftest import DEADLINE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.live.conftest import House

SIZE = 64 << 20
READ = "sync; echo 3 >/proc/sys/vm/drop_caches; sha256sum </dev/ubdb"
WRITE = "dd if=/dev/urandom of=/dev/ubdb bs=1M count={} seek={} conv=notrunc,fsync"


def image(tmp_path: Path) -> str:
    path = f"{tmp_path}/base.img"
    with open(path, "xb") as file:
        file.truncate(SIZE)
    return path


def sha(house: House, umid: str) -> str:
    return house.shell(umid, READ).split()[-2]


@pytest.mark.timeout(300)
def test_disk_is_merged_and_emptied_while_the_guest_runs(
    house: House, umid: str, tmp_path: Path
) -> None:
    base, top = image(tmp_path), f"{tmp_path}/top.cow"
    house.start(umid, "--disk", f"{base},slot=1,cow={top}")
    house.has_shell(umid)
    empty = sha(house, umid)
    house.shell(umid, WRITE.format(3, 7))
    full = sha(house, umid)
    assert full != empty
    row = json.loads(house.ok("disk", "list", umid, "--json"))[-1]
    assert (row["cow"]["path"], row["cow"]["written"]) == (top, 3 << 20)

    house.ok("disk", "reset", umid, "ubd1")
    assert sha(house, umid) == empty
    house.shell(umid, WRITE.format(3, 7))
    full = sha(house, umid)

    house.shell(umid, "mkfs.ext4 -q -F -E offset=0 /dev/ubdb 8M && mount /dev/ubdb /mnt")
    refused = house.umlctl("disk", "commit", umid, "1")
    assert refused.returncode == 1
    assert "ubd1 is mounted in the guest on /mnt; unmount it first" in refused.stderr
    house.shell(umid, "umount /mnt")
    full = sha(house, umid)

    done = json.loads(house.ok("disk", "commit", umid, "1", "--json"))
    assert (done["cow"], done["backing"]) == (top, base)
    assert sha(house, umid) == full
    assert json.loads(house.ok("disk", "list", umid, "--json"))[-1]["cow"]["written"] == 0
    house.ok("reboot", umid)
    house.has_shell(umid)
    assert sha(house, umid) == full
    house.ok("shutdown", umid)
    assert json.loads(house.ok("cow", "check", top, "--json"))["problem"] is None


@pytest.mark.timeout(300)
def test_supervisor_that_is_killed_under_a_merge_costs_the_guest_nothing(
    house: House, umid: str, tmp_path: Path
) -> None:
    base, top = image(tmp_path), f"{tmp_path}/top.cow"
    house.start(umid, "--disk", f"{base},slot=1,cow={top}")
    house.has_shell(umid)
    house.shell(umid, WRITE.format(48, 10))
    full = sha(house, umid)
    supervisor = house.status(umid)["supervisor_pid"]
    client = subprocess.Popen(
        house.command("disk", "commit", umid, "ubd1"), env=house.env, stderr=subprocess.DEVNULL
    )
    while not os.path.exists(f"{top}.merge") and client.poll() is None:
        time.sleep(0.001)
    os.kill(supervisor, signal.SIGKILL)
    client.wait(DEADLINE)
    row = json.loads(house.ok("disk", "list", umid, "--json"))[-1]
    assert (row["name"], row.get("problem", "")) == ("ubd1", "")
    assert not os.path.exists(f"{top}.merge")
    assert sha(house, umid) == full
    house.ok("disk", "commit", umid, "ubd1")
    assert sha(house, umid) == full
