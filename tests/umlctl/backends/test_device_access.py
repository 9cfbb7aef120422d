from __future__ import annotations

import pytest

from umlctl.backends import device_access
from umlctl.host.seccomp import AF_INET, AF_INET6, AF_NETLINK, AF_PACKET

TAP = "vec0:transport=tap,ifname=t0"
RAW = "vec1:transport=raw,ifname=eth0"
VIRTIO = "virtio_uml.device=/run/v.sock:1"


@pytest.mark.parametrize(
    ("word", "paths", "capabilities", "streams", "tcp"),
    [
        (TAP, {device_access.TUN}, set(), False, False),
        ("eth0=tuntap,t0", {device_access.TUN}, set(), False, False),
        (RAW, set(), {"CAP_NET_RAW"}, False, False),
        ("vec0:transport=bess,dst=/run/port", set(), set(), False, False),
        ("eth0=daemon,,unix,/run/switch.ctl", set(), set(), True, False),
        ("eth0=slirp", set(), set(), True, True),
        ("vec0:transport=vde,vnl=vde:///run/sw", set(), set(), True, False),
        (VIRTIO, set(), set(), True, False),
        ("vfio_uml.device=0000:00:01.0", {device_access.VFIO}, set(), False, False),
        ("con1=tty:/dev/ttyS0", {"/dev/ttyS0"}, set(), False, False),
        ("con1=fd:0,tty:/dev/ttyS1", {"/dev/ttyS1"}, set(), False, False),
        ("ssl1=port:9000", set(), set(), True, True),
        ("con1=xterm", set(device_access.TERMINALS), set(), True, True),
        ("con1=pts", set(), set(), False, False),
        ("console=tty0", set(), set(), False, False),
        ("con=none", set(), set(), False, False),
        ("ubd1=/disk", set(), set(), False, False),
        ("mem=64M", set(), set(), False, False),
        ("init=/tap", set(), set(), False, False),
        ("con1=rubbish:", set(), set(), False, False),
    ],
)
def test_device_needs_of_the_host(
    word: str, paths: set[str], capabilities: set[str], streams: bool, tcp: bool
) -> None:
    found = device_access.of_device(word)
    assert (set(found.paths), set(found.capabilities)) == (paths, capabilities)
    assert (found.streams, found.tcp) == (streams, tcp)
    assert AF_INET in found.families or not tcp


@pytest.mark.parametrize(
    ("word", "families"),
    [
        (TAP, set()),
        ("eth0=tuntap,t0", set()),
        ("vec0:transport=bess,dst=/run/port", set()),
        ("vec0:transport=fd,fd=3", set()),
        ("eth0=daemon,,unix,/run/switch.ctl", set()),
        ("vec0:transport=vde,vnl=vde:///run/sw", set()),
        ("vec0:transport=vde,vnl=cmd://id", set()),
        ("vec0:transport=vde,vnl=vxvde://", {AF_INET, AF_INET6, AF_NETLINK}),
        (RAW, {AF_PACKET}),
        ("vec0:transport=hybrid,ifname=t0", {AF_PACKET}),
        ("eth0=mcast", {AF_INET, AF_INET6, AF_NETLINK}),
        ("vec0:transport=gre,src=10.0.0.1,dst=10.0.0.2", {AF_INET, AF_INET6, AF_NETLINK}),
        ("eth0=pcap,eth0", {AF_INET, AF_INET6, AF_NETLINK, AF_PACKET}),
        ("con1=pts", set()),
    ],
)
def test_device_needs_families_of_sockets(word: str, families: set[int]) -> None:
    assert device_access.of_device(word).families == families


def test_kernel_has_what_its_command_line_needs_and_what_all_have() -> None:
    has = device_access.of_command(["/linux", "mem=64M", TAP, 'con1="tty:/dev/ttyS0"'])
    assert has.paths == {*device_access.ALWAYS, device_access.TUN, "/dev/ttyS0"}
    assert not has.streams


@pytest.mark.parametrize(
    ("started", "given", "device", "how"),
    [
        ([], [], TAP, "with --rw /dev/net/tun"),
        ([TAP], [], "vec1:transport=tap,ifname=t1", ""),
        ([], ["/dev/net"], TAP, ""),
        ([], [], RAW, "with it, or with --confine off"),
        ([], [], VIRTIO, "with it, or with --confine off"),
        ([], [], "eth0=mcast", "with it, or with --confine off"),
        (["eth1=ucast,,10.0.0.1"], [], "eth0=mcast", ""),
        ([VIRTIO], [], VIRTIO, ""),
        ([], [], "ssl1=port:9000", "with it, or with --confine off"),
        ([], [], "con1=tty:/dev/ttyS0", "with --rw /dev/ttyS0"),
        ([], [], "con1=pts", ""),
        ([], [], "ubd1=/any", ""),
    ],
)
def test_what_a_confined_guest_cannot_have_later_is_told_with_what_helps(
    started: list[str], given: list[str], device: str, how: str
) -> None:
    assert device_access.lacking(device_access.of_command(started), given, device) == how


def test_path_is_below_a_directory_by_whole_names() -> None:
    assert device_access.is_below("/a/b", "/a")
    assert device_access.is_below("/a", "/a")
    assert device_access.is_below("/a/b", "/")
    assert device_access.is_below("/a/b", "/a/")
    assert not device_access.is_below("/ab", "/a")


def test_plug_of_a_vde_switch_makes_its_socket_there() -> None:
    word = "vec0:transport=vde,vnl=vde:///run/sw"
    assert device_access.switches(word) == ["/run/sw"]
    assert device_access.switches("eth0=vde,/run/sw,,3") == ["/run/sw"]
    others = (
        "eth0=vde",
        "eth0=daemon,,unix,/a.ctl",
        "eth0=slirp",
        "eth0=rubbish",
        TAP,
        "vec0:",
        "",
    )
    for other in (*others, "vec0:transport=vde,vnl=vxvde://", "vec0:transport=vde,vnl=/run/sw"):
        assert device_access.switches(other) == []
    has = device_access.of_device(word)
    assert device_access.lacking(has, ["/run/sw"], word.replace("0", "1")) == ""
    assert device_access.lacking(has, [], word) == "with --rw /run/sw"
