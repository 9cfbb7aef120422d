from __future__ import annotations

import os
import time
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from umlctl.backends import hooks
from umlctl.errors import HostError
from umlctl.host import paths, processes
from umlctl.host.files import write_atomically
from umlctl.networks import switch_client
from umlctl.networks.definitions import Network
from umlctl.state.records import DeviceEntry

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
        self.entry = DeviceEntry(name="vec2", asked="switch=lan", kernel="", network="lan")
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


def test_what_a_hook_says_last_is_in_the_log_though_it_ends_just_then(
    joined: Joined, house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look for its words and the one for its end."""
    real = switch_client.readable

    def look(_descriptor: int, _deadline: float) -> bool:
        monkeypatch.setattr(switch_client, "readable", real)
        with open(f"{house}/hook") as file:
            os.waitid(os.P_PID, int(file.read()), os.WEXITED | os.WNOWAIT)
        return False

    os.mkfifo(f"{house}/hook")
    hooked(f"echo $$ >{house}/hook; echo last words")
    monkeypatch.setattr(switch_client, "readable", look)
    joined.run("up")
    assert joined.said == "the kernel's words\nlast words\n"


@pytest.mark.usefixtures("crowded")
def test_hooks_run_in_a_process_that_has_many_files_open(joined: Joined) -> None:
    hooked("echo joined")
    joined.run("up")
    assert joined.said == "the kernel's words\njoined\n"


def test_hook_that_takes_too_long_is_ended_with_all_its_processes(
    joined: Joined, house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = switch_client.readable
    found: list[int] = []

    def look(descriptor: int, deadline: float) -> bool:
        if not found:  # its time is over when it has begun what it does
            with open(f"{house}/hook") as file:
                found.append(int(file.read()))
        return real(descriptor, deadline)

    os.mkfifo(f"{house}/hook")
    hooked(f"sleep 600 & echo $! >{house}/hook; wait")
    monkeypatch.setattr(switch_client, "readable", look)
    monkeypatch.setattr(hooks, "HOOK_TIMEOUT", 0.0)
    with pytest.raises(HostError, match=r"the `up` hook of lan took more than 0 seconds"):
        joined.run("up")
    (pid,) = found
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
    real = os.read
    taken = 0

    def read(descriptor: int, size: int) -> bytes:
        nonlocal taken
        data = real(descriptor, size)
        taken += len(data)
        return data

    def now() -> float:
        """Its time is over when it has said more than is kept."""
        over = taken > 2 * hooks.MAX_OUTPUT_BYTES
        return time.monotonic() + (hooks.HOOK_TIMEOUT if over else 0.0)

    hooked("yes")
    monkeypatch.setattr(os, "read", read)
    monkeypatch.setattr(hooks, "time", SimpleNamespace(monotonic=now, sleep=time.sleep))
    with pytest.raises(HostError, match=r"took more than 10 seconds"):
        joined.run("up")
    assert os.path.getsize(joined.log) == len("the kernel's words\n") + hooks.MAX_OUTPUT_BYTES


def test_hook_may_leave_something_running(joined: Joined, house: str) -> None:
    hooked(f"echo said; (sleep 0.3; touch {house}/later) & exec >&- 2>&-")
    begin = time.monotonic()
    joined.run("up")
    assert "said\n" in joined.said
    while not os.path.exists(f"{house}/later"):
        assert time.monotonic() < begin + DEADLINE
        time.sleep(0.01)
