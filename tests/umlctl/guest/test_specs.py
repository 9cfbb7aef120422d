from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.devices import ubd
from umlctl.errors import UsageError
from umlctl.guest.specs import (
    MAX_NICS,
    Disk,
    Nic,
    names_slot,
    number_disks,
    number_nics,
    of_device,
    parse_disk,
    parse_nic,
)

MAC = "02:00:00:12:34:56"

# Disks


@pytest.mark.parametrize(
    ("text", "disk"),
    [
        ("/a", Disk(file="/a")),
        ("a.img", Disk(file="/home/a.img")),
        ("./x/../a.img", Disk(file="/home/a.img")),
        ("a b.img", Disk(file="/home/a b.img")),
        ("a=b.img", Disk(file="/home/a=b.img")),
        ("/a,slot=0", Disk(file="/a", slot=0)),
        ("/a,slot=15", Disk(file="/a", slot=15)),
        ("/a,ro", Disk(file="/a", readonly=True)),
        ("/a,sync", Disk(file="/a", sync=True)),
        ("/a,cow=b.cow", Disk(file="/a", cow="/home/b.cow")),
        ("/a,cow=/b=c", Disk(file="/a", cow="/b=c")),
        ("/a,discard", Disk(file="/a", discard=True)),
        ("/a,serial=S 1", Disk(file="/a", serial="S 1")),
        ("/a,no-trim", Disk(file="/a", no_trim=True)),
        ("/a,shared", Disk(file="/a", shared=True)),
        ("/a,raw", Disk(file="/a", raw=True)),
        (
            "/a,raw,shared,no-trim,ro,sync,slot=3,serial=S",
            Disk(
                file="/a",
                slot=3,
                readonly=True,
                sync=True,
                serial="S",
                no_trim=True,
                shared=True,
                raw=True,
            ),
        ),
        ("ubd3=/a", Disk(file="/a", slot=3)),
        ("ubdd=a", Disk(file="/home/a", slot=3)),
        (
            "ubd3rsdct=/a",
            Disk(file="/a", slot=3, readonly=True, sync=True, shared=True, raw=True, no_trim=True),
        ),
        ("ubd3=c,b", Disk(file="/home/b", slot=3, cow="/home/c")),
        ("ubd3=c:b", Disk(file="/home/b", slot=3, cow="/home/c")),
        ("ubd3=/c,/b,S", Disk(file="/b", slot=3, cow="/c", serial="S")),
        ("ubd3=/b,,S", Disk(file="/b", slot=3, serial="S")),
        ("ubd3r=/c,/b", Disk(file="/b", slot=3, cow="/c", readonly=True)),
        # Files that begin like a device.
        ("ubd", Disk(file="/home/ubd")),
        ("ubd.img", Disk(file="/home/ubd.img")),
        ("ubd1.img,slot=2", Disk(file="/home/ubd1.img", slot=2)),
        ("ubd1/a=b", Disk(file="/home/ubd1/a=b")),
    ],
)
def test_disk_is_read(text: str, disk: Disk) -> None:
    assert parse_disk(text, "/home") == disk


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "begins with its file"),
        (",ro", "begins with its file"),
        ("/a,", "not ''"),
        ("/a,rw", "not 'rw'"),
        ("/a,ro=1", "not 'ro=1'"),
        ("/a,cow", "not 'cow'"),
        ("/a,cow=", "not 'cow='"),
        ("/a,serial=", "not 'serial='"),
        ("/a,b.img", "not 'b.img'"),
        ("/a,slot", "a disk's slot is from 0 to 15, not ''"),
        ("/a,slot=", "from 0 to 15"),
        ("/a,slot=16", "not '16'"),
        ("/a,slot=-1", "not '-1'"),
        ("/a,slot=1.0", "not '1.0'"),
        ("/a,slot=0x1", "not '0x1'"),
        ("/a,slot=²", "not '²'"),
        ("/a,slot=٣", "not '٣'"),
        ("/a,slot=" + "1" * 5000, "from 0 to 15"),
        ("/a,ro,ro", "ro is given twice"),
        ("/a,slot=1,slot=1", "slot is given twice"),
        ("/a,cow=/b,cow=/c", "cow is given twice"),
        ("/a,cow=/b,discard", "not both"),
        ("/a,ro,cow=/b", "no `ro`"),
        ("/a,discard,ro", "no `ro`"),
        ("/a,raw,cow=/b", "`raw` is for a disk without"),
        ("/a,raw,discard", "`raw` is for a disk without"),
        ("/a:b", "takes no ':' in the file"),
        ("/a\n", "takes no '\\\\n' in the file"),
        ("/a,cow=/b:c", "takes no ':' in the COW file"),
        ("/a,serial=a:b", "takes no ':' in the serial number"),
        ("/a ", "ends with a blank"),
        ("/" + "a" * 600, "511 bytes"),
        ("/\ud800", "UTF-8"),
        ("ubd16=/a", "not 16"),
        ("ubd1=", "one file"),
        ("ubd1x=/a", "flags"),
        ("ubd1d=/a,/b", "flag d"),
        ("ubd1r=/a\f,/b", "ends with a blank"),
        ("ubd1=/a ,/b", "ends with a blank"),
    ],
)
def test_disk_that_cannot_be_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_disk(text)


@pytest.mark.parametrize(
    ("text", "kernel"),
    [
        ("/a", "ubd3=/a"),
        ("/a,ro,sync,raw,shared,no-trim", "ubd3rsdct=/a"),
        ("/a,serial=S", "ubd3=/a,,S"),
        ("/a,cow=/c,serial=S", "ubd3=/c,/a,S"),
        ("/a,cow=/c,sync", "ubd3s=/c,/a"),
    ],
)
def test_disk_becomes_the_kernels_words(text: str, kernel: str) -> None:
    disk = parse_disk(text)
    device = disk.device(3, disk.cow)
    assert str(device) == kernel
    assert of_device(device) == msgspec.structs.replace(disk, slot=3)


def test_cow_file_to_discard_is_of_the_host() -> None:
    assert str(parse_disk("/a,discard").device(1, "/run/ubd1.cow")) == "ubd1=/run/ubd1.cow,/a"


names = st.text(
    st.characters(exclude_characters=",:\n\0=/", exclude_categories=["Cs", "Z", "C"]),
    min_size=1,
    max_size=8,
)
files = names.map(lambda name: f"/d/{name}x")


@st.composite
def disks(draw: st.DrawFn) -> Disk:
    layer = draw(st.sampled_from(["", "cow", "discard", "raw", "ro"]))
    return Disk(
        file=draw(files),
        slot=draw(st.none() | st.integers(0, 15)),
        readonly=layer == "ro",
        sync=draw(st.booleans()),
        cow=draw(files) if layer == "cow" else "",
        discard=layer == "discard",
        serial=draw(st.just("") | names),
        no_trim=draw(st.booleans()),
        shared=draw(st.booleans()),
        raw=layer == "raw",
    )


@given(disks())
def test_disk_survives_being_written(disk: Disk) -> None:
    assert parse_disk(str(disk), "/elsewhere") == disk


@given(
    st.integers(0, 15),
    st.sets(st.sampled_from("rsct")).map("".join),
    files,
    st.just("") | files,
    st.just("") | names,
)
def test_disk_in_the_kernels_words_survives_being_written(
    slot: int, flags: str, file: str, backing: str, serial: str
) -> None:
    parts = (file, backing, serial) if serial else (file, backing) if backing else (file,)
    device = ubd.Ubd(slot, flags, parts)
    disk = parse_disk(str(device))
    assert parse_disk(str(disk)) == disk
    assert disk.device(slot, disk.cow) == device


words = st.sampled_from(
    [
        *("/a", "a", "", "ubd1", "ubd1r", "=", ",", "slot=1", "slot=", "ro", "cow=/b", "discard"),
        *("serial=x", "raw", "sync", "no-trim", "shared", ":", " ", "\0", "\n", "\ud800", "ü"),
        *("user", "switch=lan", "tap=auto", "tap", "nic=1", "nic=", "mac=" + MAC, "mac=x", "eth0"),
        *("addr=10.0.0.2/24", "addr=x", "bridge=br0", "forward=1:2", "isolated", "transport=fd"),
        *("fd=3", "vec0:", "vec0:transport=fd", "eth0=mcast", "vec", "eth", "vec²:", "transport="),
    ]
)
rubbish = st.lists(words, max_size=6).map(",".join) | st.lists(words, max_size=4).map("".join)


@given(rubbish | st.text(max_size=40))
def test_whatever_is_no_disk_is_a_usage_error(text: str) -> None:
    try:
        disk = parse_disk(text)
    except UsageError:
        return
    assert disk.file.startswith("/")
    assert parse_disk(str(disk)) == disk


@given(rubbish | st.text(max_size=40), st.booleans())
def test_whatever_is_no_nic_is_a_usage_error(text: str, insist: bool) -> None:
    try:
        nic = parse_nic(text, insist=insist)
    except UsageError:
        return
    assert parse_nic(str(nic), insist=insist) == nic


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ubd1=/a", True),
        ("ubda=a", True),
        ("ubd1", False),
        ("/ubd1=a", False),
        ("ubd/1=a", False),
        ("ubd1,cow=a", False),
        ("a=ubd1", False),
    ],
)
def test_kernels_words_are_told_from_a_file(text: str, expected: bool) -> None:
    assert names_slot(text) == expected


# NICs


@pytest.mark.parametrize(
    ("text", "nic"),
    [
        ("user", Nic(kind="user")),
        (
            "user,forward=8080:80,forward=udp:53:53",
            Nic(kind="user", forwards=("8080:80", "udp:53:53")),
        ),
        ("user,isolated", Nic(kind="user", isolated=True)),
        ("switch=lan", Nic(kind="switch", name="lan")),
        ("switch=lan,nic=63", Nic(kind="switch", name="lan", number=63)),
        (f"switch=lan,mac={MAC}", Nic(kind="switch", name="lan", mac=MAC)),
        ("switch=lan,addr=10.0.0.2", Nic(kind="switch", name="lan", addr="10.0.0.2")),
        ("switch=lan,addr=auto", Nic(kind="switch", name="lan", addr="auto")),
        ("user,addr=dhcp", Nic(kind="user", addr="dhcp")),
        ("switch=lan,addr=fd00::2/64", Nic(kind="switch", name="lan", addr="fd00::2/64")),
        ("tap=tap0", Nic(kind="tap", name="tap0")),
        ("tap=auto,bridge=br0", Nic(kind="tap", name="auto", bridge="br0")),
        ("transport=fd,fd=3", Nic(kind="kernel", text="transport=fd,fd=3")),
        (
            f"transport=tap,nic=2,ifname=t,mac={MAC},mtu=1400",
            Nic(kind="kernel", number=2, mac=MAC, text="transport=tap,ifname=t,mtu=1400"),
        ),
        ("vec7:transport=fd,fd=3", Nic(kind="kernel", number=7, text="vec7:transport=fd,fd=3")),
        (
            f"vec7:transport=fd,fd=3,mac={MAC}",
            Nic(kind="kernel", number=7, mac=MAC, text=f"vec7:transport=fd,fd=3,mac={MAC}"),
        ),
        ("eth1=tuntap,t0", Nic(kind="kernel", number=1, text="eth1=tuntap,t0")),
    ],
)
def test_nic_is_read(text: str, nic: Nic) -> None:
    assert parse_nic(text) == nic


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "a NIC is user"),
        ("lan", "a NIC is user"),
        ("user=me", "a NIC is user"),
        ("kernel", "a NIC is user"),
        ("vec", "a NIC is user"),
        ("vecx:transport=fd,fd=3", "a NIC is user"),
        ("switch", "switch needs a name"),
        ("switch=", "switch needs a name"),
        ("tap", "tap needs a name"),
        ("transport=", "transport needs a name"),
        ("user,nonsense", "not 'nonsense'"),
        ("user,isolated=yes", "not 'isolated=yes'"),
        ("switch=lan,ifname=t", "not 'ifname=t'"),
        ("user,nic=64", "from 0 to 63, not '64'"),
        ("user,nic=-1", "from 0 to 63"),
        ("user,nic=x", "from 0 to 63"),
        ("user,nic", "nic needs a value"),
        ("user,mac", "mac needs a value"),
        ("user,mac=", "mac needs a value"),
        ("tap=auto,bridge", "bridge needs a value"),
        ("switch=lan,addr=", "addr needs a value"),
        ("user,forward", "forward needs a value"),
        (f"user,mac={MAC},mac={MAC}", "mac is given twice"),
        ("user,nic=1,nic=2", "nic is given twice"),
        ("user,bridge=br0", "a bridge is joined by a tap"),
        ("switch=lan,bridge=br0", "a bridge is joined by a tap"),
        ("switch=lan,forward=1:2", "are for a NIC of kind user"),
        ("tap=auto,isolated", "are for a NIC of kind user"),
        ("user,addr=10.0.0.300", "'10.0.0.300' is no address"),
        ("user,addr=10.0.0.1/33", "is no address such as 10.0.0.5/24, auto or dhcp"),
        ("tap=auto,host=auto", "'auto' is no address such as 10.0.0.5/24$"),
        ("tap=auto,addr=auto", "`addr=auto` is for a NIC of kind user or switch="),
        ("transport=gre,src=10.0.0.1,dst=10.0.0.2,addr=dhcp", "takes addr=ADDRESS/N"),
        ("user,mac=x", "MAC address"),
        ("user,mac=ff:ff:ff:ff:ff:ff", "unicast MAC"),
        ("switch=lan,gw=10.0.0.1", "'switch=lan,gw=10.0.0.1'; the guest sets its own routes: "),
        ("switch=lan,mtu=9000", "not 'mtu=9000': 'switch=lan,mtu=9000'$"),
        ("transport=fd", "fd needs fd="),
        ("transport=nonsense", "transport= one of"),
        ("transport=raw,ifname=e,bpffile=/p", "unless you insist"),
        ("vec0:transport=tap", "tap needs ifname="),
        ("vec0:transport=bess,dst=/s,ifup=/p", "not 'ifup'"),
        ("vec0:transport=tap,ifname=e,ifup=/p", "unless you insist"),
        ("vec0", "an interface is vecN:"),
        ("eth0=nonsense", "an old interface has one of"),
        ("eth01=mcast", "without leading zeros"),
    ],
)
def test_nic_that_cannot_be_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_nic(text)


@pytest.mark.parametrize(
    "text", ["vec0:transport=tap,ifname=e,ifup=/p", "transport=raw,ifname=e,bpffile=/p"]
)
def test_dangerous_nic_is_taken_from_who_insists(text: str) -> None:
    assert str(parse_nic(text, insist=True)) == text


numbers = st.none() | st.integers(0, MAX_NICS - 1)
macs = st.sampled_from(["", MAC])
addresses = st.sampled_from(["", "10.0.0.2", "10.0.0.2/8", "fd00::1/64"])
nics = (
    st.builds(
        Nic,
        kind=st.just("user"),
        number=numbers,
        mac=macs,
        addr=addresses,
        forwards=st.lists(names, max_size=3).map(tuple),
        isolated=st.booleans(),
    )
    | st.builds(Nic, kind=st.just("switch"), name=names, number=numbers, mac=macs, addr=addresses)
    | st.builds(
        Nic,
        kind=st.just("tap"),
        name=names,
        number=numbers,
        mac=macs,
        addr=addresses,
        bridge=st.just("") | names,
    )
    | st.builds(
        Nic,
        kind=st.just("kernel"),
        number=numbers,
        mac=macs,
        addr=addresses,
        text=st.sampled_from(["transport=fd,fd=3", "transport=tap,ifname=t,mtu=900"]),
    )
)


@given(nics)
def test_nic_survives_being_written(nic: Nic) -> None:
    assert parse_nic(str(nic)) == nic


# Numbering


def test_disks_without_a_slot_get_the_next_free_one() -> None:
    texts = ("a.img", "ubd1=b.img", "/c.img,cow=back", "ubdd=d", "e,slot=5,ro", "f", "g")
    assert number_disks(texts, "/home", 1) == (
        "/home/a.img,slot=2",
        "/home/b.img,slot=1",
        "/c.img,slot=4,cow=/home/back",
        "/home/d,slot=3",
        "/home/e,slot=5,ro",
        "/home/f,slot=6",
        "/home/g,slot=7",
    )
    assert number_disks(("a", "b"), "/", 0) == ("/a,slot=0", "/b,slot=1")


def test_numbered_disks_are_numbered_no_more() -> None:
    numbered = number_disks(tuple(f"{number}.img" for number in range(15)), "/", 1)
    assert len({parse_disk(text).slot for text in numbered}) == 15
    assert number_disks(numbered, "/elsewhere", 1) == numbered


def test_more_disks_than_slots_are_refused() -> None:
    with pytest.raises(
        UsageError, match=r"no free slot for /15.img: 1 to 15 are taken; slot=0 is free too"
    ):
        number_disks(tuple(f"{number}.img" for number in range(16)), "/", 1)


def test_nics_without_a_number_get_the_next_free_one() -> None:
    texts = ("user", "vec0:transport=fd,fd=3", "tap=auto", "switch=lan,nic=2", "transport=fd,fd=4")
    numbered = number_nics(texts)
    assert numbered == (
        "user,nic=1",
        "vec0:transport=fd,fd=3",
        "tap=auto,nic=3",
        "switch=lan,nic=2",
        "transport=fd,fd=4,nic=4",
    )
    assert number_nics(numbered) == numbered


def test_more_nics_than_numbers_are_refused() -> None:
    with pytest.raises(UsageError, match="no free number for user"):
        number_nics(["user"] * (MAX_NICS + 1))


@pytest.mark.parametrize("key", ["slot", "cow", "serial", "ro", "raw", "shared", ""])
def test_a_disk_takes_no_empty_value(key: str) -> None:
    for text in (f"/a,{key}=", f"/a,{key}=,sync"):
        with pytest.raises(UsageError):
            parse_disk(text)


@pytest.mark.parametrize("first", ["user", "switch=lan", "tap=auto", "transport=tap,ifname=t"])
@pytest.mark.parametrize(
    "key", ["nic", "mac", "addr", "bridge", "host", "forward", "isolated", "ifname", "src", ""]
)
def test_a_nic_takes_no_empty_value(first: str, key: str) -> None:
    for text in (f"{first},{key}=", f"{first},{key}=,isolated", f"{first},"):
        with pytest.raises(UsageError):
            parse_nic(text)


@pytest.mark.parametrize(
    "text", ["", ",ro", "switch=", "tap=", "transport=", "user=", "vec0:", "eth0="]
)
def test_nothing_is_no_device(text: str) -> None:
    for parse in (parse_disk, parse_nic):
        with pytest.raises(UsageError):
            parse(text)
