from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from umlctl.errors import UsageError
from umlctl.guest.readers import xl

if TYPE_CHECKING:
    from umlctl.guest.readers.reading import Reading

DISKS = "disk = ['/a,,xvda', '/b,,xvdb', 'phy:/c,0x301,r']\n"


def read(text: str) -> Reading:
    return xl.read(text, "f", "/here")


def carried(text: str) -> list[tuple[str, Any]]:
    return [(item.key, item.value) for item in read(text).items]


def left(text: str) -> list[str]:
    return [str(each) for each in read(text).left]


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("kernel = 'linux'", [("kernel", "/here/linux")]),
        ("ramdisk = '/i'", [("initrd", "/i")]),
        ("memory = '2048'", [("mem", "2048M")]),
        ("maxmem = 512", [("mem", "512M")]),
        ("memory = 512; maxmem = 512", [("mem", "512M")]),
        ("vcpus = 1", []),
        ("vcpus = 4", [("ncpus", 4)]),
        ("cpus = 'all'", []),
        ("cpu = -1", []),
        ("cpus = '0-3,^1'", [("cpus", "0,2-3")]),
        ("cpus = [0, 1]", [("cpus", "0-1")]),
        ("cap = 50", [("cpu-limit", 50)]),
        ("cap = 0", []),
        ("builder = 'linux'; type = 'pv'", []),
        ("autorestart = True", [("restart", "always")]),
        ("autorestart = 0", []),
        ("restart = 'onreboot'", []),
        ("restart = 'always'", [("restart", "always")]),
        ("on_reboot = 'restart'", []),
        ("on_reboot = 'destroy'", [("append", "noreboot")]),
        ("on_poweroff = 'destroy'", []),
        ("on_poweroff = 'restart'", [("on-exit", "restart")]),
        ("on_crash = 'preserve'", [("on-panic", "nothing")]),
        ("on_watchdog = 'restart'", [("on-hang", "restart")]),
        ("vif = ['bridge=b']", [("nic", "tap=auto,bridge=b")]),
        ("vif = ['mac=02:00:00:00:00:0A, bridge=b, ip=10.0.0.1']",
         [("nic", "tap=auto,mac=02:00:00:00:00:0a,addr=10.0.0.1,bridge=b")]),
        ("vif = ['']", [("nic", "user")]),
        ("extra = '-s -v a=\"b c\" --'",
         [("single", True), ("verbose", True), ("append", 'a="b c"'), ("append", "--")]),
        ("cmdline = 'a'; extra = 'b'; root = 'c'", [("append", "a")]),
        ("nics = 1; vif = ['bridge=b']", [("nic", "tap=auto,bridge=b")]),
    ],
)  # fmt: skip
def test_key_is_carried_over(text: str, items: list[tuple[str, Any]]) -> None:
    assert carried(text) == items


@pytest.mark.parametrize(
    ("more", "root", "words"),
    [
        ("", "/a", []),
        ("root = '/dev/xvdb'", "/b", []),
        ("root = '/dev/xvdb2 ro'", "/b", ["ro", "root=/dev/ubda2"]),
        ("root = '/dev/hda1 ro'", "/c,ro", ["ro"]),
        ("root = 'xbd1'", "/b", []),
        ("root = 'ubd1'", "/b", []),
        ("root = '/dev/sda1'", "/a", []),
        ("root = ''", "/a", []),
        ("extra = 'root=/dev/xvda1'", "/a", ["root=/dev/ubda1"]),
        ("extra = 'root=/dev/xvda'", "/a", []),
        ("extra = 'root=/dev/hda1'", "/a", ["root=/dev/ubdc"]),
        ("root = '/dev/xvdb'; extra = 'root=/dev/xvda'", "/b", ["root=/dev/ubdb"]),
        ("extra = 'root=/dev/nfs'", "/a", ["root=/dev/nfs"]),
    ],
)
def test_disk_that_the_root_names_is_the_root(more: str, root: str, words: list[str]) -> None:
    found = carried(DISKS + more)
    assert [value for key, value in found if key == "root"] == [root]
    assert [value for key, value in found if key == "append"] == words
    assert len([value for key, value in found if key == "disk"]) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("root = '/dev/sda1'\n" + DISKS, "f:1: root = '/dev/sda1': not the same here: no disk is "),
        ("root = 'xbd0a'\n" + DISKS, "f:1: root = 'xbd0a': not carried over: Linux takes no part"),
        ("nics = 2", "f:1: nics = 2: not carried over: there are as many NICs as vif has: 0"),
        ("memory = 'x'", "f:1: memory = 'x': not carried over: 'x' is no number"),
        ("name = []", "f:1: name = []: not carried over: it is a list"),
        ("disk = [['x']]", "a list in its list"),
        ("a = 1", "f:1: a = 1: not carried over: no counterpart of it is known"),
        ("name='a'\nname='b'", "f:1: name='a': not carried over: line 2 gives name again"),
        ("type = 'hvm'", "UML emulates no hardware"),
        ("cpus = 'nodes:0'", "it is no list of numbers"),
        ("cpus = ['1', '2']", "not pinned one by one"),
        ("on_crash = 'x'", "'x' is no action that is known"),
        ("on_crash = 'rename-restart'", "a guest keeps its name"),
        ("on_reboot = 'preserve'", 'append = ["noreboot"] ends it there'),
        ("restart = 'x'", "'x' is not known"),
        ("disk = ['/a,qcow2,xvda']", "f:1: disk '/a,qcow2,xvda': not carried over: its format is"),
        ("disk = [',hdc:cdrom,r']", "a drive without a disk"),
        ("vif = ['bridge=b,script=s']", "f:1: script=s: not carried over: a tap joins its bridge"),
        ("vif = ['bridge=b,vifname=v']", "f:1: vifname=v: not carried over"),
        ("vif = ['bridge=b,x']", "f:1: x: not carried over: no counterpart of it is known"),
        ("vif = ['mac=01:00:00:00:00:00,bridge=b']", "it cannot be a NIC: mac is a unicast MAC"),
        ("extra = '/x -q console=hvc0'", "it is no argument of a Linux kernel"),
        ("cmdline = 'a'; extra = 'b'", "xl does not read it where there is a cmdline"),
        ("vnc = 1", "f:1: vnc = 1: not carried over: UML has no screen"),
        ("bootloader = 'pygrub'", "would run as a program of this host"),
    ],
)
def test_what_is_left_is_said_with_its_line(text: str, said: str) -> None:
    assert any(said in each for each in left(text)), left(text)


def test_items_of_lists_have_their_own_lines() -> None:
    found = read("disk = [ '/a,,xvda',\n'/b,,xvdb' ]\ndisk += [\n'/c,,xvdc' ]")
    assert [item.at for item in found.items] == ["f:1", "f:2", "f:4"]


def test_name_is_the_guests() -> None:
    assert read("name = 'web'").name == "web"


def test_python_is_an_error() -> None:
    with pytest.raises(UsageError, match="f:1: import os: this is Python"):
        read("import os")
