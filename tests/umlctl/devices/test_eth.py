from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.devices.eth import FIELDS, OPAQUE_TRANSPORTS, SWITCH_SOCKET, VDE_PLUG, Eth, parse
from umlctl.devices.needs import CONTROL, PROGRAM, TAP, Need
from umlctl.errors import UsageError

PLUG = Need(PROGRAM, VDE_PLUG)
MAC = "02:00:00:00:00:0a"

octets = st.integers(0, 255)
macs = st.tuples(octets.map(lambda n: n & 0xFE | 2), *[octets] * 5).map(
    lambda each: ":".join(f"{octet:02x}" for octet in each)
)
ports = st.integers(1, 65535).map(str)
words = st.text("abcXYZ/.-_ 0", max_size=8)
VALUES = {
    "tap": st.from_regex(r"[a-z][a-z0-9]{0,14}", fullmatch=True),
    "mac": macs,
    "ip": st.ip_addresses(v=4).map(str),
    "type": st.just("unix"),
    "socket": st.from_regex(r"/[a-z]{0,20}", fullmatch=True),
    "switch": st.from_regex(r"/[a-z]{0,20}", fullmatch=True),
    "port": ports,
    "remote port": ports,
    "group": words,
    "mode": st.from_regex(r"0?[0-7]{3}", fullmatch=True),
    "description": words,
    "ttl": octets.map(str),
}
ADDRESSES = {
    "mcast": st.ip_addresses(network="224.0.0.0/4").map(str),
    "ucast": st.ip_addresses(v=4).map(str),
}
anything = st.text(st.characters(), max_size=30)


@st.composite
def interfaces(draw: st.DrawFn) -> Eth:
    transport = draw(st.sampled_from([*FIELDS, *OPAQUE_TRANSPORTS]))
    if transport in OPAQUE_TRANSPORTS:
        place = OPAQUE_TRANSPORTS[transport]
        args = draw(st.lists(words, max_size=4))
        if place is not None and place < len(args):
            args[place] = draw(macs | st.just(""))
        return Eth(draw(st.integers(0, 2**31 - 1)), transport, tuple(args))
    names = [name for name, _ in FIELDS[transport]]
    needed = {"tuntap": 1, "ucast": 2}.get(transport, 0)
    args = []
    for name in names[: draw(st.integers(needed, len(names)))]:
        value = draw(ADDRESSES[transport] if name == "address" else VALUES[name])
        required = name == "tap" or (transport, name) == ("ucast", "address")
        args.append(value if required or draw(st.booleans()) else "")
    return Eth(draw(st.integers(0, 2**31 - 1)), transport, tuple(args))


@given(interfaces())
def test_what_is_printed_reads_the_same(eth: Eth) -> None:
    again = parse(str(eth))
    assert again == eth
    assert hash(again) == hash(eth)
    assert (again.number, again.transport, again.args) == (eth.number, eth.transport, eth.args)


@given(interfaces(), macs)
def test_mac_is_put_in_its_place(eth: Eth, mac: str) -> None:
    changed = eth.with_mac(mac)
    if eth.transport in ("slip", "pcap"):
        assert changed is eth
    else:
        assert changed.mac == mac
        assert changed.with_mac(mac) == changed
        assert (eth.with_mac(eth.mac) == eth) if eth.mac else True


@pytest.mark.parametrize(
    ("text", "with_mac"),
    [
        ("eth0=tuntap,tap0", f"eth0=tuntap,tap0,{MAC}"),
        ("eth0=tuntap,tap0,,10.0.0.1", f"eth0=tuntap,tap0,{MAC},10.0.0.1"),
        ("eth1=daemon", f"eth1=daemon,{MAC}"),
        ("eth1=daemon,,unix,/tmp/ctl", f"eth1=daemon,{MAC},unix,/tmp/ctl"),
        ("eth2=vde", f"eth2=vde,,{MAC}"),
        ("eth2=vde,/run/vde.ctl,,3,net,0700,mine", f"eth2=vde,/run/vde.ctl,{MAC},3,net,0700,mine"),
        ("eth3=mcast", f"eth3=mcast,{MAC}"),
        ("eth3=mcast,,239.192.168.1,1102,1", f"eth3=mcast,{MAC},239.192.168.1,1102,1"),
        ("eth4=ucast,,10.0.0.1,1102,1103", f"eth4=ucast,{MAC},10.0.0.1,1102,1103"),
        ("eth5=slirp,,/usr/bin/slirp", f"eth5=slirp,{MAC},/usr/bin/slirp"),
        ("eth5=ethertap,tap0", f"eth5=ethertap,tap0,{MAC}"),
        ("eth5=slip,10.0.0.1", "eth5=slip,10.0.0.1"),
    ],
)
def test_fields_are_where_the_kernel_looks_for_them(text: str, with_mac: str) -> None:
    eth = parse(text)
    assert (str(eth), eth.name, eth.mac) == (text, text[:4], "")
    assert str(eth.with_mac(MAC)) == with_mac
    assert repr(eth) == f"Eth({text!r})"


def test_fields_have_names() -> None:
    eth = parse(f"eth0=vde,/run/vde.ctl,{MAC.upper()},3")
    assert (eth.number, eth.transport, eth.mac) == (0, "vde", MAC)
    assert (eth.get("switch"), eth.get("port"), eth.get("mode")) == ("/run/vde.ctl", "3", "")
    assert eth.get("nonsense") == ""


def test_empty_fields_at_the_end_say_nothing() -> None:
    assert parse("eth0=mcast") == parse("eth0=mcast,,,")
    assert parse(f"eth0=mcast,{MAC}") == parse(f"eth0=mcast,{MAC.upper()}")
    assert parse("eth0=mcast") != parse("eth1=mcast")
    assert parse("eth0=mcast") != parse("eth0=daemon")
    assert parse("eth0=mcast") != "eth0=mcast"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "an old interface is ethN="),
        ("eth0", "an old interface is ethN="),
        ("vec0=tuntap,tap0", "an old interface is ethN="),
        ("eth=mcast", "eth has a number"),
        ("eth01=mcast", "not '01'"),
        ("eth0=", "one of tuntap, daemon, vde, mcast, ucast, slirp.* not ''"),
        ("eth0=tap,tap0", "not 'tap'"),
        ("eth0=tuntap", "tuntap needs its tap"),
        ("eth0=tuntap,,,10.0.0.1", "tuntap needs its tap"),
        ("eth0=tuntap," + "a" * 16, "tap of tuntap is an interface of 1 to 15 bytes"),
        ("eth0=tuntap,tap0,10.0.0.1", "mac of tuntap is a unicast MAC address"),
        ("eth0=tuntap,tap0,01:00:5e:00:00:01", "not '01:00:5e:00:00:01'"),
        ("eth0=tuntap,tap0,,10.0.0", "ip of tuntap is an IPv4 address"),
        ("eth0=tuntap,tap0,,,x", "tuntap has tap, mac, ip and no more, not 'x'"),
        ("eth0=daemon,,tcp", "type of daemon is `unix`"),
        ("eth0=daemon,,unix,uml.ctl", "socket of daemon is an absolute path"),
        ("eth0=daemon,,unix,/" + "a" * 107, "at most 107 bytes"),
        ("eth0=daemon,,unix,/ctl,/data", "no more, not '/data'"),
        ("eth0=vde,vde.ctl", "switch of vde is an absolute path"),
        ("eth0=vde,,,x", "port of vde is a number"),
        ("eth0=vde,,,,,0999", "mode of vde is an octal mode"),
        ("eth0=mcast,,10.0.0.1", "address of mcast is an IPv4 multicast address"),
        ("eth0=mcast,,,70000", "port of mcast is a number from 1 to 65535"),
        ("eth0=mcast,,,,256", "ttl of mcast is a number from 0 to 255"),
        ("eth0=ucast", "ucast needs its address"),
        ("eth0=slirp,x", "mac is a unicast MAC address"),
        ("eth0=mcast\0", "NUL"),
        ("eth0=slip," + "a" * 500, "shorter"),
    ],
)
def test_what_is_no_interface_is_said_to_be_none(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse(text)


def test_new_mac_must_be_one() -> None:
    with pytest.raises(UsageError, match="not 'x'"):
        parse("eth0=mcast").with_mac("x")


@pytest.mark.parametrize(
    ("text", "needs"),
    [
        ("eth0=tuntap,tap0", (Need(TAP, "tap0"),)),
        ("eth0=daemon", (Need(CONTROL, SWITCH_SOCKET),)),
        ("eth0=daemon,,unix,/run/ctl", (Need(CONTROL, "/run/ctl"),)),
        ("eth0=vde,/run/vde.ctl", (Need(CONTROL, "/run/vde.ctl"), PLUG)),
        ("eth0=vde", (PLUG,)),
        ("eth0=mcast", ()),
        ("eth0=slirp", (Need(PROGRAM, "slirp"),)),
        ("eth0=slirp,,/opt/slirp,-x", (Need(PROGRAM, "/opt/slirp"),)),
    ],
)
def test_interface_names_what_it_needs(text: str, needs: tuple[Need, ...]) -> None:
    assert parse(text).needs() == needs


@given(anything | anything.map("eth0=".__add__) | anything.map("eth0=mcast,".__add__))
def test_any_text_is_an_interface_or_a_usage_error(text: str) -> None:
    try:
        eth = parse(text)
    except UsageError:
        return
    assert str(eth) == text
