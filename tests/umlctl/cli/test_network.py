from __future__ import annotations

import json
import os
import shutil
import sys
from typing import TYPE_CHECKING, Any

import pytest

from umlctl import exitcodes
from umlctl.cli import main, network
from umlctl.errors import HostError
from umlctl.guest.definition import Definition
from umlctl.host import naming, processes
from umlctl.networks import definitions, interfaces, segments, taps
from umlctl.networks.definitions import BRIDGE, Network
from umlctl.networks.interfaces import Bridge
from umlctl.state import leases, records
from umlctl.state.leases import Use
from umlctl.state.records import DeviceEntry, Record

if TYPE_CHECKING:
    from collections.abc import Callable


class Host:
    """What runs on this host, and the command line in front of it."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self.bridges: list[Bridge] = []
        self.running: dict[str, dict[str, Any] | HostError] = {}
        self.made: list[tuple[str, str]] = []
        self.out = self.err = ""
        self._capfd = capfd

    def status(self, name: str) -> dict[str, Any]:
        status = self.running[name]
        if isinstance(status, HostError):
            raise status
        return status

    def main(self, *words: str) -> int:
        code = main.run(["network", *words])
        sys.stdout.flush()
        self.out, self.err = self._capfd.readouterr()
        return code


@pytest.fixture
def host(house: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Host:
    made = Host(capfd)
    make: Callable[[str, str], None] = lambda name, address: made.made.append((name, address))  # noqa: E731
    monkeypatch.setattr(interfaces, "bridges", lambda: made.bridges)
    monkeypatch.setattr(taps, "make_bridge", make)
    monkeypatch.setattr(segments, "names", lambda: sorted(made.running))
    monkeypatch.setattr(segments, "running", lambda name: name in made.running)
    monkeypatch.setattr(segments.Segment, "status", lambda segment: made.status(segment.name))
    return made


# Making


def test_network_is_defined(host: Host) -> None:
    words = "lab --user --forward 8080:10.0.2.15:80 --up true --down false"
    assert host.main("create", *words.split()) == 0
    assert host.out == "network lab is defined\n"
    assert definitions.load("lab") == Network(
        name="lab", user=True, forwards=("8080:10.0.2.15:80",), up="true", down="false"
    )


def test_bridge_is_made(host: Host) -> None:
    assert host.main("create", "br0", "--bridge", "--address", "10.1.0.1/24") == 0
    assert host.made == [("br0", "10.1.0.1/24")]
    assert definitions.load("br0") == Network(name="br0", kind=BRIDGE, address="10.1.0.1/24")


def test_network_that_is_made_and_removed_is_said_in_json(host: Host) -> None:
    assert host.main("create", "lan", "--user", "--json") == 0
    made = json.loads(host.out)
    assert (made["name"], made["kind"], made["state"], made["user"]) == (
        *("lan", "switch", "defined"),
        True,
    )
    host.main("list", "--json")
    assert json.loads(host.out) == [made]
    assert host.main("rm", "lan", "--json") == 0
    assert json.loads(host.out) == {"name": "lan", "kept": None}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Missing argument 'NAME'"),
        (["lan", "--nonsense"], "No such option"),
        (["br0", "--bridge", "--user"], "are for switches"),
        (["br0", "--bridge", "--forward", "1:2"], "are for switches"),
        (["lan", "--address", "10.0.0.1/24"], "--address is for a bridge"),
        (["lan", "--forward", "1:2"], "add --user"),
        (["a/b"], "a network's name is made of"),
        (["n" * 40], "at most 32"),
    ],
)
def test_wrong_command_line_is_a_usage_error_and_nothing_is_made(
    host: Host, words: list[str], said: str
) -> None:
    assert host.main("create", *words) == exitcodes.USAGE
    assert said in host.err
    assert host.made == []
    assert definitions.load_all() == []


def test_network_that_is_there_is_an_error(host: Host) -> None:
    assert host.main("create", "lan") == 0
    assert host.main("create", "lan") == exitcodes.FAILED
    assert "umlctl: there is a network lan" in host.err


# Removing


def test_network_is_removed(host: Host) -> None:
    host.main("create", "lan")
    assert host.main("rm", "lan") == 0
    assert host.out == "network lan is gone\n"
    assert host.main("rm", "lan") == exitcodes.FAILED
    assert "there is no network lan" in host.err


# Showing


@pytest.fixture
def full(host: Host) -> Host:
    host.main("create", "lan", "--user")
    host.main("create", "br0", "--bridge")
    host.running = {
        "lan": {"ports": [{"number": 1}, {"number": 2}], "uplink": {"up": True}},
        "quick": {"ports": [], "uplink": None},
        "stuck": HostError("the switch does not answer"),
    }
    host.bridges = [Bridge("br0", ("t0",), True), Bridge("docker0", (), True)]
    return host


def test_networks_are_listed(full: Host) -> None:
    assert full.main("list") == 0
    heading, *rows = [line.split() for line in full.out.splitlines()]
    assert heading == ["NETWORK", "KIND", "STATE", "PORTS", "UPLINK"]
    assert rows == [
        ["br0", "bridge", "there", "1", "-"],
        ["docker0", "bridge", "there", "0", "-"],
        ["lan", "switch", "running", "2", "slirp4netns"],
        ["quick", "switch", "running", "0", "-"],
        ["stuck", "switch", "silent", "-", "-"],
    ]


def test_networks_as_json(full: Host) -> None:
    assert full.main("list", "--json") == 0
    found = {each["name"]: each for each in json.loads(full.out)}
    assert list(found) == ["br0", "docker0", "lan", "quick", "stuck"]
    assert (found["lan"]["defined"], found["lan"]["user"]) == (True, True)
    assert not found["quick"]["defined"]
    assert found["stuck"]["problem"] == "the switch does not answer"


def test_one_network_is_shown_whole(full: Host) -> None:
    assert full.main("show", "lan", "--json") == 0
    found = json.loads(full.out)
    assert found["ports"] == [{"number": 1, "guest": None}, {"number": 2, "guest": None}]
    assert (found["defined"], found["nics"]) == (True, [])
    assert full.main("show", "none") == exitcodes.FAILED
    assert full.err == "umlctl: there is no network none; `umlctl network list` shows them\n"


def entry(name: str, mac: str, **fields: Any) -> DeviceEntry:
    return DeviceEntry(name=name, asked="", kernel="", mac=mac, **fields)


def test_who_is_on_a_switch_is_shown_with_names_and_addresses(
    full: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    macs = [f"02:00:00:00:00:0{number}" for number in range(5)]
    uses = [
        Use("a", entry("vec0", macs[0], network="lan", addr="10.0.2.50/24")),
        Use("b", entry("vec0", macs[1], network="lan")),
        Use("b", entry("vec1", macs[2], network="other")),
        Use("c", entry("vec0", macs[3], network="lan")),
    ]
    monkeypatch.setattr(leases, "devices_of", lambda _guests: uses)
    monkeypatch.setattr(records, "load_all", lambda: iter([record("b", 7)]))
    moved = {"in_bytes": 5, "out_bytes": 6144, "in_rate": 125_000, "out_rate": 3, "dropped": 7}
    full.running["lan"] = {
        "uplink": {"up": True},
        "addresses": "10.0.2.0/24",
        "names": "10.0.2.1",
        "forwards": [
            {"forward": "tcp:127.0.0.1:8080:80", "error": None},
            {"forward": "udp:127.0.0.1:53:53", "error": "in use"},
        ],
        "ports": [
            {"id": 1, "pid": 6, "macs": [macs[0]], **moved},
            {"id": 2, "pid": 7, "macs": [], **moved},
            {"id": 3, "pid": 8, "macs": [macs[4]], **moved},
        ],
    }
    assert full.main("show", "lan") == 0
    first, plan, *forwards, heading, one, two, three, stranger = full.out.splitlines()
    assert first == "lan: switch, running, uplink slirp4netns"
    assert plan == "addresses of 10.0.2.0/24, names from 10.0.2.1"
    assert forwards == ["forward tcp:127.0.0.1:8080:80", "forward udp:127.0.0.1:53:53: in use"]
    assert heading.split() == ["GUEST", "NIC", "MAC", "ADDRESS", "PORT", *MOVED]
    said = ["5", "6.0K", "1.0", "Mbit/s", "24", "bit/s", "7"]
    assert one.split() == ["a", "vec0", macs[0], "10.0.2.50/24", "1", *said]
    assert two.split() == ["b", "vec0", macs[1], "-", "2", *said]
    assert three.split() == ["c", "vec0", macs[3], "-", "-", "-", "-", "-", "-", "-"]
    assert stranger.split() == ["-", "-", macs[4], "-", "3", *said]


MOVED = ("SENT", "RECEIVED", "SENDS", "RECEIVES", "DROPPED")


def record(umid: str, pid: int) -> Record:
    definition = Definition(umid=umid, kernel="/linux")
    return Record(
        definition=definition, supervisor_pid=1, pid=pid, started=1, boot_id="", since=1.0
    )


def test_who_is_on_a_bridge_is_shown_with_the_tap(
    full: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    full.bridges = [Bridge("br0", ("eth9", "t0"), True)]
    counted = {"sent_bytes": 2048, "received_bytes": 5, "dropped": 0}
    monkeypatch.setattr(interfaces, "traffic", lambda name: counted if name == "t0" else {})
    mac = "02:00:00:00:00:01"
    use = Use("a", entry("vec0", mac, bridge="br0", tap="t0"))
    monkeypatch.setattr(leases, "devices_of", lambda _guests: [use])
    assert full.main("show", "br0") == 0
    first, _, guest, other = full.out.splitlines()
    assert first == "br0: bridge, there"
    assert guest.split() == ["a", "vec0", mac, "-", "t0", "2.0K", "5", "-", "-", "0"]
    assert other.split() == ["-", "-", "-", "-", "eth9", *"-----"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("quick", "quick: switch, running"),
        ("stuck", "stuck: switch, silent, the switch does not answer"),
        ("idle", "idle: switch, defined"),
    ],
)
def test_network_without_guests_is_shown_with_its_range(full: Host, name: str, said: str) -> None:
    full.main("create", "idle")
    assert full.main("show", name) == 0
    of = definitions.range_of(name)
    assert full.out == f"{said}\naddresses of {of}\n"
    assert full.main("show", name, "--json") == 0
    assert json.loads(full.out)["addresses"] == str(of)


@pytest.mark.parametrize("name", ["docker0", f"a{naming.PRIVATE_MARK}0"])
def test_network_that_has_no_plan_is_one_line(full: Host, name: str) -> None:
    full.running[f"a{naming.PRIVATE_MARK}0"] = {"ports": [], "uplink": {"up": True}}
    assert full.main("show", name) == 0
    assert "addresses" not in full.out
    assert len(full.out.splitlines()) == 1


def test_range_of_a_network_with_a_way_out_is_that_of_slirp4netns(full: Host) -> None:
    full.main("create", "out", "--user")
    assert full.main("show", "out") == 0
    assert full.out.splitlines()[1] == "addresses of 10.0.2.0/24"


def test_empty_list_says_how_a_network_is_made(host: Host) -> None:
    assert host.main("list") == 0
    assert host.out == ""
    assert "`umlctl nic add GUEST --switch NAME`" in host.err
    assert host.main("list", "--json") == 0
    assert json.loads(host.out) == []


# What this host has


@pytest.mark.parametrize("able", [True, False])
def test_what_each_kind_of_nic_needs_is_checked(
    host: Host, monkeypatch: pytest.MonkeyPatch, able: bool
) -> None:
    monkeypatch.setattr(processes, "has_capability", lambda _name: able)
    monkeypatch.setattr(interfaces, "may_configure", lambda: able)
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}" if able else None)
    monkeypatch.setattr(os, "access", lambda path, _mode: able or path != "/dev/net/tun")
    why = "" if able else "/dev/net/tun: Permission denied"
    monkeypatch.setattr(network, "unable", lambda: why)
    assert host.main("check", "--json") == 0
    found = json.loads(host.out)
    assert {each["why"] for each in found} == {"", why}
    met = {each["nic"]: each["met"] for each in found}
    assert met["--switch NAME"] is True
    assert met["--transport l2tpv3,udp=1,..."] is True
    assert met["--user"] is able
    assert met["--tap NAME"] is able
    assert met["--tap auto"] is able
    assert met["--transport raw,..."] is able
    assert met["--switch NAME, by the host's kernel"] is able
    assert host.main("check") == 0
    heading, *rows = host.out.splitlines()
    if not able:
        assert rows.pop() == f"switches move all frames, at a tenth of the speed: {why}"
    assert heading.split() == ["NIC", "NEEDS", "MET"]
    assert len(rows) == len(met)
    assert all(row.endswith(("yes", "no")) for row in rows)
