from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.errors import UsageError
from umlctl.guest.readers import libvirt

if TYPE_CHECKING:
    from umlctl.guest.readers.reading import Reading

DISK = "<disk><source file='/a'/><target dev='ubd0'/></disk>"


def read(inside: str) -> Reading:
    return libvirt.read(f"<domain type='uml'>{inside}</domain>", "f", "/here")


def carried(inside: str) -> list[tuple[str, Any]]:
    return [(item.key, item.value) for item in read(inside).items]


def left(inside: str) -> str:
    return "\n".join(str(each) for each in read(inside).left)


def devices(inside: str) -> str:
    return f"<devices>{inside}</devices>"


@pytest.mark.parametrize(
    ("inside", "items"),
    [
        ("<memory>65536</memory>", [("mem", "64M")]),
        ("<memory>65000</memory>", [("mem", "65000K")]),
        ("<memory unit='GiB'>1</memory>", [("mem", "1024M")]),
        ("<memory unit='MB'>64</memory>", [("mem", "62500K")]),
        ("<memory>65536</memory><currentMemory>65536</currentMemory>", [("mem", "64M")]),
        ("<currentMemory unit='M'>64</currentMemory>", [("mem", "64M")]),
        ("<vcpu>1</vcpu>", []),
        ("<vcpu cpuset='1,2'>2</vcpu>", [("ncpus", 2), ("cpus", "1-2")]),
        ("<os><type>uml</type><kernel>k</kernel></os>", [("kernel", "/here/k")]),
        ("<os><initrd>/i</initrd></os>", [("initrd", "/i")]),
        ("<os><cmdline> a \"b c\" </cmdline></os>", [("append", "a"), ("append", '"b c"')]),
        ("<os><cmdline>mem=64M ubd2=/c single</cmdline></os>",
         [("mem", "64M"), ("single", True), ("disk", "/c,slot=2")]),
        ("<on_crash>restart</on_crash>", [("on-panic", "restart")]),
        ("<on_poweroff>destroy</on_poweroff>", []),
        ("<on_reboot>destroy</on_reboot>", [("append", "noreboot")]),
        (devices(DISK), [("root", "/a")]),
        (devices(DISK) + "<os><root>/dev/ubda</root></os>", [("root", "/a")]),
        ("<os><cmdline>root=/dev/ubda1</cmdline></os>" + devices(DISK),
         [("disk", "/a,slot=0"), ("append", "root=/dev/ubda1")]),
        (devices(DISK.replace("ubd0", "ubdb")), [("disk", "/a,slot=1")]),
        (devices("<interface type='user'/>"), [("nic", "user")]),
        (devices("<interface type='ethernet'><target dev='t'/></interface>"), [("nic", "tap=t")]),
        (devices("<interface type='bridge'><source bridge='b'/></interface>"),
         [("nic", "tap=auto,bridge=b")]),
        (devices("<console type='pty'/>"), []),
        (devices("<serial type='dev'><source path='/dev/ttyS0'/></serial>"),
         [("append", "ssl0=tty:/dev/ttyS0")]),
    ],
)  # fmt: skip
def test_element_is_carried_over(inside: str, items: list[tuple[str, Any]]) -> None:
    assert carried(inside) == items


@pytest.mark.parametrize(
    ("inside", "said"),
    [
        ("\n<uuid>x</uuid>", "f:2: <uuid>x: not carried over: a guest is known by its name"),
        ("<memory>x</memory>", "it is no number"),
        ("<memory unit='x'>1</memory>", "'x' is no unit of memory"),
        ("<memory unit='M'>64</memory><currentMemory unit='M'>32</currentMemory>",
         "<memory unit='M'>64: not carried over: a guest has no more memory than it boots with"),
        ("<vcpu>x</vcpu>", "it is no number"),
        ("<vcpu cpuset='x'>1</vcpu>", "no list of numbers"),
        ("<os><type>hvm</type></os>", "UML starts a kernel, and nothing before it"),
        ("<on_crash>x</on_crash>", "no action that is known"),
        ("<on_reboot>preserve</on_reboot>", "starts anew by itself"),
        ("<on_crash>coredump-restart</on_crash>", "no core is written"),
        ("<strange/>", "no counterpart of it is known"),
        (devices("<disk/>"), "no file of this host is its source"),
        (devices("<disk><source file='/a'/><target dev='hda'/></disk>"), "'hda' is no disk of UML"),
        (devices(DISK.replace("<t", "<boot order='1'/><t")), "disks of UML have no such thing"),
        (devices("<interface type='network'/>"), "it is `user`, NAT of its own"),
        (devices("<interface type='direct'/>"), "libvirt's UML knew no such interface"),
        (devices("<interface type='user'><bandwidth/></interface>"), "set while a guest runs"),
        (devices("<console type='file'/>"), "the first console is the supervisor's"),
        (devices("<serial type='tcp'/>"), "such a line is not opened"),
        (devices("<graphics/>"), "UML has no screen"),
        ("\n<os><cmdline>con0=null,fd:2</cmdline></os>", "f:2: con0=null,fd:2: not carried over: "),
        (devices("<tpm/>"), "no counterpart of it is known"),
    ],
)  # fmt: skip
def test_what_is_left_is_said_with_its_line(inside: str, said: str) -> None:
    assert said in left(inside)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<network/>", "f:1: <network>: this is no domain of libvirt"),
        ("<domain type='kvm'/>", "a domain of type uml is read, and no other"),
        ("<!DOCTYPE d><domain type='uml'/>", "entities are not expanded"),
    ],
)
def test_what_is_no_domain_of_uml_is_an_error(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        libvirt.read(text, "f", "/here")
    assert said in str(caught.value)


def test_name_is_the_guests() -> None:
    assert read("<name> web </name>").name == "web"


NAMES = st.sampled_from(
    [*("name", "memory", "currentMemory", "vcpu", "os", "devices", "disk", "interface", "console"),
     *("source", "target", "mac", "kernel", "root", "cmdline", "on_crash", "serial", "readonly")]
)  # fmt: skip
TEXTS = st.text(
    st.characters(codec="utf-8", exclude_characters="<&'\0", categories=["L", "N", "P"])
)
TREES = st.recursive(
    st.builds("<{0}>{1}</{0}>".format, NAMES, TEXTS),
    lambda inner: st.builds(
        lambda name, key, value, more: f"<{name} {key}='{value}'>{''.join(more)}</{name}>",
        NAMES,
        st.sampled_from(["type", "dev", "file", "bridge", "unit", "port", "address", "cpuset"]),
        st.one_of(TEXTS, st.sampled_from(["ubd1", "pty", "bridge", "mcast", "ethernet", "1"])),
        st.lists(inner, max_size=4),
    ),
    max_leaves=12,
)


@given(st.lists(TREES, max_size=5).map("".join))
def test_any_domain_is_read(inside: str) -> None:
    found = read(inside)
    assert all(item.at.startswith("f:") for item in found.items)
