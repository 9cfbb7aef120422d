from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.devices import vec
from umlctl.devices.needs import (
    ADDRESS,
    CAPABILITY,
    CONTROL,
    INTERFACE,
    PROGRAM,
    SEQPACKET,
    TAP,
    Need,
)
from umlctl.devices.vec import GUARDED_OPTIONS, OPTIONS, Vec, parse
from umlctl.errors import UsageError

MAC = "02:00:00:00:00:0a"
RAW = Need(CAPABILITY, "CAP_NET_RAW")
TUNNEL = "src=10.0.0.1,dst=10.0.0.2"
SESSIONS = "rx_session=1,tx_session=2"

octets = st.integers(0, 255)
macs = st.tuples(octets.map(lambda n: n & 0xFE | 2), *[octets] * 5).map(
    lambda each: ":".join(f"{octet:02x}" for octet in each)
)
flags = st.sampled_from("01")
ports = st.integers(1, 65535).map(str)
signed = st.integers(-(2**31), 2**31 - 1)
numbers = signed.map(str) | signed.map(hex)
cookies = st.integers(0, 2**32 - 1).map(str)
hosts = st.ip_addresses(v=4).map(str) | st.just("peer.example")
ifnames = st.from_regex(r"[a-z][a-z0-9.]{0,14}", fullmatch=True)
sockets = st.from_regex(r"/[a-z /]{0,20}[a-z]", fullmatch=True)
COMMON = {
    "depth": st.integers(1, 256).map(str),
    "mac": macs,
    "gro": flags,
    "mtu": st.integers(576, 65534).map(str),
    "headroom": st.integers(0, 65535).map(str),
    "vec": flags,
}
# Of each transport, what it must have and what it may have; pairs stay together.
MUST = {
    "tap": {"ifname": ifnames},
    "hybrid": {"ifname": ifnames},
    "raw": {"ifname": ifnames},
    "gre": {"src": hosts, "dst": hosts},
    "l2tpv3": {"src": hosts, "dst": hosts, "rx_session": numbers, "tx_session": numbers},
    "bess": {"dst": sockets},
    "fd": {"fd": st.integers(0, 2**31 - 1).map(str)},
    "vde": {"vnl": st.sampled_from(["vde:///run/sw", "vxvde://239.0.0.1", "cmd://id", "/sw"])},
}
hooks = [{"bpffile": sockets}, {"bpfflash": flags}, {"ifup": sockets}]
MAY = {
    "tap": [{"ifup": sockets}],
    "hybrid": hooks,
    "raw": hooks,
    "gre": [
        {"rx_key": numbers, "tx_key": numbers},
        {"sequence": flags, "pin_sequence": flags},
        {"v6": flags},
    ],
    "l2tpv3": [
        {"udp": st.just("1"), "srcport": ports, "dstport": ports},
        {"rx_cookie": cookies, "tx_cookie": cookies},
        {"cookie64": flags},
        {"counter": flags, "pin_counter": flags},
        {"v6": flags},
    ],
    "bess": [{"src": sockets}],
    "fd": [],
    "vde": [{"port": ports}, {"mode": st.just("0700")}, {"group": ifnames}, {"descr": ifnames}],
}
anything = st.text(st.characters(), max_size=30)


@st.composite
def interfaces(draw: st.DrawFn) -> Vec:
    transport = draw(st.sampled_from(list(OPTIONS)))
    groups = draw(st.lists(st.sampled_from(MAY[transport]), max_size=3)) if MAY[transport] else []
    common = draw(st.lists(st.sampled_from(list(COMMON)), unique=True))
    drawn = {"transport": st.just(transport), **MUST[transport]}
    for group in groups:
        drawn |= group
    drawn |= {name: COMMON[name] for name in common}
    pairs = [(name, draw(values)) for name, values in drawn.items()]
    return Vec(draw(st.integers(0, 2**31 - 1)), tuple(draw(st.permutations(pairs))))


@given(interfaces())
def test_what_is_printed_reads_the_same(nic: Vec) -> None:
    again = parse(str(nic), insist=True)
    assert (again.number, again.options) == (nic.number, nic.options)
    assert again == nic
    assert hash(again) == hash(nic)


@given(interfaces(), macs)
def test_mac_is_replaced_where_it_stands(nic: Vec, mac: str) -> None:
    changed = nic.with_mac(mac)
    assert changed.mac == mac
    if nic.mac:
        assert changed.with_mac(nic.mac).options == nic.options
    else:
        assert changed.options == (*nic.options, ("mac", mac))


@pytest.mark.parametrize(
    "text",
    [
        "vec0:transport=tap,ifname=tap0,depth=128,gro=1",
        "vec1:transport=hybrid,ifname=tap0,depth=128,gro=1",
        "vec2:transport=raw,ifname=p-veth0,depth=128,gro=1",
        "vec3:transport=gre,src=192.168.129.1,dst=192.168.128.1,rx_key=1,tx_key=-1",
        "vec4:transport=l2tpv3,udp=1,src=a,dst=b,srcport=1,dstport=2,rx_session=-1,tx_session=0xf",
        f"vec4:transport=l2tpv3,src=::1,dst=::2,v6=1,{SESSIONS},counter=1,pin_counter=1",
        "vec5:transport=bess,src=/tmp/unix_src,dst=/tmp/unix dst",
        "vec6:transport=fd,fd=7,vec=0",
        f"vec7:transport=l2tpv3,{TUNNEL},{SESSIONS},cookie64=1,rx_cookie=0x1ffffffff,tx_cookie=1",
    ],
)
def test_examples_of_the_howto_are_taken(text: str) -> None:
    nic = parse(text)
    assert (str(nic), nic.name) == (text, text[:4])
    assert repr(nic) == f"Vec({text!r})"


def test_options_have_names() -> None:
    nic = parse(f"vec3:mac={MAC.upper()},ifname=tap0,transport=tap")
    assert (nic.number, nic.transport, nic.mac) == (3, "tap", MAC)
    assert (nic.get("ifname"), nic.get("mtu")) == ("tap0", "")


def test_order_of_options_says_nothing() -> None:
    one = parse(f"vec0:transport=tap,ifname=tap0,mac={MAC}")
    other = parse(f"vec0:mac={MAC.upper()},ifname=tap0,transport=tap")
    assert one == other
    assert hash(one) == hash(other)
    assert one != parse("vec0:transport=tap,ifname=tap0")
    assert one != parse(f"vec1:transport=tap,ifname=tap0,mac={MAC}")
    assert one != str(one)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "an interface is vecN:transport="),
        ("vec0", "an interface is vecN:transport="),
        ("vec0=transport=tap", "an interface is vecN:transport="),
        ("eth0:transport=tap", "an interface is vecN:transport="),
        ("vec:transport=tap,ifname=t", "vec has a number"),
        ("vec07:transport=tap,ifname=t", "not '07'"),
        ("vec0:", "OPTION=VALUE"),
        ("vec0:transport=tap,ifname=", "not 'ifname='"),
        ("vec0:transport=tap,ifname=a=b", "neither ',' nor '=', not 'ifname=a=b'"),
        ("vec0:transport=bess,dst=/a,b", "not 'b'"),
        ("vec0:transport=tap,", "not ''"),
        ("vec0:transport=tap,=x", "not '=x'"),
        (
            "vec0:ifname=tap0",
            "transport= one of tap, hybrid, raw, gre, l2tpv3, bess, fd, vde, not ''",
        ),
        ("vec0:transport=tapx,ifname=tap0", "not 'tapx'"),
        (
            "vec0:transport=mcast",
            "older interfaces: `umlctl config GUEST eth0=mcast,...`, or --nic",
        ),
        ("vec0:transport=daemon", "older interfaces: `umlctl config GUEST eth0=daemon,...`"),
        ("vec0:transport=tap", "tap needs ifname="),
        ("vec0:transport=tap,ifname=tap0,ifname=tap1", "ifname is given twice"),
        ("vec0:transport=tap,transport=raw,ifname=a", "transport is given twice"),
        ("vec0:transport=tap,ifname=" + "a" * 16, "ifname is an interface of 1 to 15 bytes"),
        ("vec0:transport=tap,ifname=a b", "not 'a b'"),
        ("vec0:transport=tap,ifname=tap0,dst=/a", "tap takes depth, mac, .* not 'dst'"),
        ("vec0:transport=tap,ifname=tap0,depth=0", "depth is a number from 1 to 256, not '0'"),
        ("vec0:transport=tap,ifname=tap0,depth=0x80", "not '0x80'"),
        ("vec0:transport=tap,ifname=tap0,mtu=575", "mtu is a number from 576 to 65534, not '575'"),
        ("vec0:transport=tap,ifname=tap0,gro=on", "gro is 0 or 1, not 'on'"),
        ("vec0:transport=tap,ifname=tap0,headroom=x", "headroom is a number"),
        ("vec0:transport=tap,ifname=tap0,mac=03:00:00:00:00:01", "mac is a unicast MAC address"),
        ("vec0:transport=tap,ifname=tap0,mac=2:0:0:0:0:1", "not '2:0:0:0:0:1'"),
        ("vec0:transport=gre,src=10.0.0.1", "gre needs dst="),
        ("vec0:transport=gre,src=::1,dst=::1", "src=::1 needs v6=1"),
        (f"vec0:transport=gre,{TUNNEL},srcport=1,dstport=2", "gre takes .* not 'srcport'"),
        (f"vec0:transport=gre,{TUNNEL},rx_key=1", "rx_key= needs tx_key="),
        (f"vec0:transport=gre,{TUNNEL},tx_key=1", "tx_key= needs rx_key="),
        (f"vec0:transport=gre,{TUNNEL},rx_key=1,txkey=1", "spells it tx_key=, not 'txkey'"),
        (f"vec0:transport=l2tpv3,{TUNNEL},rx_session=1", "l2tpv3 needs tx_session="),
        (f"vec0:transport=l2tpv3,{TUNNEL},rx_session=0xffffffff,tx_session=1", "-1 for 0xffffffff"),
        (f"vec0:transport=l2tpv3,{TUNNEL},{SESSIONS},src_port=1", "spells it srcport="),
        (f"vec0:transport=l2tpv3,{TUNNEL},{SESSIONS},udp=1", "go together"),
        (f"vec0:transport=l2tpv3,{TUNNEL},{SESSIONS},udp=0,srcport=1,dstport=2", "go together"),
        (f"vec0:transport=l2tpv3,{TUNNEL},{SESSIONS},udp=1,srcport=1", "srcport= needs dstport="),
        (f"vec0:transport=l2tpv3,{TUNNEL},{SESSIONS},tx_cookie=1", "tx_cookie= needs rx_cookie="),
        (
            f"vec0:transport=l2tpv3,{TUNNEL},{SESSIONS},rx_cookie=1,tx_cookie=0x100000000",
            "tx_cookie has 32 bits without cookie64=1",
        ),
        ("vec0:transport=bess,src=/a", "bess needs dst="),
        ("vec0:transport=vde", "vde needs vnl="),
        ("vec0:transport=vde,vnl=--daemon", "without '-' before it"),
        ("vec0:transport=vde,vnl=vde:///a,mode=9", "mode is an octal mode"),
        ("vec0:transport=vde,vnl=vde:///a,descr=cmd://id", "descr is a word of letters"),
        ("vec0:transport=vde,vnl=vde:///a,group=-a", "group is a word of letters"),
        ("vec0:transport=bess,dst=sock", "dst is an absolute path of at most 107 bytes"),
        ("vec0:transport=bess,dst=/" + "a" * 107, "at most 107 bytes"),
        ("vec0:transport=fd,fd=-1", "fd is a number"),
        ("vec0:transport=fd,fd=3\0", "NUL"),
        (f"vec0:transport=gre,src={'a' * 500},dst=b", "shorter"),
    ],
)
def test_what_is_no_interface_is_said_to_be_none(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse(text)


@pytest.mark.parametrize("transport", OPTIONS)
def test_kernel_has_room_for_every_option_at_once(transport: str) -> None:
    assert len({"transport", *vec.COMMON_OPTIONS, *OPTIONS[transport]}) <= vec.MAX_OPTIONS


@pytest.mark.parametrize(
    "option", ["bpffile=/tmp/filter", "bpfflash=1", "bpfflash=0", "ifup=/bin/up"]
)
def test_dangerous_option_must_be_insisted_on(option: str) -> None:
    text = f"vec0:transport=raw,ifname=veth0,{option}"
    key = option.partition("=")[0]
    with pytest.raises(
        UsageError, match=f"{key} is refused unless you insist: {GUARDED_OPTIONS[key]}"
    ):
        parse(text)
    assert str(parse(text, insist=True)) == text
    assert str(parse(text, insist=True).with_mac(MAC)) == f"{text},mac={MAC}"


def test_new_mac_must_be_one() -> None:
    with pytest.raises(UsageError, match="mac is a unicast MAC address"):
        parse("vec0:transport=fd,fd=3").with_mac("ff:ff:ff:ff:ff:ff")


@pytest.mark.parametrize(
    ("text", "needs"),
    [
        ("transport=tap,ifname=tap0", (Need(TAP, "tap0"),)),
        ("transport=hybrid,ifname=tap0", (Need(TAP, "tap0"), Need(INTERFACE, "tap0"), RAW)),
        ("transport=raw,ifname=veth0", (Need(INTERFACE, "veth0"), RAW)),
        (
            "transport=raw,ifname=veth0,bpffile=/f,ifup=/u",
            (Need(INTERFACE, "veth0"), RAW),
        ),
        (f"transport=gre,{TUNNEL}", (Need(ADDRESS, "gre 10.0.0.1 10.0.0.2"), RAW)),
        (f"transport=l2tpv3,{TUNNEL},{SESSIONS}", (Need(ADDRESS, "l2tpv3 10.0.0.1 10.0.0.2"), RAW)),
        (
            f"transport=l2tpv3,{TUNNEL},{SESSIONS},udp=1,srcport=1,dstport=2",
            (Need(ADDRESS, "l2tpv3 10.0.0.1:1 10.0.0.2:2"),),
        ),
        ("transport=bess,dst=/run/switch", (Need(SEQPACKET, "/run/switch"),)),
        ("transport=fd,fd=3", ()),
        ("transport=vde,vnl=vde:///run/sw", (Need(CONTROL, "/run/sw"), Need(PROGRAM, "vde_plug"))),
        ("transport=vde,vnl=vxvde://239.0.0.1", (Need(PROGRAM, "vde_plug"),)),
        ("transport=vde,vnl=/run/sw", (Need(PROGRAM, "vde_plug"),)),
    ],
)
def test_interface_names_what_it_needs(text: str, needs: tuple[Need, ...]) -> None:
    assert parse(f"vec0:{text}", insist=True).needs() == needs


@given(
    anything
    | anything.map("vec0:".__add__)
    | anything.map("vec0:transport=tap,ifname=".__add__)
    | anything.map("vec0:transport=bess,dst=/".__add__),
    st.booleans(),
)
def test_any_text_is_an_interface_or_a_usage_error(text: str, insist: bool) -> None:
    try:
        nic = parse(text, insist=insist)
    except UsageError:
        return
    assert str(nic) == text


@pytest.mark.parametrize(
    "vnl",
    [
        *("vde:///run/vde.ctl", "vde:///" + "a" * 102, "vxvde://", "vxvde://239.0.0.1"),
        *("vxvde://ff05:5::1", "vxlan://239.0.0.1/4789", "udp://10.0.0.1:9000"),
    ],
)
def test_network_of_vde_that_runs_nothing_is_taken(vnl: str) -> None:
    assert parse(f"vec0:transport=vde,vnl={vnl}").get("vnl") == vnl
    assert bool(vec.switch_of(vnl)) == vnl.startswith("vde:")


@pytest.mark.parametrize(
    "vnl",
    [
        *("cmd://id", "CMD://id", "vlan://1{cmd://id}", "vxvde://{cmd://id}", "vde:///a{cmd://id}"),
        *("vde://a", "vde://", "vde:///a[3]", "vde:///a b", "vde:///" + "a" * 103, "/run/sw", "sw"),
        *(
            "../x://a",
            "x/vde:///a",
            " vde:///a",
            "multi:///file",
            "slirp://",
            "tap://t0",
            "~",
            "{}",
        ),
        *("udp://a;id", "udp://$(id)", "vxvde://a\u00e9", "vde"),
    ],
)
def test_any_other_network_of_vde_takes_insistence(vnl: str) -> None:
    with pytest.raises(UsageError, match=r"refused unless you insist.*may run a program"):
        parse(f"vec0:transport=vde,vnl={vnl}")
    nic = parse(f"vec0:transport=vde,vnl={vnl}", insist=True)
    assert not any(need.kind == CONTROL for need in nic.needs())
    assert not nic.is_tunnel
