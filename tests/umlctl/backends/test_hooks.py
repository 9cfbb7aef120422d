from __future__ import annotations

import os
import time
from typing import Any

import msgspec
import pytest

from umlctl.backends import hooks
from umlctl.errors import HostError
from umlctl.host import paths, processes
from umlctl.host.files import write_atomically
from umlctl.networks.definitions import Network
from umlctl.state.records import Entry

DEADLINE = 30.0


def hooked(up: str = "", down: str = "", **fields: Any) -> Network:
    network = Network(**{"name": "lan", "up": up, "down": down, **fields})
    path = f"{paths.state_dir()}/networks"
    os.makedirs(path, exist_ok=True)
    write_atomically(f"{path}/{network.name}.json", msgspec.json.encode(network))
    return network


class Joined:
    """A NIC on the switch `lan`, and the log of its guest."""

    def __init__(self, log: str) -> None:
        self.log = log
        self.entry = Entry(name="vec2", asked="switch=lan", kernel="", network="lan")
        self.entry.mac, self.entry.addr = "02:00:00:00:00:02", "10.0.0.5/24"
        with open(log, "w") as file:
            file.write("the kernel's words\n")

    def run(self, which: str) -> None:
        hooks.run(which, self.entry, "demo", self.log)

    @property
    def said(self) -> str:
        with open(self.log) as file:
            return file.read()


@pytest.fixture
def joined(house: str) -> Joined:
    return Joined(f"{house}/console.log")


def test_hooks_run_with_what_there_is_to_know(joined: Joined, house: str) -> None:
    hooked(
        *(
            f"env -u UMLCTL_KERNEL -u UMLCTL_DIR | grep ^UMLCTL_ | sort >{house}/{which}"
            for which in ("up", "down")
        )
    )
    joined.run("up")
    expected = {
        "UMLCTL_GUEST": "demo",
        "UMLCTL_NIC": "vec2",
        "UMLCTL_MAC": "02:00:00:00:00:02",
        "UMLCTL_ADDR": "10.0.0.5/24",
        "UMLCTL_NETWORK": "lan",
        "UMLCTL_TAP": "",
        "UMLCTL_BRIDGE": "",
    }
    assert not os.path.exists(f"{house}/down")
    joined.run("down")
    for which in ("up", "down"):
        with open(f"{house}/{which}") as file:
            assert dict(line.rstrip("\n").split("=", 1) for line in file) == expected


def test_what_a_hook_says_is_in_the_guests_log(joined: Joined) -> None:
    hooked("echo joined; echo beware >&2; cat", "echo left")
    joined.run("up")
    joined.run("down")
    assert joined.said == "the kernel's words\njoined\nbeware\nleft\n"


@pytest.mark.usefixtures("crowded")
def test_hooks_run_in_a_process_that_has_many_files_open(joined: Joined) -> None:
    hooked("echo joined")
    joined.run("up")
    assert joined.said == "the kernel's words\njoined\n"


def test_hook_that_takes_too_long_is_ended_with_all_its_processes(
    joined: Joined, house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "HOOK_TIMEOUT", 1.0)
    hooked(f"sleep 600 & echo $! >{house}/pid; wait")
    with pytest.raises(HostError, match=r"the `up` hook of lan took more than 1 seconds"):
        joined.run("up")
    with open(f"{house}/pid") as file:
        pid = int(file.read())
    started = processes.start_time(pid)
    end = time.monotonic() + DEADLINE
    while started is not None and processes.alive(pid, started):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_network_whose_definition_is_spoilt_is_told(joined: Joined) -> None:
    hooked("true")
    with open(f"{paths.state_dir()}/networks/lan.json", "w") as file:
        file.write("{")
    with pytest.raises(HostError, match="the network lan cannot be read"):
        joined.run("down")


def test_hook_that_talks_without_end_fills_no_disk(
    joined: Joined, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "HOOK_TIMEOUT", 0.5)
    hooked("yes")
    with pytest.raises(HostError, match=r"took more than 0\.5 seconds"):
        joined.run("up")
    assert 1000 < os.path.getsize(joined.log) < 2 * hooks.MAX_OUTPUT


def test_hook_may_leave_something_running(joined: Joined, house: str) -> None:
    hooked(f"echo said; (sleep 0.3; touch {house}/later) & exec >&- 2>&-")
    begin = time.monotonic()
    joined.run("up")
    assert "said\n" in joined.said
    while not os.path.exists(f"{house}/later"):
        assert time.monotonic() < begin + DEADLINE
        time.sleep(0.01)
