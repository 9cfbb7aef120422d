"""Networks of real guests: switches without root, the internet through the user, taps."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from tests.live.conftest import wait_for
from tests.umlctl.networks.test_pcapng import packets
from umlctl.host import processes
from umlctl.networks import interfaces

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.live.conftest import House

MEGABYTES = 100


@pytest.fixture
def pair(house: House, umid: str) -> Iterator[tuple[str, str]]:
    """Two guests with shells."""
    other = f"{umid}-b"
    for name in (umid, other):
        house.start(name)
        house.has_shell(name)
    yield umid, other
    house.umlctl("kill", other)
    wait_for(lambda: not house.leftovers(other), f"nothing is left of {other}", 10)


def join(house: House, guest: str, address: str, *words: str) -> None:
    """Plug a NIC in and set it up."""
    shown = json.loads(house.ok("nic", "add", guest, *words, "--guest-addr", address, "--json"))
    nic = shown["name"]
    house.shell(guest, f"ip addr add {address} dev {nic} && ip link set {nic} up")


def is_up(house: House, guest: str) -> None:
    """A NIC of kind user that a guest was started with is set up."""
    if not shutil.which("ip", path=GUEST_PATH):  # else our init has done it
        house.shell(
            guest,
            "ip addr add 10.0.2.15/24 dev vec0 && ip link set vec0 up && "
            "ip route add default via 10.0.2.2",
        )


def reach(house: House, guest: str, address: str) -> None:
    """Wait for an answer: a busy host may let either end stand still for longer than `ping`
    waits."""
    ping = f"busybox ping -c 1 -W 1 {address}"
    wait_for(lambda: house.try_shell(guest, ping)[0] == 0, f"{guest} reaches {address}")


GUEST_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where our init program looks."""
RECEIVE = """
import hashlib, socket
listener = socket.create_server(("", 5000))
open("/tmp/listens", "w")
connection, _ = listener.accept()
digest = hashlib.sha256()
while data := connection.recv(1 << 16):
    digest.update(data)
connection.sendall(digest.hexdigest().encode())
"""
SEND = """
import hashlib, random, socket, sys
piece = random.Random(1).randbytes(1 << 20)
digest = hashlib.sha256()
with socket.create_connection((sys.argv[1], 5000)) as connection:
    for _ in range(int(sys.argv[2])):
        connection.sendall(piece)
        digest.update(piece)
    connection.shutdown(socket.SHUT_WR)
    assert connection.recv(100).decode() == digest.hexdigest()
"""


def send(house: House, source: str, sink: str, address: str, megabytes: int) -> None:
    """Move bytes from one guest to another by TCP; they arrive as they were sent."""
    house.shell(sink, f"python3 -c '{RECEIVE}' >/tmp/err 2>&1 &")
    wait_for(lambda: house.ask(sink, "proc 1/root/tmp/listens").ok, "it listens")
    house.shell(source, f"python3 -c '{SEND}' {address} {megabytes}")


def network(house: House, name: str) -> dict[str, object]:
    shown: dict[str, object] = json.loads(house.ok("network", "show", name, "--json"))
    return shown


@pytest.mark.timeout(240)
def test_two_guests_on_a_switch_reach_each_other(house: House, pair: tuple[str, str]) -> None:
    one, other = pair
    join(house, one, "10.9.0.1/24", "--switch", "lan")
    join(house, other, "10.9.0.2/24", "--switch", "lan")
    reach(house, one, "10.9.0.2")
    reach(house, other, "10.9.0.1")
    send(house, one, other, "10.9.0.2", MEGABYTES)
    (nic,) = json.loads(house.ok("nic", "list", one, "--json"))
    assert nic["host"]["traffic"]["sent_bytes"] > MEGABYTES << 20
    assert nic["host"]["traffic"]["received_frames"] > 0
    assert "lan" in house.ok("network", "list")
    ports = network(house, "lan")["ports"]
    assert {port["pid"] for port in ports} == {house.status(name)["pid"] for name in pair}  # type: ignore[attr-defined]


@contextlib.contextmanager
def capturing(house: House, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """`umlctl capture WORDS`, which has begun."""
    process = subprocess.Popen(
        house.command("capture", *words),
        env=house.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    with process:
        try:
            assert any(b"Ctrl-C ends it" in line for line in process.stderr)
            yield process
        finally:
            process.send_signal(signal.SIGINT)


def frames_in(house: House, name: str) -> int:
    """How many frames a switch has taken."""
    ports = network(house, name)["ports"]
    return sum(port["in_frames"] for port in ports)  # type: ignore[attr-defined]


def test_what_guests_say_is_captured_whole(
    house: House, pair: tuple[str, str], tmp_path: Path
) -> None:
    one, other = pair
    join(house, one, "10.9.0.1/24", "--switch", "heard")
    join(house, other, "10.9.0.2/24", "--switch", "heard")
    reach(house, one, "10.9.0.2")
    path = tmp_path / "file"
    earliest = frames_in(house, "heard")
    with capturing(house, "heard", "-w", str(path)) as process:
        least = frames_in(house, "heard")
        house.shell(one, "busybox ping -c 20 -i 0.1 10.9.0.2")
        least = frames_in(house, "heard") - least
    assert process.returncode == 0
    most = frames_in(house, "heard") - earliest
    found = packets(path.read_bytes())
    assert least <= len(found) <= most
    assert {f"{one} vec0", f"{other} vec0"} <= {name for name, *_ in found}


def switch_of(house: House, name: str) -> object:
    """The pid of a network's switch; None if it has none, as for a moment after that was killed."""
    done = house.umlctl("network", "show", name, "--json")
    return json.loads(done.stdout).get("pid") if done.returncode == 0 else None


def test_capture_of_a_nic_goes_on_at_the_next_switch(house: House, pair: tuple[str, str]) -> None:
    one, other = pair
    join(house, one, "10.9.0.1/24", "--switch", "again")
    join(house, other, "10.9.0.2/24", "--switch", "again")
    reach(house, one, "10.9.0.2")
    with capturing(house, one, "vec0", "-c", "2", "icmp", "and", "src", "10.9.0.1") as process:
        was = network(house, "again")["pid"]
        assert isinstance(was, int)
        os.kill(was, signal.SIGKILL)
        while process.poll() is None:  # some may be lost: the capture begins anew too
            reach(house, one, "10.9.0.2")
        assert process.stdout is not None
        lines = process.stdout.read().splitlines()
    assert process.returncode == 0
    assert len(lines) == 2
    assert all(b"IP 10.9.0.1 > 10.9.0.2: ICMP echo" in line for line in lines)


def test_link_of_a_nic_is_slow_or_cut_and_stays_so(house: House, pair: tuple[str, str]) -> None:
    one, other = pair
    join(house, one, "10.9.0.1/24", "--switch", "far")
    join(house, other, "10.9.0.2/24", "--switch", "far")
    reach(house, one, "10.9.0.2")
    house.ok("nic", "set", one, "vec0", "--delay", "20ms")
    killed = network(house, "far")["pid"]
    assert isinstance(killed, int)
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: switch_of(house, "far") not in (killed, None), "there is another switch")
    reach(house, other, "10.9.0.1")
    said = house.shell(other, "busybox ping -c 3 -W 20 10.9.0.1")
    quickest = float(said.rpartition("min/avg/max = ")[2].split("/")[0])
    assert quickest >= 40, "each way takes 20 ms"
    assert "delay 20ms" in house.ok("nic", "list", one)
    house.ok("nic", "set", one, "vec0", "--reset", "--down")
    assert house.try_shell(other, "busybox ping -c 2 -W 1 10.9.0.1")[0] != 0
    house.ok("nic", "set", one, "vec0", "--up")
    reach(house, other, "10.9.0.1")


def test_a_killed_switch_is_replaced_and_the_guests_do_not_notice(
    house: House, pair: tuple[str, str]
) -> None:
    one, other = pair
    join(house, one, "10.9.0.1/24", "--switch", "mortal")
    join(house, other, "10.9.0.2/24", "--switch", "mortal")
    reach(house, one, "10.9.0.2")
    for _ in range(3):
        was = network(house, "mortal")["pid"]
        assert isinstance(was, int)
        os.kill(was, signal.SIGKILL)
        reach(house, one, "10.9.0.2")
        assert network(house, "mortal")["pid"] != was
        assert house.shell(one, "cat /sys/class/net/vec0/operstate").strip() in ("up", "unknown")
    # A guest that had lost its switch would compute without end.
    before = house.status(one)["cpu"]
    house.shell(one, "sleep 1")
    assert house.status(one)["cpu"] - before < 0.4


def test_a_switch_outlives_the_supervisor(house: House, umid: str) -> None:
    with house.running(umid, "--nic", "switch=stays,addr=10.9.1.1/24") as process:
        house.has_shell(umid)
        if shutil.which("ip", path=GUEST_PATH):  # our init has set it up
            house.shell(umid, "ip addr show vec0 | grep -q 10.9.1.1")
        else:
            house.shell(umid, "ip link set vec0 up")
        pid = network(house, "stays")["pid"]
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert network(house, "stays")["pid"] == pid
        assert len(network(house, "stays")["ports"]) == 1  # type: ignore[arg-type]
        house.ok("kill", umid)


class _Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"from the host's loopback")

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def host_server() -> Iterator[int]:
    """A web server on the host's loopback; its port."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def fetch(port: int) -> bytes:
    """What comes from a port of the host's loopback."""
    found = b""
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as connection:
            connection.sendall(b"GET /file HTTP/1.0\r\n\r\n")
            while piece := connection.recv(4096):
                found += piece
    except OSError:
        pass
    return found.partition(b"\r\n\r\n")[2]


def restarts(house: House, umid: str) -> list[dict[str, object]]:
    """What its history has of restarts of what its networks need."""
    story = [json.loads(line) for line in house.ok("events", umid, "--json").splitlines()]
    return [event for event in story if event["event"] == "helper restarted"]


def test_a_guest_behind_the_user_reaches_the_host_and_is_reached(house: House, umid: str) -> None:
    port = free_port()
    house.start(umid, "--nic", f"user,forward={port}:80")
    house.has_shell(umid)
    with host_server() as served:
        is_up(house, umid)
        got = house.shell(umid, f"busybox wget -q -O - http://10.0.2.2:{served}/")
        assert got == "from the host's loopback"
    assert house.shell(umid, "cat /etc/resolv.conf") == "nameserver 10.0.2.3"
    # It serves others while a connection hangs whose other end was killed.
    house.shell(
        umid, "mkdir /tmp/www; echo from the guest >/tmp/www/file; busybox httpd -p 80 -h /tmp/www"
    )
    wait_for(lambda: fetch(port) == b"from the guest\n", "the forward leads into the guest")
    (nic,) = house.table(umid).values()
    shown = network(house, nic["network"])
    uplink = shown["uplink"]
    assert isinstance(uplink, dict)
    # What it needs is restarted if it dies, with the forwards.
    os.kill(uplink["pid"], signal.SIGKILL)
    wait_for(lambda: fetch(port) == b"from the guest\n", "the forward leads into the guest again")
    wait_for(lambda: restarts(house, umid), "it is told")
    (restarted,) = restarts(house, umid)
    assert (restarted["helper"], restarted["network"]) == ("slirp4netns", nic["network"])
    switch = shown["pid"]
    assert isinstance(switch, int)
    os.kill(switch, signal.SIGKILL)
    wait_for(lambda: fetch(port) == b"from the guest\n", "also after the switch has been killed")
    pids: list[int] = [network(house, nic["network"])["pid"]]  # type: ignore[list-item]
    pids.append(network(house, nic["network"])["uplink"]["pid"])  # type: ignore[index]
    house.ok("kill", umid)
    wait_for(lambda: not any(processes.start_time(pid) for pid in pids), "both end with it")


def test_an_isolated_guest_does_not_reach_the_hosts_loopback(house: House, umid: str) -> None:
    house.start(umid, "--nic", "user,isolated")
    house.has_shell(umid)
    is_up(house, umid)
    with host_server() as served:
        status, _ = house.try_shell(
            umid, f"busybox timeout 2 busybox wget -q -O - http://10.0.2.2:{served}/"
        )
        assert status


def test_a_forward_whose_port_is_taken_is_refused(house: House, umid: str) -> None:
    house.start(umid)
    with host_server() as taken:
        refused = house.umlctl("nic", "add", umid, "--user", "--forward", f"{taken}:80")
    assert refused.returncode == 1
    assert str(taken) in refused.stderr
    assert house.table(umid) == {}
    assert house.umlctl("network", "show", f"{umid}..0").returncode == 7, "its switch is gone"


def test_a_guest_on_a_tap_reaches_the_host(house: House, umid: str) -> None:
    """As root; anybody else is told what it takes, and nothing is touched."""
    bridge = f"ub{os.getpid()}"
    if not (interfaces.may_configure() and os.path.isdir("/sys/class/net")):
        refused = house.umlctl("network", "create", bridge, "--bridge")
        assert refused.returncode == 7
        assert "ip link add" in refused.stderr or "no /sys/class/net" in refused.stderr
        house.start(umid)
        refused = house.umlctl("nic", "add", umid, "--tap", "auto")
        assert refused.returncode == 1
        assert house.table(umid) == {}
        return
    house.ok("network", "create", bridge, "--bridge", "--address", "10.99.7.1/24")
    try:
        house.start(umid)
        house.has_shell(umid)
        join(house, umid, "10.99.7.2/24", "--tap", "auto", "--bridge", bridge)
        tap = house.table(umid)["vec0"]["tap"]
        reach(house, umid, "10.99.7.1")
        busy = house.umlctl("network", "rm", bridge)
        assert busy.returncode != 0
        assert f"{umid}'s vec0" in busy.stderr
        house.ok("reboot", umid)
        wait_for(lambda: house.status(umid)["reboots"] == 1, "it reboots")
        house.has_shell(umid)
        house.shell(umid, "ip addr add 10.99.7.2/24 dev vec0 && ip link set vec0 up")
        reach(house, umid, "10.99.7.1")
        house.ok("kill", umid)
        wait_for(lambda: not os.path.exists(f"/sys/class/net/{tap}"), "the tap goes with its guest")
    finally:
        house.umlctl("kill", umid)
        house.ok("network", "rm", bridge)
    assert not os.path.exists(f"/sys/class/net/{bridge}")


def test_hooks_run_with_the_networks_facts_and_may_refuse(house: House, umid: str) -> None:
    house.start(umid)
    name = f"hooked{os.getpid()}"
    said = 'echo "$UMLCTL_GUEST $UMLCTL_NIC $UMLCTL_NETWORK $UMLCTL_MAC"'
    house.ok("network", "create", name, "--up", f"{said} is up", "--down", f"{said} is down")
    house.ok("nic", "add", umid, "--switch", name)
    mac = house.table(umid)["vec0"]["mac"]
    assert f"{umid} vec0 {name} {mac} is up" in house.ok("logs", umid)
    house.ok("nic", "rm", umid, "vec0")
    assert f"{umid} vec0 {name} {mac} is down" in house.ok("logs", umid)
    house.ok("network", "rm", name)
    house.ok("network", "create", name, "--up", "echo not today; exit 3")
    refused = house.umlctl("nic", "add", umid, "--switch", name)
    assert refused.returncode == 1
    assert "ended with 3" in refused.stderr
    assert "not today" in house.ok("logs", umid)
    assert house.table(umid) == {}
    house.ok("network", "rm", name)
    assert name not in house.ok("network", "list")


def test_profile_is_stored_as_what_it_stands_for(house: House, umid: str) -> None:
    house.start(umid, "--profile", "lab", "--restart", "on-failure")
    (nic,) = json.loads(house.ok("nic", "list", umid, "--json"))
    assert nic["asked"] == "user,nic=0"
    house.ok("enable", umid)
    try:
        (row,) = [
            r for r in json.loads(house.ok("list", "--enabled", "--json")) if r["umid"] == umid
        ]
        assert row["definition"]["nics"] == ["user,nic=0"]
        assert row["definition"]["restart"] == "on-failure"
    finally:
        house.ok("disable", umid)
