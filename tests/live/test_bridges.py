"""Networks whose frames the host's kernel moves: guests that were started on one."""

from __future__ import annotations

import json
import os
import shutil
import signal
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.live.conftest import wait_for
from tests.live.test_names import is_leased, resolved
from tests.live.test_networks import (
    GUEST_PATH,
    capturing,
    fetch,
    free_port,
    host_server,
    join,
    reach,
    send,
)
from tests.umlctl.networks.test_pcapng import packets
from umlctl.host import netns
from umlctl.networks.bridge import unable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.live.conftest import House

pytestmark = pytest.mark.skipif(bool(unable()), reason="this host has no such namespace")

NETWORK = "quick"
MEGABYTES = 20


@pytest.fixture(scope="module")
def pair(house: House) -> Iterator[tuple[str, str]]:
    """Two guests that were started on one network, and have shells."""
    one, other = (f"q{os.getpid()}{end}" for end in "ab")
    for number, name in enumerate((one, other), 1):
        house.start(name, "--nic", f"switch={NETWORK},addr=10.9.0.{number}/24")
        house.has_shell(name)
        house.shell(name, f"ip addr replace 10.9.0.{number}/24 dev vec0 && ip link set vec0 up")
    space = netns.inode_of(house.status(one)["pid"])
    yield one, other
    for name in (one, other):
        house.umlctl("kill", name)
        wait_for(partial(no_leftovers, house, name), f"nothing is left of {name}", 10)
    for each in json.loads(house.ok("network", "list", "--json")):
        house.umlctl("network", "rm", each["name"])
    wait_for(lambda: not users_of(space), "nobody keeps the namespace")


def no_leftovers(house: House, name: str) -> bool:
    return not house.leftovers(name)


def users_of(space: int) -> list[int]:
    """The processes that are in a namespace, or hold one."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    found = []
    for pid in pids:
        held = netns.held_by(pid) if pid != os.getpid() else None
        if held is not None:
            with held:
                found += [pid] if held.inode == space else []
        found += [pid] if netns.inode_of(pid) == space else []
    return found


def shown(house: House, network: str) -> dict[str, Any]:
    """A network; nothing while it has no switch."""
    done = house.umlctl("network", "show", network, "--json")
    found: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {}
    return found


def ports(house: House, network: str = NETWORK) -> dict[str, dict[str, Any]]:
    """The taps of a network, by the guest."""
    rows = shown(house, network).get("ports", ())
    return {each["guest"]: each for each in rows if each.get("tap")}


def replaced(house: House, network: str = NETWORK) -> None:
    """A switch is killed, and there is another one."""
    was = house.network(network)["pid"]
    os.kill(was, signal.SIGKILL)
    wait_for(lambda: shown(house, network).get("pid", was) != was, "there is another switch")
    wait_for(lambda: ports(house, network), "which has found the taps")


def test_what_guests_send_is_moved_by_the_hosts_kernel(house: House, pair: tuple[str, str]) -> None:
    one, other = pair
    assert "transport=tap" in house.table(one)["vec0"]["kernel"]
    reach(house, one, "10.9.0.2")
    send(house, one, other, "10.9.0.2", MEGABYTES)
    sent = ports(house)[one]["in_bytes"]
    assert sent > MEGABYTES << 20
    status = house.network(NETWORK)
    assert status["bridged"]
    assert "by the host's kernel" in house.ok("network", "show", NETWORK)
    (nic,) = json.loads(house.ok("nic", "list", one, "--json"))
    assert nic["host"]["traffic"]["sent_bytes"] >= sent
    spaces = {netns.inode_of(house.status(name)["pid"]) for name in pair}
    assert len(spaces) == 1
    assert 0 not in spaces


def test_guest_that_was_started_without_is_on_the_same_network(
    house: House, pair: tuple[str, str], umid: str
) -> None:
    house.start(umid)
    house.has_shell(umid)
    join(house, umid, "10.9.0.3/24", "--switch", NETWORK)
    assert "transport=bess" in house.table(umid)["vec0"]["kernel"]
    reach(house, umid, "10.9.0.1")
    reach(house, pair[1], "10.9.0.3")
    send(house, pair[0], umid, "10.9.0.3", 2)


def test_killed_switch_is_replaced_and_nothing_is_lost(house: House, pair: tuple[str, str]) -> None:
    one, _ = pair
    reach(house, one, "10.9.0.2")
    replaced(house)
    assert ports(house).keys() == set(pair)
    reach(house, one, "10.9.0.2")
    assert not house.table(one)["vec0"].get("problem")


def test_link_is_slow_or_cut_and_quick_again(house: House, pair: tuple[str, str]) -> None:
    one, other = pair
    reach(house, one, "10.9.0.2")
    house.ok("nic", "set", one, "vec0", "--delay", "20ms")
    replaced(house)
    reach(house, other, "10.9.0.1")
    said = house.shell(other, "busybox ping -c 3 -W 20 10.9.0.1")
    assert float(said.rpartition("min/avg/max = ")[2].split("/")[0]) >= 40, "20 ms each way"
    assert "delay 20ms" in house.ok("nic", "list", one)
    house.ok("nic", "set", one, "vec0", "--reset", "--down")
    assert house.try_shell(other, "busybox ping -c 2 -W 1 10.9.0.1")[0] != 0
    house.ok("nic", "set", one, "vec0", "--reset")
    reach(house, other, "10.9.0.1")


def test_what_they_say_is_captured_whole(
    house: House, pair: tuple[str, str], tmp_path: Path
) -> None:
    one, other = pair
    reach(house, one, "10.9.0.2")
    for where in ((NETWORK,), (one, "vec0")):
        path = tmp_path / where[0]
        with capturing(house, *where, "-w", str(path), "icmp") as process:
            said = house.shell(one, "busybox ping -c 20 -i 0.1 -W 20 10.9.0.2")
        assert process.returncode == 0
        assert "20 packets received" in said
        found = packets(path.read_bytes())
        assert len(found) == 40
        if where[0] == NETWORK:
            assert {name for name, *_ in found} == {f"{one} vec0", f"{other} vec0"}


def test_nics_come_and_go_and_stay_over_a_reboot(house: House, umid: str) -> None:
    house.start(umid, "--nic", "switch=comes")
    house.has_shell(umid)
    for _ in range(3):
        house.ok("nic", "add", umid, "--switch", "goes")
        assert "transport=tap" in house.table(umid)["vec1"]["kernel"]
        house.shell(umid, "ip link set vec1 up && ip link set vec1 down")
        house.ok("nic", "rm", umid, "vec1")
        assert not ports(house, "goes")
    refused = house.umlctl("nic", "add", umid, "--tap", "auto")
    assert refused.returncode != 0
    assert "start it with this NIC" in refused.stderr
    house.shell(umid, "ip link set vec0 up")
    house.ok("reboot", umid)
    house.has_shell(umid)
    house.shell(umid, "ip link set vec0 up && grep -q 1 /sys/class/net/vec0/carrier")
    assert "failed to select tap" not in house.ok("logs", umid)


def test_adopted_guest_keeps_its_links_and_leaves_nothing(house: House, umid: str) -> None:
    with house.running(umid, "--nic", "switch=left,addr=10.9.1.1/24") as process:
        house.has_shell(umid)
        process.send_signal(signal.SIGKILL)
        process.wait()
        switch = house.network("left")["pid"]
        os.kill(switch, signal.SIGKILL)
        house.ok("adopt", umid)
        wait_for(lambda: shown(house, "left").get("pid", switch) != switch, "a switch is there")
        house.shell(umid, "ip link show vec0 >/dev/null")
        house.ok("kill", umid)
    house.ok("network", "rm", "left")


def test_way_out_is_on_the_bridge_and_comes_again(house: House, umid: str) -> None:
    port, name = free_port(), f"out{os.getpid()}"
    house.ok("network", "create", name, "--user", "--forward", f"{port}:10.0.2.20:80")
    house.start(umid, "--nic", f"switch={name},addr=10.0.2.20/24")
    house.has_shell(umid)
    if shutil.which("ip", path=GUEST_PATH):  # our init has set it up, with its way out
        assert "default via 10.0.2.2 dev vec0" in house.shell(umid, "ip route show default")
        names = house.shell(umid, "cat /etc/resolv.conf").splitlines()
        assert names == ["nameserver 10.0.2.1", "nameserver 10.0.2.3"]
    else:
        house.shell(umid, "ip addr replace 10.0.2.20/24 dev vec0 && ip link set vec0 up")
        known = partial(resolved, house, umid, umid, "10.0.2.1")
        wait_for(lambda: known() == ["10.0.2.20"], "names of guests are known there")
    with host_server() as served:
        got = house.shell(umid, f"busybox wget -q -O - http://10.0.2.2:{served}/")
        assert got == "from the host's loopback"
    house.shell(umid, "mkdir /tmp/www; echo here >/tmp/www/file; busybox httpd -p 80 -h /tmp/www")
    wait_for(lambda: fetch(port) == b"here\n", "the forward leads into the guest")
    uplink = house.network(name)["uplink"]
    assert uplink["in_frames"] > 0, "it is the bridge that counts"
    is_leased(house, umid, "vec0", "10.0.2.20", "10.0.2.1")  # and not by slirp4netns
    os.kill(uplink["pid"], signal.SIGKILL)
    wait_for(lambda: fetch(port) == b"here\n", "the forward leads there again")
    replaced(house, name)
    wait_for(lambda: fetch(port) == b"here\n", "also after the switch has been killed")
    is_leased(house, umid, "vec0", "10.0.2.20", "10.0.2.1")
    house.ok("kill", umid)
    house.ok("network", "rm", name)
