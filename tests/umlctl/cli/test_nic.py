from __future__ import annotations

import errno
import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from umlctl import exitcodes
from umlctl.networks import definitions
from umlctl.networks.definitions import Network
from umlctl.protocol.status import Device

if TYPE_CHECKING:
    from tests.umlctl.cli.conftest import Supervisor

MAC = "02:00:00:00:00:01"
PLAIN: dict[str, Any] = {
    "name": "vec0",
    "asked": "transport=fd,fd=3",
    "kernel": f"vec0:transport=fd,fd=3,mac={MAC}",
    "boot": False,
    "mac": MAC,
    "observed": {"operstate": "down"},
}
USER = PLAIN | {"asked": "user", "network": "demo.0", "addr": "10.0.2.15/24"}
SWITCH = PLAIN | {"asked": "switch=lan", "network": "lan"}
TAP = PLAIN | {"asked": "tap=t0", "tap": "t0"}
BRIDGED = PLAIN | {"asked": "tap=auto", "tap": "t0", "bridge": "br0"}

# Adding


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ("--user", "user"),
        (
            "--user --forward 8080:80 --forward 53:53 --isolated",
            "user,forward=8080:80,forward=53:53,isolated",
        ),
        (
            f"--switch lan --nic 3 --mac {MAC} --guest-addr 10.0.0.5/24",
            f"switch=lan,nic=3,mac={MAC},addr=10.0.0.5/24",
        ),
        ("--tap auto --bridge br0", "tap=auto,bridge=br0"),
        ("--tap t0", "tap=t0"),
        (
            "--transport gre,src=10.0.0.1,dst=10.0.0.2 --nic 1",
            "transport=gre,src=10.0.0.1,dst=10.0.0.2,nic=1",
        ),
    ],
)
def test_options_become_the_words_of_plug(supervisor: Supervisor, options: str, sent: str) -> None:
    supervisor.answer(f"plug nic {sent}", PLAIN)
    assert supervisor.main("nic", "add", "demo", *options.split()) == 0, supervisor.err
    assert supervisor.asked == [f"plug nic {sent}"]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (PLAIN, f"vec0 is in demo, MAC {MAC}, fd\n"),
        (USER, f"vec0 is in demo, MAC {MAC}, behind slirp4netns\n"),
        (SWITCH, f"vec0 is in demo, MAC {MAC}, switch lan\n"),
        (TAP, f"vec0 is in demo, MAC {MAC}, tap t0\n"),
        (BRIDGED, f"vec0 is in demo, MAC {MAC}, tap t0 on br0\n"),
    ],
)
def test_end_on_the_host_is_told(supervisor: Supervisor, entry: dict[str, Any], said: str) -> None:
    supervisor.answer("plug nic switch=x", entry)
    assert supervisor.main("nic", "add", "demo", "--switch", "x") == 0
    assert supervisor.out.startswith(said)


def test_what_the_guest_has_to_do_is_told(supervisor: Supervisor) -> None:
    supervisor.answer("plug nic user", USER)
    assert supervisor.main("nic", "add", "demo", "--user") == 0
    assert "ip addr add 10.0.2.15/24 dev vec0" in supervisor.out


def test_way_out_of_a_switch_with_an_uplink_is_told(supervisor: Supervisor) -> None:
    definitions.create(Network(name="lan", user=True))
    supervisor.answer("plug nic switch=lan,addr=10.0.2.50/24", SWITCH | {"addr": "10.0.2.50/24"})
    options = ("--switch", "lan", "--guest-addr", "10.0.2.50/24")
    assert supervisor.main("nic", "add", "demo", *options) == 0
    assert "ip route add default via 10.0.2.2\nnames are resolved by 10.0.2.1, " in supervisor.out
    planned = "switch=lan,addr=dhcp"
    supervisor.answer(f"plug nic {planned}", SWITCH | {"addr": "10.0.2.50/24", "asked": planned})
    assert supervisor.main("nic", "add", "demo", "--switch", "lan", "--guest-addr", "dhcp") == 0
    assert "in the guest: any DHCP client, which gets 10.0.2.50/24" in supervisor.out


def test_added_nic_as_json(supervisor: Supervisor) -> None:
    supervisor.answer("plug nic user", USER)
    assert supervisor.main("nic", "add", "demo", "--user", "--json") == 0
    assert json.loads(supervisor.out) == msgspec.structs.asdict(Device(**USER))


def test_dangerous_nic_has_to_be_forced(supervisor: Supervisor) -> None:
    words = ("nic", "add", "demo", "--transport", "raw,ifname=e0,bpffile=/p")
    assert supervisor.main(*words) == exitcodes.USAGE
    assert "unless you insist" in supervisor.err
    text = "!plug nic transport=raw,ifname=e0,bpffile=/p"
    supervisor.answer(text, PLAIN)
    assert supervisor.main(*words, "--force") == 0
    assert supervisor.asked == [text]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Missing argument 'GUEST'"),
        (["demo"], "needs one of --user, --switch, --tap and --transport"),
        (["demo", "--user", "--switch", "lan"], "takes only one of"),
        (["demo", "--switch", ""], "'--switch': it is empty"),
        (["demo", "--user", "--nic", "64"], "range"),
        (["demo", "--user", "--bridge", "br0"], "a bridge is joined by a tap"),
        (["demo", "--switch", "lan", "--forward", "1:2"], "are for a NIC of kind user"),
        (["demo", "--tap", "auto", "--isolated"], "are for a NIC of kind user"),
        (["demo", "--user", "--mac", "x"], "MAC address"),
        (["demo", "--user", "--guest-addr", "x"], "is no address"),
        (["demo", "--transport", "nonsense"], "transport= one of"),
        (["demo", "--transport", "tap"], "tap needs ifname="),
        (["demo", "--switch", "lan,ro"], "not 'ro'"),
        (["demo", "user"], "unexpected extra argument"),
    ],
)
def test_wrong_command_line_is_a_usage_error_and_nothing_is_sent(
    supervisor: Supervisor, words: list[str], said: str
) -> None:
    assert supervisor.main("nic", "add", *words) == exitcodes.USAGE
    assert said in supervisor.err
    assert supervisor.asked == []


def test_refusal_is_the_supervisors_word(supervisor: Supervisor) -> None:
    supervisor.refuse("plug nic tap=t0", "vec0: there is no tap t0", -errno.EINVAL)
    assert supervisor.main("nic", "add", "demo", "--tap", "t0") == exitcodes.REFUSED
    assert (supervisor.out, supervisor.err) == ("", "umlctl: demo: vec0: there is no tap t0\n")


# Removing


@pytest.mark.parametrize(
    ("name", "sent"), [("vec3", "vec3"), ("3", "vec3"), ("eth0", "eth0"), ("0", "vec0")]
)
def test_nic_is_removed_by_its_name(supervisor: Supervisor, name: str, sent: str) -> None:
    assert supervisor.main("nic", "rm", "demo", name) == 0
    assert supervisor.asked == [f"remove {sent}"]
    assert supervisor.out == f"{sent} is out of demo\n"


@pytest.mark.parametrize("name", ["ubd1", "vec", "eth", "vecx", "lan", "mem", ""])
def test_what_is_no_nic_is_not_removed(supervisor: Supervisor, name: str) -> None:
    assert supervisor.main("nic", "rm", "demo", name) == exitcodes.USAGE
    assert supervisor.asked == []


# Listing

MOVED = ("SENT", "RECEIVED")


def test_nics_are_listed_with_their_end_on_the_host(supervisor: Supervisor) -> None:
    disk = {"name": "ubd1", "asked": "/a", "kernel": "ubd1=/a", "boot": False, "observed": None}
    traffic = {"sent_bytes": 2048, "received_bytes": 5}
    lost = {"name": "eth1", "asked": "eth1=mcast", "kernel": "eth1=mcast", "observed": None}
    supervisor.table = [
        USER,
        disk,
        SWITCH | {"name": "vec1", "host": {"traffic": traffic}},
        lost | {"problem": "it is lost"},
    ]
    assert supervisor.main("nic", "list", "demo") == 0
    heading, user, switch, other = supervisor.out.splitlines()
    assert heading.split() == ["NIC", "MAC", "STATE", "HOST", "ADDRESS", *MOVED, "NOTE"]
    assert user.split() == ["vec0", MAC, "down", "behind", "slirp4netns", "10.0.2.15/24", "-", "-"]
    assert switch.split() == ["vec1", MAC, "down", "switch", "lan", "-", "2.0K", "5"]
    assert other.startswith("eth1  -")
    assert other.endswith("it is lost")
    assert supervisor.main("nic", "list", "demo", "--json") == 0
    assert [row["name"] for row in json.loads(supervisor.out)] == ["vec0", "vec1", "eth1"]


@pytest.mark.parametrize(
    ("entry", "column", "said"),
    [
        (PLAIN | {"observed": {"operstate": "unknown"}}, "STATE", "up"),
        (PLAIN | {"observed": {}}, "STATE", "-"),
        (PLAIN | {"note": "the tap t0 is gone"}, "NOTE", "the tap t0 is gone"),
        (PLAIN | {"note": "a note", "problem": "a problem"}, "NOTE", "a problem"),
        (
            USER | {"asked": "user,forward=8080:80,forward=udp:53:53"},
            "HOST",
            "behind slirp4netns 8080:80 udp:53:53",
        ),
        (PLAIN | {"name": "eth0", "asked": "eth0=mcast"}, "HOST", "mcast"),
        (PLAIN | {"name": "eth0", "asked": "eth0=daemon,,unix,/x"}, "HOST", "daemon"),
        (PLAIN | {"asked": "vec0:transport=gre,src=a,dst=b"}, "HOST", "gre"),
    ],
)
def test_list_shows_what_a_nic_is(
    supervisor: Supervisor, entry: dict[str, Any], column: str, said: str
) -> None:
    supervisor.table = [entry]
    assert supervisor.main("nic", "list", "demo") == 0
    heading, row = supervisor.out.splitlines()
    at = heading.index(column)
    assert row[at:].startswith(said)
    assert row[at + len(said) :].startswith("  ") or row[at + len(said) :] == ""
