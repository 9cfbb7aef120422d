"""The way of a kernel into the namespace of its user's bridges."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from umlctl.errors import HostError, NeverStarted
from umlctl.guest.definition import Definition
from umlctl.guest.specs import parse_nic
from umlctl.host import confine, netns
from umlctl.networks import definitions, namespaces, segments
from umlctl.supervisor.launch import entrance
from umlctl.supervisor.launch.entrance import Entrance

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def find(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Entrance]:
    """`entrance.find`, with a switch whose namespace is there; the file of the test is it."""
    inode = os.stat(__file__).st_ino
    monkeypatch.delenv(namespaces.CHOICE, raising=False)
    monkeypatch.setattr(definitions, "start_switch", lambda _name: None)
    monkeypatch.setattr(definitions, "is_plain", lambda _name: False)
    monkeypatch.setattr(segments.Segment, "namespace", lambda _self: inode)
    monkeypatch.setattr(segments, "pid_of", lambda _name: 7)
    monkeypatch.setattr(
        netns, "held_by", lambda _pid: netns.NetworkNamespace(os.open(__file__, os.O_RDONLY), -1)
    )

    def found(*nics: str, **fields: Any) -> Entrance:
        definition = Definition(**{"umid": "demo", "kernel": "/bin/true", **fields})
        way = entrance.find(definition, [parse_nic(text, insist=True) for text in nics])
        way.close()
        return way

    return found


def test_guest_on_a_network_goes_in(find: Callable[..., Entrance]) -> None:
    way = find("switch=lan", "user")
    assert way.inode == os.stat(__file__).st_ino
    assert way.words[0] == "nsenter"
    assert way.words[1].startswith(f"--net=/proc/{os.getpid()}/fd/")
    assert len(way.words) == 2


@pytest.mark.parametrize(
    ("nics", "fields"),
    [
        ([], {}),
        (["user"], {}),
        (["switch=lan", "tap=auto"], {}),
        (["switch=lan", "transport=raw,ifname=eth0"], {}),
        (["switch=lan"], {"user": "nobody"}),
        (["switch=lan"], {"append": ("con1=port:9000",)}),
        (["switch=lan"], {"arguments": ("ssl0=xterm",)}),
        (["switch=lan"], {"append": ("vec9:transport=gre,src=10.0.0.1,dst=10.0.0.2",)}),
    ],
)
def test_guest_that_needs_this_hosts_network_stays(
    find: Callable[..., Entrance], nics: list[str], fields: dict[str, Any]
) -> None:
    way = find(*nics, **fields)
    assert (way.inode, way.words) == (entrance.OUTSIDE, [])


def test_guest_stays_where_it_is_forbidden(
    find: Callable[..., Entrance], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(namespaces.CHOICE, namespaces.SWITCH_ALONE)
    assert find("switch=lan").inode == entrance.OUTSIDE


def test_guest_stays_on_plain_networks(
    find: Callable[..., Entrance], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(definitions, "is_plain", lambda name: name == "slow")
    assert find("switch=slow").inode == entrance.OUTSIDE
    assert find("switch=slow", "switch=quick").inode != entrance.OUTSIDE


def test_guest_stays_whose_kernel_would_lose_its_capabilities(
    find: Callable[..., Entrance], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confine, "has_capabilities", lambda _kernel: True)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert find("switch=lan").inode == entrance.OUTSIDE


def test_guest_stays_where_there_is_no_program(
    find: Callable[..., Entrance], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert find("switch=lan").inode == entrance.OUTSIDE


def test_guest_stays_if_its_switch_has_no_namespace(
    find: Callable[..., Entrance], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_self: object) -> int:
        raise HostError("no user namespace can be made")

    monkeypatch.setattr(segments.Segment, "namespace", refused)
    assert find("switch=lan").inode == entrance.OUTSIDE


@pytest.mark.parametrize("held", [None, "/dev/null"])
def test_guest_stays_if_the_switch_has_just_ended(
    find: Callable[..., Entrance], monkeypatch: pytest.MonkeyPatch, held: str | None
) -> None:
    monkeypatch.setattr(
        netns,
        "held_by",
        lambda _pid: held and netns.NetworkNamespace(os.open(held, os.O_RDONLY), -1),
    )
    assert find("switch=lan").inode == entrance.OUTSIDE


def test_ordinary_user_enters_both_namespaces() -> None:
    way = Entrance(netns.NetworkNamespace(os.open("/", os.O_RDONLY), os.open("/", os.O_RDONLY)))
    way.close()
    assert way.words[2].startswith("--user=/proc/")
    assert way.words[3:] == ["--preserve-credentials"]


def test_failure_of_the_way_is_told_from_a_kernels() -> None:
    inside, outside = Entrance(), Entrance()
    inside.words = ["nsenter"]
    failed = NeverStarted("setarch could not start the kernel: nsenter: cannot open; see")
    assert inside.failed(failed)
    assert not outside.failed(failed)
    assert not inside.failed(NeverStarted("the kernel said nothing"))
