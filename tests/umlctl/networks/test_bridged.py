"""The bridge beside a switch."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.switches import DEADLINE, ask, frame, lan, mac, make, place, until
from umlctl.host import netns, paths
from umlctl.networks import forwarding, segments
from umlctl.networks.bridge import Bridge, unable
from umlctl.networks.bridged import Bridged
from umlctl.networks.captured import decode
from umlctl.networks.interfaces import IFF_TAP
from umlctl.networks.link import PLAIN
from umlctl.networks.tap_connection import TapConnection
from umlctl.networks.taps import IFF_NO_PI

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.switches import Running

__all__ = ["lan", "make", "place"]

pytestmark = pytest.mark.skipif(bool(unable()), reason="this host has no such namespace")

ONE = mac(1).hex(":")


@pytest.fixture
def bridged(lan: Running) -> Iterator[tuple[Running, int]]:
    """A switch with a bridge, and which namespace that is in."""
    inode = lan.ask({"namespace": True})["namespace"]
    yield lan, inode
    lan.ask({"quit": True})


def made(lan: Running, name: str, inode: int, address: str = ONE) -> dict[str, object]:
    asked = {"name": name, "mac": address, "guest": "demo", "namespace": inode}
    return lan.ask({"tap": asked})


def opened(lan: Running, name: str) -> TapConnection:
    """A tap as a kernel has it open, but for the header before each frame."""
    namespace = netns.held_by(lan.process.pid)
    assert namespace is not None
    there = Bridge("lan", namespace)
    try:
        made = TapConnection(there._attached(name, IFF_TAP | IFF_NO_PI))
        until(lambda: there.is_open(name))  # the host notes that a moment later
        return made
    finally:
        there.close()


def taken(connection: TapConnection) -> list[bytes]:
    view = memoryview(bytearray(forwarding.MAX_FRAME_BYTES))
    found = []
    try:
        while size := connection.recv_into(view, len(view), 0):
            found.append(bytes(view[:size]))
    except BlockingIOError:
        pass
    return found


def test_guest_of_the_bridge_and_guest_of_the_switch_hear_each_other(
    bridged: tuple[Running, int],
) -> None:
    lan, inode = bridged
    assert made(lan, "t1", inode) == {"ok": True}
    tap, port = opened(lan, "t1"), lan.port()
    sent = frame(mac(2), mac(1), b"to the switch")
    tap.send(sent)
    while port.recv(2000) != sent:
        pass
    answer = frame(mac(1), mac(2), b"to the bridge")
    port.send(answer)
    until(lambda: answer in taken(tap))
    (row,) = [each for each in lan.ports() if each.get("tap")]
    assert (row["tap"], row["guest"], row["macs"]) == ("t1", "demo", [ONE])
    assert row["in_frames"] >= 1
    assert lan.ask({"untap": "t1"}) == {"ok": True}
    assert not [each for each in lan.ports() if each.get("tap")]
    tap.close()


def test_tap_for_a_kernel_that_is_elsewhere_is_refused(bridged: tuple[Running, int]) -> None:
    lan, inode = bridged
    assert made(lan, "t1", inode + 1) == {"error": "its kernel is in another namespace"}
    assert "error" in made(lan, "a name that is none", inode)
    assert "error" in made(lan, "t1", inode, "no address")
    assert not [each for each in lan.ports() if each.get("tap")]


def test_open_tap_keeps_the_switch_and_its_end_ends_it(make: Callable[..., Running]) -> None:
    brief = make("--idle", "0.3")
    port, client = brief.connect(paths.network_port("lan")), brief.client()
    inode = ask(client, {"namespace": True})["namespace"]
    asked = {"name": "t1", "mac": ONE, "guest": "demo", "namespace": inode}
    assert ask(client, {"tap": asked}) == {"ok": True}
    tap = opened(brief, "t1")
    port.close()
    with pytest.raises(subprocess.TimeoutExpired):
        brief.process.wait(1)
    tap.close()
    assert brief.process.wait(DEADLINE) == 0


def test_switch_that_was_killed_comes_back_with_a_bridge(place: str) -> None:
    segment = segments.start("lan", idle=600)
    inode = segment.namespace()
    segment.make_tap("t1", ONE, "demo", inode)
    namespace = netns.held_by(segments.pid_of("lan"))
    assert namespace is not None
    with namespace:  # as a guest in it does
        os.kill(segments.pid_of("lan"), signal.SIGKILL)
        until(lambda: not segments.running("lan"))
        other = segments.start("other", idle=600)
        assert other.namespace() != inode
        other.quit()
        segments.revive("lan")
        assert segment.status()["bridged"]


def test_nic_with_a_character_is_off_the_bridge(bridged: tuple[Running, int]) -> None:
    lan, inode = bridged
    made(lan, "t1", inode)
    made(lan, "t2", inode, mac(2).hex(":"))
    one, two = opened(lan, "t1"), opened(lan, "t2")
    lan.ask({"link": {"mac": ONE, "pid": os.getpid(), "down": True}})
    one.send(frame(mac(2), mac(1), b"cut"))
    lan.ask({"link": {"mac": ONE, "pid": os.getpid()}})
    kept = frame(mac(2), mac(1), b"not cut")
    until(lambda: one.send(kept) and kept in (found := taken(two)) and found)
    assert frame(mac(2), mac(1), b"cut") not in taken(two)
    one.close()
    two.close()


def test_guest_is_captured_on_though_its_tap_is_made_anew(bridged: tuple[Running, int]) -> None:
    lan, inode = bridged
    made(lan, "t1", inode)
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(DEADLINE)
    with its:
        asked = {"capture": os.getpid(), "guest": "demo"}
        assert lan.ask(asked, [its.fileno()]) == {"ok": True}
    with ours:
        before = descriptors(lan)
        for number in range(3):  # as a guest that reboots has it
            made(lan, "t1", inode)
            sent = frame(mac(2), mac(1), b"%d" % number)
            tap = opened(lan, "t1")
            tap.send(sent)
            while (found := decode(ours.recv(1 << 17))) is None or found.frame != sent:
                pass
            tap.close()
        until(lambda: descriptors(lan) == before)


def test_next_switch_knows_the_taps_that_are_on_its_bridge_alone(place: str) -> None:
    segment, other = segments.start("lan", idle=600), segments.start("other", idle=600)
    inode = segment.namespace()
    assert other.namespace() == inode
    for name, address in (("t1", 1), ("t2", 2), ("t3", 3)):
        segment.make_tap(name, mac(address).hex(":"), "demo", inode)
    first = segments.pid_of("lan")
    os.kill(first, signal.SIGKILL)
    until(lambda: not segments.running("lan"))
    other.make_tap("t2", mac(2).hex(":"), "demo", inode)  # which was plugged there meanwhile
    namespace = netns.held_by(segments.pid_of("other"))
    assert namespace is not None
    there = Bridge("lan", namespace)
    try:
        there.set_apart("t3")  # and then it was killed, before it had written that down
        segments.revive("lan")
        assert {each["tap"] for each in segment.status()["ports"]} == {"t1", "t3"}
        until(lambda: there.is_on("t3"))
        with open(f"{paths.network_dir('lan')}/log") as log:
            assert "cannot" not in log.read()
        segment.set_link(mac(1).hex(":"), os.getpid(), PLAIN._replace(down=True))
        assert there.is_on("t1", apart=True)
        with open(f"{paths.network_dir('lan')}/log") as log:
            assert "cannot" not in log.read()
        segment.quit()
        until(lambda: not there.is_there("t1"))
        assert there.is_there("t2")
    finally:
        there.close()
        other.quit()


def descriptors(lan: Running) -> int:
    return len(os.listdir(f"/proc/{lan.process.pid}/fd"))


def test_without_a_namespace_there_is_none_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []

    class Switch:
        name = "lan"

        def say(self, text: str) -> None:
            said.append(text)

    def refused(_network: str) -> None:
        raise OSError(13, "Permission denied", "/dev/net/tun")

    monkeypatch.setattr("umlctl.networks.namespaces.obtain", refused)
    none = Bridged(Switch())  # type: ignore[arg-type]
    none.begin([])
    assert not none
    assert said == ["cannot find its bridge again: /dev/net/tun: Permission denied"]
    assert none.status() == []
    assert not none.is_used()
