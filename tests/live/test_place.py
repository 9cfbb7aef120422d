"""One place a user: who calls from where finds the same guests, whoever cleans up in between."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.live.conftest import DEADLINE, House, kill_supervisor, processes_of, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

WEB, MAIL = (f"{name}-{os.getpid()}" for name in ("web", "mail"))
"""Other test processes look at the same /proc."""
SWITCH = f"lan{os.getpid()}"


@pytest.fixture(scope="module")
def own() -> Iterator[House]:
    """A place of these tests' own, with a guest on a switch: what is done to it hits no others."""
    path = tempfile.mkdtemp(prefix="u", dir="/tmp")
    house = House(path)
    try:
        house.start(WEB, "--nic", f"switch={SWITCH}")
        yield house
    finally:
        house.umlctl("shutdown", "--all", "0")
        house.umlctl("quit")
        for network in processes_of(SWITCH):
            os.kill(network, 15)
        house.remove()


def elsewhere(house: House, **variables: str) -> House:
    """The same user as a cron job has it, with these variables besides."""
    found = House.__new__(House)
    found.__dict__ |= house.__dict__
    names = {"PATH", "UMLCTL_DIR", "UMLCTL_KERNEL"} & house.env.keys()
    kept = {name: house.env[name] for name in names}
    found.env = {**kept, "PYTHONPATH": os.getcwd(), **variables}
    return found


def supervisors(house: House) -> set[int]:
    """Those of our guests: the user's home may have kernels that nobody supervises."""
    rows = house.rows(WEB, MAIL)
    ours = [rows[umid] for umid in (WEB, MAIL) if umid in rows]
    return {row["supervisor_pid"] for row in ours if row["state"] != "dead"}


def files(directory: str) -> set[Path]:
    """What is there, but for a record that is being written, and has its name in a moment."""
    return {path for path in Path(directory).rglob("*") if path.name != "record.json~"}


def is_whole(house: House, umid: str) -> bool:
    return all(map(os.path.exists, (house.public(umid), house.kernel_socket(umid))))


def test_guests_are_the_same_from_everywhere(own: House, short: str) -> None:
    first = own.status(WEB)
    other = elsewhere(own, HOME=short, XDG_RUNTIME_DIR=short, XDG_STATE_HOME=short)
    other.start(MAIL, "--nic", f"switch={SWITCH}")
    own_socket, theirs = f"{own.home}/.uml/{MAIL}", f"{short}/.uml/{MAIL}/mconsole"
    assert not os.path.exists(own_socket)
    assert Path(theirs).resolve() == Path(own.status(MAIL)["sockets"]["mconsole"])
    callers = (own, other, elsewhere(own), elsewhere(own, HOME="relative"))
    for caller, umid in zip(callers, (MAIL, WEB, MAIL, WEB), strict=True):
        for each in (WEB, MAIL):
            assert each in caller.ok("version", each)
        assert "userspace is up" in caller.ok("events", umid)
        assert caller.umlctl("console", umid, stdin="").returncode == 0
        assert "kernel" in caller.ok("ps", umid)
        assert caller.umlctl("start", umid).returncode == 1
        assert supervisors(caller) == {first["supervisor_pid"]}
        networks = json.loads(caller.ok("network", "list", "--json"))  # and bridges of this host
        [network] = [each for each in networks if each["name"] == SWITCH]
        assert network["pid"] == own.network(SWITCH)["pid"]
    other.ok("kill", MAIL)
    wait_for(lambda: not os.path.exists(theirs), "nothing of it is left")


def test_run_directory_that_is_removed_is_made_anew(own: House) -> None:
    before = own.status(WEB)
    switch = own.network(SWITCH)["pid"]
    shutil.rmtree(own.run, ignore_errors=True)  # what is made anew meanwhile stays
    assert WEB in own.ok("version", WEB)
    assert supervisors(own) == {before["supervisor_pid"]}
    assert f"{WEB} has a supervisor\n" == own.ok("adopt", WEB)
    assert own.umlctl("start", WEB).returncode == 1
    assert own.ok("status", WEB, "--json")
    wait_for(lambda: is_whole(own, WEB), "all is there again")
    wait_for(lambda: own.umlctl("network", "show", SWITCH).returncode == 0, "its switch, too")
    assert own.stock(WEB, "version").stdout.startswith(b"OK Linux")
    assert own.shell(WEB, "hostname").strip() == WEB
    assert own.network(SWITCH)["pid"] == switch
    assert "restored" in own.ok("events", WEB)
    shutil.rmtree(own.run, ignore_errors=True)
    own.ok("reboot", WEB)
    own.has_shell(WEB)
    assert own.status(WEB)["pid"] == before["pid"]
    wait_for(lambda: is_whole(own, WEB), "all is there again")
    assert len(processes_of(SWITCH)) == 1


def test_who_cleans_up_tmp_passes_over_what_is_in_use(own: House, tmp_path: Path) -> None:
    wait_for(lambda: is_whole(own, WEB), "all is there")
    bait = Path(f"{own.path}/bait")
    bait.touch()
    (tmp_path / "clean.conf").write_text(f"d {own.path} - - - 1s\n")

    def clean() -> bool:
        subprocess.run(
            ["systemd-tmpfiles", "--clean", str(tmp_path / "clean.conf")],
            timeout=DEADLINE,
            check=True,
        )
        return not bait.exists()

    there = files(f"{own.path}/u")
    wait_for(clean, "what is old has gone")
    assert there - files(f"{own.path}/u") == set()
    kill_supervisor(own, WEB)  # its tiny parent keeps the place then
    bait.touch()
    there = files(f"{own.path}/u/run/g/{WEB}")
    wait_for(clean, "what is old has gone")
    assert there - files(f"{own.path}/u/run/g/{WEB}") == set()
    assert WEB in own.ok("version", WEB)


def test_guest_that_lost_its_supervisor_and_its_place_is_found_and_adopted(own: House) -> None:
    pid = own.status(WEB)["pid"]
    kill_supervisor(own, WEB)
    shutil.rmtree(own.run, ignore_errors=True)
    assert own.umlctl("start", WEB).returncode == 1
    assert own.listed(WEB)["pid"] == pid
    assert WEB in own.ok("version", WEB)
    assert own.shell(WEB, "hostname").strip() == WEB


def test_guest_whose_kernel_nobody_can_reach_is_not_forgotten(own: House) -> None:
    pid = own.status(WEB)["pid"]
    kill_supervisor(own, WEB)
    subprocess.run(["chmod", "-R", "u+rwX", f"{own.run}-kept"], check=True)  # some is closed
    shutil.rmtree(f"{own.run}-kept")
    shutil.rmtree(own.run, ignore_errors=True)
    assert own.listed(WEB)["pid"] == pid
    refused = own.umlctl("version", WEB)
    assert refused.returncode == 5
    assert "socket was removed" in refused.stderr
    assert "kernel" in own.ok("ps", WEB)
    assert "killed" in own.ok("kill", WEB)
    assert not processes_of(f"umid={WEB}")
