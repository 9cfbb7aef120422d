"""What guests may have between them, and which of the host's processors and memory one has."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.live.conftest import DEADLINE, House, kill_supervisor, processes_of, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

LAST = max(os.sched_getaffinity(0))
NUMA = Path("/sys/devices/system/node/has_memory")


@pytest.fixture
def own(empty_house: House) -> Iterator[House]:
    """A home without guests, whose guests end with it."""
    os.makedirs(f"{empty_house.path}/u/config", 0o700)
    yield empty_house
    empty_house.umlctl("shutdown", "--all", "1")


def write(house: House, *lines: str) -> str:
    path = f"{house.path}/u/config/umlctl.toml"
    Path(path).write_text("\n".join(["[host]", *lines]) + "\n")
    return path


def test_whoever_starts_guests_at_the_same_time_starts_no_more_than_may_be(own: House) -> None:
    path = write(own, "max_guests = 2")
    words = [
        *(["exec", "--mem", "64M", "--", "sleep", "600"],) * 3,
        *(["start", f"g{number}", "--mem", "64M"] for number in range(2)),
    ]
    started = [
        subprocess.Popen(
            own.command(*each),
            env=own.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for each in words
    ]
    try:
        refused: list[subprocess.Popen[str]] = []

        def all_are_refused() -> bool:
            refused[:] = [each for each in started if each.poll() not in (None, 0)]
            return len(refused) == 3

        wait_for(all_are_refused, "all but two are refused")
        for each in refused:
            assert f"2 guests run, and {path}:2 allows 2" in each.communicate()[1]
        wait_for(lambda: "2 running" in own.ok("info"), "two run")
        assert json.loads(own.ok("info", "--json"))["max_guests"] == 2
        write(own, "max_guests = 3")
        own.ok("start", "more", "--mem", "64M")
    finally:
        for each in started:
            each.send_signal(signal.SIGTERM)
        for each in started:
            each.communicate(timeout=DEADLINE)


def test_memory_of_all_is_bounded_and_a_guest_that_has_its_own_keeps_it(own: House) -> None:
    write(own, 'max_total_mem = "160M"')
    own.ok("start", "one", "--mem", "96M", "--restart", "always")
    refused = own.umlctl("start", "two", "--mem", "96M")
    assert refused.returncode == 7
    assert "two: it is to have 96M of memory, 1 guest runs with 96M, and " in refused.stderr
    assert "allows 160M in all" in refused.stderr
    own.ok("start", "two", "--mem", "64M")
    before = own.status("one")["pid"]
    own.ok("reboot", "one")
    own.umlctl("sysrq", "one", "c")
    wait_for(lambda: own.listed("one")["restarts"] == 1, "it is started again")
    wait_for(lambda: own.listed("one")["state"] == "running", "it runs again")
    assert own.status("one")["pid"] != before
    own.ok("restart", "two")


def test_memory_that_nobody_has_is_told_with_the_numbers(own: House) -> None:
    words = ["start", "huge", "--mem", "900000G", "--mem-dir", "/dev/shm"]
    refused = own.umlctl(*words)
    assert refused.returncode == 7
    assert "there can never be more than" in refused.stderr
    assert "write `overcommit = true` into umlctl.toml" in refused.stderr
    write(own, "overcommit = false")
    have = os.statvfs("/dev/shm").f_bavail * os.statvfs("/dev/shm").f_frsize >> 20
    own.ok("start", "small", "--mem", "64M")
    words = ["start", "large", "--mem", f"{have}M", "--mem-dir", "/dev/shm"]
    refused = own.umlctl(*words)
    assert refused.returncode == 7
    assert "umlctl.toml:2 allows no such promise" in refused.stderr


def shares(umid: str) -> set[tuple[str, str]]:
    """The processors of all processes of a guest, and where they have their memory."""
    found = set()
    for pid in processes_of(f"umid={umid}"):
        try:
            status = Path(f"/proc/{pid}/status").read_text()
            maps = Path(f"/proc/{pid}/numa_maps").read_text() if NUMA.exists() else ""
        except OSError:
            continue  # it has just ended
        if maps or not NUMA.exists():
            allowed = status.partition("Cpus_allowed_list:\t")[2].partition("\n")[0]
            policy = maps.partition("\n")[0].split()[1] if maps else ""
            found.add((allowed, policy))
    return found


@pytest.mark.parametrize("mode", ["strict", "off"])
def test_guest_keeps_its_share_of_the_host_over_reboot_and_adoption(own: House, mode: str) -> None:
    umid = "pinned"
    words = ["--cpus", f"map,{LAST}", "--confine", mode]
    node = "0"
    if NUMA.exists():
        node = NUMA.read_text().strip().partition("-")[0].partition(",")[0]
        cpus = Path(f"/sys/devices/system/node/node{node}/cpulist").read_text()
        words += ["--numa", node] if cpus.strip().endswith(str(LAST)) else []
    policy = f"bind:{node}" if "--numa" in words else "default" if NUMA.exists() else ""
    own.ok("start", umid, *words)
    assert shares(umid) == {(str(LAST), policy)}
    own.ok("reboot", umid)
    assert shares(umid) == {(str(LAST), policy)}
    kill_supervisor(own, umid)
    own.ok("adopt", umid)
    own.ok("reboot", umid)
    assert shares(umid) == {(str(LAST), policy)}


def test_what_the_host_has_not_is_refused_before_the_start(house: House, umid: str) -> None:
    for words, said in (
        (["--cpus", "7000"], "this host has no CPU 7000 for guests; there is"),
        (["--cpus", "map,7000"], "takes 1 of the host's from 7000 on"),
        (["--numa", "1023"], "--numa 1023: this host has no"),
    ):
        refused = house.umlctl("start", umid, *words)
        assert refused.returncode == 7, refused
        assert said in refused.stderr
    assert house.leftovers(umid) == []
