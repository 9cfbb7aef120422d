from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.errors import UsageError
from umlctl.guest import specs
from umlctl.guest.definition import (
    DEFAULT_MEM_BYTES,
    HOST_ROOT,
    MIN_MEM_BYTES,
    MODULES,
    Definition,
    check,
    decode,
    devices,
    encode,
    is_device,
    name_of,
    parse_size,
    root_is_image,
)


def define(**fields: Any) -> Definition:
    return Definition(**{"umid": "demo", "kernel": "/linux", **fields})


# Sizes


@given(st.integers(0, 1 << 50), st.sampled_from(["", "b", "B"]))
def test_size_is_a_number_with_a_unit(count: int, end: str) -> None:
    assert parse_size(f"{count}{end}") == count
    for shift, unit in ((10, "kK"), (20, "mM"), (30, "gG")):
        for letter in unit:
            assert parse_size(f" {count}{letter}{end} ") == count << shift


@pytest.mark.parametrize("text", ["", "M", "-1M", "1.5G", "1 M", "1T", "0x10", "64MiB", "all"])
def test_what_is_no_size_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="a size is a number"):
        parse_size(text)


# Checking


def test_plain_definition_is_sound() -> None:
    definition = define()
    assert check(definition) is definition
    assert definition.mem == DEFAULT_MEM_BYTES == parse_size("256M")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"mem": MIN_MEM_BYTES - 1}, "at least 24M"),
        ({"mem": 0}, "at least 24M"),
        ({"cpus": "0-"}, "cpus are a list"),
        ({"cpus": "a"}, "cpus are a list"),
        ({"cpus": "0;reboot"}, "cpus are a list"),
        ({"cpus": "0\n"}, "cpus are a list"),
        ({"modules": "no"}, "modules are unlocked or locked, not 'no'"),
        ({"timeout": 0.0}, "more than 0"),
        ({"timeout": -1.0}, "more than 0"),
        ({"append": ("a b",)}, "each as a word of its own"),
        ({"append": ("",)}, "a kernel argument is empty; leave it out"),
        ({"append": ("a\0",)}, "no letter"),
        ({"append": ("a\n",)}, "a blank"),
        ({"append": ('x=a"b',)}, "each as a word of its own"),
        ({"arguments": ('x="y',)}, "each as a word of its own"),
        ({"arguments": ("a\nb",)}, "a blank"),
        ({"arguments": ("a\0b",)}, "no letter"),
        ({"arguments": ("with blank",)}, "each as a word of its own"),
        ({"root": "/srv/", "arguments": ("root=/dev/ubda",)}, "give one of the two"),
        ({"root": "/srv/,ro", "append": ("rootflags=/other",)}, "give one of the two"),
        ({"umid": ""}, "the umid of a guest is empty"),
        ({"kernel": ""}, "the kernel of a guest is empty"),
        ({"root": ""}, "the root of a guest is empty"),
        ({"cwd": ""}, "the cwd of a guest is empty"),
        ({"allow_users": ("",)}, "none is named"),
        ({"virtual_time": "ext"}, "virtual time is basic or inf-cpu, not 'ext'"),
        ({"virtual_time": "basic", "ncpus": 2}, "virtual time is that of one processor"),
        ({"after": ("db", "demo")}, "demo cannot come after itself"),
        ({"after": ("",)}, "the name of a guest"),
        ({"after": ("../x",)}, "the name of a guest"),
        ({"after": ("a b",)}, "the name of a guest"),
        ({"disks": ("disk.img",)}, "the disk /disk.img has no slot"),
        ({"disks": ("/a,slot=1,rw",)}, "not 'rw'"),
        ({"disks": ("ubd16=/a",)}, "not 16"),
        ({"disks": ("ubd1=/a", "ubd1r=/b")}, "ubd1 is given twice: /a,slot=1 and /b,slot=1,ro"),
        ({"disks": ("ubd1=/a", "ubdb=/b")}, "ubd1 is given twice"),
        ({"disks": ("ubd0=/a",), "root": "/root.img"}, "ubd0 is given twice: /root.img"),
        ({"disks": ("/a,slot=1", "/b,slot=1")}, "ubd1 is given twice"),
        ({"nics": ("tap0",)}, "a NIC is user"),
        ({"nics": ("",)}, "a NIC is user"),
        ({"nics": ("user",)}, "the NIC user has no number"),
        ({"nics": ("user,nic=0", "vec0:transport=fd,fd=3")}, "vec0 is given twice: user,nic=0"),
        ({"arguments": ("ubd16=/a",)}, "not 16"),
        ({"append": ("ubdx=/a",)}, "a disk has a number"),
        ({"append": ("vec0:nonsense",)}, "OPTION=VALUE"),
    ],
)
def test_unsound_definition_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check(define(**fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"kernel": "/\udcff"},
        {"root": "/\udcff/"},
        {"init": "/\udcff"},
        {"disks": ("ubd1=/\udcff",)},
        {"arguments": ("x=\udcff",)},
        {"append": ("x=\udcff",)},
        {"pidfile": "/\udcff"},
        {"cwd": "/\udcff"},
    ],
)
def test_name_that_cannot_be_written_down_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="UTF-8"):
        check(define(**fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"mem": MIN_MEM_BYTES},
        {"cpus": "0"},
        {"cpus": "0,2-3"},
        {"append": ("quiet", "a=b=c", 'dyndbg="+p"')},
        {"arguments": ('dyndbg="file a.c +p"', "ü=ß")},
        {"root": "/srv/", "arguments": ("ubd0=/data", "root=/dev/root", "rootfstype=hostfs")},
        {"disks": ("ubd0=/a", "ubd1r=/b,/c", "ubdp=/d")},
        {"disks": ("ubd1=/a",), "root": "/root.img"},
        {"disks": ("ubd0=/a",), "root": "/root/"},
        {"disks": ("/a,slot=1,ro", "/b,slot=2,cow=/c,serial=S,no-trim")},
        {"nics": ("vec0:transport=tap,ifname=t", "eth0=mcast")},
        {"nics": ("user,nic=0,forward=8080:80", "switch=lan,nic=1", "tap=auto,nic=2")},
        {"disks": ("ubd1=/a",), "arguments": ("ubd1=/b", "vec0:transport=raw,ifname=e,ifup=/p")},
        {"root": "/bücher.img"},
    ],
)
def test_sound_definition_is_taken(fields: dict[str, Any]) -> None:
    definition = define(**fields)
    assert check(definition) is definition


def test_root_is_an_image_unless_it_is_the_host_or_a_directory() -> None:
    kinds = {root: root_is_image(define(root=root)) for root in ("host", "/srv/", "/", "/a.img")}
    assert kinds == {"host": False, "/srv/": False, "/": False, "/a.img": True}


def test_definition_is_frozen_and_knows_its_fields() -> None:
    with pytest.raises(AttributeError):
        define().umid = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        define(memory=1)


# Devices


def test_devices_are_the_root_the_disks_and_the_nics() -> None:
    found = devices(
        define(
            root="/root.img",
            disks=("ubd1r=/a", "/b,slot=3,discard"),
            nics=("user,nic=0", "eth0=mcast"),
        )
    )
    assert [name_of(each) for each in found] == ["ubd0", "ubd1", "ubd3", "vec0", "eth0"]
    assert found[:2] == [
        specs.Disk(file="/root.img", slot=0),
        specs.Disk(file="/a", slot=1, readonly=True),
    ]
    assert found[3] == specs.Nic(kind="user", number=0)
    assert devices(define()) == devices(define(root="/srv/")) == []


def test_device_among_the_kernels_arguments_wins() -> None:
    words = ("ubdar=mine.img", "vec0:transport=raw,ifname=e0,bpffile=/p", "eth1=mcast", "quiet")
    for field in ("append", "arguments"):
        found = devices(
            define(root="/root.img", nics=("user,nic=0",), cwd="/home", **{field: words})
        )
        assert [name_of(each) for each in found] == ["ubd0", "vec0", "eth1"]
        assert found[0] == specs.Disk(file="/home/mine.img", slot=0, readonly=True)
        assert str(found[1]) == words[1]


def test_what_somebody_insisted_on_is_not_asked_for_again() -> None:
    text = "vec0:transport=raw,ifname=e,bpffile=/p"
    assert [str(each) for each in devices(check(define(nics=(text,))))] == [text]


def test_disks_of_a_definition_are_taken_from_its_directory() -> None:
    (disk,) = devices(define(disks=("a.img,slot=1,cow=b.cow",), cwd="/home/me"))
    assert disk == specs.Disk(file="/home/me/a.img", slot=1, cow="/home/me/b.cow")


@pytest.mark.parametrize(
    ("word", "device"),
    [
        ("ubd0=/a", True),
        ("ubdar=/a", True),
        ("ubdx=/a", True),
        ("vec0:x", True),
        ("eth9=x", True),
        ("ubd", False),
        ("ubd=/a", False),
        ("ubd0", False),
        ("vector=1", False),
        ("ethtool=x", False),
        ("con0=null", False),
        ("quiet", False),
        ("", False),
    ],
)
def test_disks_and_nics_are_told_from_other_arguments(word: str, device: bool) -> None:
    assert is_device(word) == device


# On disk


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(
    st.builds(
        Definition,
        umid=texts.filter(bool),
        kernel=texts.filter(bool),
        mem=st.integers(MIN_MEM_BYTES, 1 << 40),
        root=st.one_of(
            st.just(HOST_ROOT), texts.map(lambda text: f"{text}/"), st.just("/images/a.img,ro")
        ),
        init=texts,
        arguments=st.lists(st.sampled_from(["quiet", 'a="b c"', "x=ü"]), max_size=3).map(tuple),
        timeout=st.floats(1, 1e6),
        aslr=st.booleans(),
        modules=st.sampled_from(MODULES),
        named=st.booleans(),
    )
)
def test_definition_survives_the_disk(definition: Definition) -> None:
    assert decode(encode(definition)) == definition


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"umid": "a"}',
        b'{"umid": "a", "kernel": 1}',
        b'{"umid": "a", "kernel": "/k", "unknown": 1}',
        b'{"umid": "a", "kernel": "/k", "mem": "64M"}',
        b'{"umid": "a", "kernel": "/k", "mem": 1}',
        b'{"umid": "a", "kernel": "/k", "disks": ["x"]}',
        b'{"umid": "\xff", "kernel": "/k"}',
        b"\xff\xfe",
    ],
)
def test_what_is_no_definition_is_a_usage_error(data: bytes) -> None:
    with pytest.raises(UsageError):
        decode(data)


@given(st.binary(max_size=60))
def test_rubbish_is_a_usage_error(data: bytes) -> None:
    with pytest.raises(UsageError):
        decode(data)


@given(st.integers(0, 200))
def test_definition_cut_short_is_a_usage_error(length: int) -> None:
    whole = encode(define(disks=("ubd1=/a",)))
    cut = whole[: min(length, len(whole) - 1)]
    with pytest.raises(UsageError):
        decode(cut)


def test_definition_is_json_that_others_can_read() -> None:
    fields = msgspec.json.decode(encode(define(mem=64 << 20)))
    assert fields["umid"] == "demo"
    assert fields["mem"] == 67108864


@pytest.mark.parametrize("field", ["user", "init", "cpus", "mem_dir", "pidfile", "on_panic"])
def test_what_is_not_asked_for_is_left_out_and_not_empty(field: str) -> None:
    data = encode(define()).rstrip(b"}") + b',"%s":""}' % field.encode()
    with pytest.raises(UsageError, match=f"{field} is empty; leave it out"):
        decode(data)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"load": ("a.ko",)}, "a name as of modprobe"),
        ({"load": ("a", "b;c")}, "a name as of modprobe"),
        ({"load": ("a",), "modules": "locked"}, "the modules of this guest are locked"),
        ({"shares": ("/a:/mnt", "/b:/mnt/")}, "/mnt is shared twice: /a:/mnt and /b:/mnt"),
        ({"shares": ("a:/mnt",)}, "the directory of the host begins with /"),
    ],
)
def test_modules_and_shares_that_cannot_be_are_an_error(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        check(Definition(umid="demo", kernel="/linux", **fields))
