"""`umlctl ps` on real kernels: all that belongs to a guest is shown, and nothing else."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Any

from tests.live.conftest import DEADLINE, processes_of, wait_for
from umlctl.host import processes

if TYPE_CHECKING:
    from tests.live.conftest import House


def shown(house: House, guest: str) -> dict[str, list[dict[str, Any]]]:
    """What `ps` shows, by role."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in json.loads(house.ok("ps", guest, "--json")):
        found.setdefault(row["role"], []).append(row)
    return found


def pids(found: dict[str, list[dict[str, Any]]], *but: str) -> set[int]:
    return {row["pid"] for role, rows in found.items() if role not in but for row in rows}


def all_of(umid: str, kernel: int) -> set[int]:
    """What has the guest's name on its command line, and what its kernel has begun under another,
    as it does with the guest's processes since Linux 7."""
    begun = {pid for pid in processes.descendants(kernel) if processes.start_time(pid) is not None}
    return {*processes_of(f"umid={umid}"), *begun}


def test_every_process_of_a_guest_is_shown(house: House, umid: str) -> None:
    house.start(umid)
    house.has_shell(umid)
    status = house.status(umid)
    wait_for(
        lambda: pids(shown(house, umid), "supervisor") == all_of(umid, status["pid"]),
        "all are shown",
    )
    found = shown(house, umid)
    assert [row["pid"] for row in found["supervisor"]] == [status["supervisor_pid"]]
    (kernel,) = found["kernel"]
    assert kernel["pid"] == status["pid"]
    assert kernel["cpu"] > 0
    assert kernel["memory"] > 1 << 20
    assert len(found["tiny parent"]) == 1
    helpers = found.get("helper", [])  # threads of the kernel itself since Linux 7
    assert all(row["parent"] == kernel["pid"] for row in helpers)
    assert all(row["memory"] is None for row in helpers)
    assert {row["state"] for row in found["guest process"]} <= {"traced", "running"}
    assert house.ok("ps", umid).split()[:2] == ["PID", "ROLE"]
    wait_for(
        lambda: len(house.ok("ps", umid).splitlines()) == 1 + len(pids(shown(house, umid))),
        "each has a line",
    )
    found = shown(house, umid)
    assert pids(shown(house, house.public(umid))) >= pids(found, "guest process")


def test_guest_has_a_process_more_for_each_of_its_own(house: House, umid: str) -> None:
    house.start(umid)
    house.has_shell(umid)
    # More than an init has at any moment of its own.
    house.shell(umid, "for i in $(seq 20); do sleep 1000 & done; sleep 0.1")
    wait_for(lambda: len(shown(house, umid)["guest process"]) > 20, "each has one on the host")


def test_guest_whose_supervisor_is_gone_is_shown_and_left_alone(house: House, umid: str) -> None:
    with house.running(umid) as process:
        house.has_shell(umid)
        found = shown(house, umid)
        process.kill()
        process.wait(DEADLINE)
        done = house.umlctl("ps", umid, "--json")
        assert done.returncode == 0
        assert f"umlctl adopt {umid}" in done.stderr
        rows = json.loads(done.stdout)
        alike = {"kernel", "tiny parent"} & found.keys()  # guest processes come and go
        assert {row["role"] for row in rows} == found.keys() - {"supervisor"}
        assert {row["pid"] for row in rows if row["role"] in alike} == {
            row["pid"] for role in alike for row in found[role]
        }
        os.unlink(f"{house.state}/guests/{umid}/record.json")
        os.unlink(f"{house.run}/g/{umid}/record.json")
        again = shown(house, umid)
        assert again.keys() == found.keys() - {"supervisor"}
        assert [row["pid"] for row in again["kernel"]] == [row["pid"] for row in found["kernel"]]
    house.ok("kill", umid)


def test_guest_that_is_stopped_or_suspended_is_shown(house: House, umid: str) -> None:
    house.start(umid)
    (kernel,) = shown(house, umid)["kernel"]
    house.ok("stop", umid)
    assert shown(house, umid)["kernel"][0]["pid"] == kernel["pid"]
    house.ok("go", umid)
    os.kill(kernel["pid"], signal.SIGSTOP)
    try:
        wait_for(lambda: shown(house, umid)["kernel"][0]["state"] == "suspended", "it is held")
    finally:
        os.kill(kernel["pid"], signal.SIGCONT)


def test_switch_and_its_way_out_belong_to_the_guest(house: House, umid: str) -> None:
    house.start(umid, "--nic", "user", "--nic", f"switch=ps{os.getpid()}")
    found = shown(house, umid)
    assert [row["serves"] for row in found["switch"]] == [["vec0"], ["vec1"]]
    (uplink,) = found["uplink"]
    assert (uplink["name"], uplink["serves"]) == ("slirp4netns", ["vec0"])
    assert uplink["parent"] == found["switch"][0]["pid"]


def test_bare_kernel_is_shown(house: House, umid: str) -> None:
    with house.by_hand(umid) as path:
        wait_for(lambda: "guest process" in shown(house, path), "it has booted")
        (kernel,) = shown(house, path)["kernel"]
        wait_for(lambda: pids(shown(house, path)) == all_of(umid, kernel["pid"]), "all are shown")
        assert set(shown(house, path)) - {"helper"} == {"kernel", "guest process"}


def test_guest_that_does_not_run_has_no_processes(house: House, umid: str) -> None:
    done = house.umlctl("ps", umid)
    assert done.returncode == 3
    assert "no guest" in done.stderr
    house.start(umid)
    house.ok("kill", umid)
    done = house.umlctl("ps", umid)
    assert done.returncode == 3
    assert f"{umid} does not run: killed" in done.stderr
