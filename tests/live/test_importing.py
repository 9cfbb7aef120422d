"""Guests of other systems boot as they were read: those of their own manuals, on a small image."""

from __future__ import annotations

import os
import shlex
import shutil
import struct
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.live.conftest import ended_with, wait_for
from tests.live.test_networks import GUEST_PATH
from tests.live.test_roots import make_image, tree
from tests.umlctl.definitions.test_imported import FORMS
from umlctl.networks import interfaces

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.live.conftest import House

__all__ = ["tree"]

IMAGES = (
    *("/n0/xen/foo-wd0", "/dev/wd0e", "/var/vkernel/rootimg.01", "rootimg.01", "Filesystem.img"),
    "/home/berrange/FedoraCore6-AMD64-root_fs",
)
"""What the manuals call the image of the root."""
MAY = interfaces.may_configure() and os.path.isdir("/sys/class/net")
"""Taps and bridges can be made."""


@pytest.fixture
def bridge(house: House) -> Iterator[str]:
    """A bridge, where one can be made."""
    name = f"ui{os.getpid()}"
    if MAY:
        house.ok("network", "create", name, "--bridge")
    yield name
    if MAY:
        house.ok("network", "rm", name)


@pytest.fixture
def tap() -> Iterator[str]:
    """A tap, where one can be made."""
    name = f"ut{os.getpid()}"
    if MAY:
        subprocess.run(["ip", "tuntap", "add", name, "mode", "tap"], check=True)
    yield name
    if MAY:
        subprocess.run(["ip", "tuntap", "del", name, "mode", "tap"], check=True)


def adapted(form: str, image: Path, *names: tuple[str, str]) -> str:
    """A form of a manual with the names of this host."""
    text = (FORMS / form).read_text()
    for name in IMAGES:
        if name in text:
            text = text.replace(name, str(image))
            break
    for name, ours in names:
        text = text.replace(name, ours)
    return text


def read(house: House, form: str, text: str, umid: str) -> str:
    """Have a form defined; what could not be carried over."""
    kind = form.rpartition(".")[2]
    if kind in ("xl", "libvirt"):
        done = house.umlctl("import", kind, "-", "--define", "--name", umid, stdin=text)
    else:
        done = house.umlctl("import", kind, "--define", "--name", umid, "--", *shlex.split(text))
    assert done.returncode == 0, done
    assert done.stdout.startswith(f"{umid} is defined in ")
    return done.stderr


def boot(house: House, umid: str) -> None:
    """Have it boot to the init program of the image, and be shut down by it."""
    house.ok("start", umid, "--mem", "64M")
    wait_for(lambda: "the system is up" in house.ok("logs", umid), "the system is up")
    assert " / ext4 rw" in house.ok("proc", umid, "mounts")


@pytest.mark.parametrize("form", ["nbsd.xl", "foo.xl", "handbook.vkernel", "manual.vkernel"])
def test_guest_on_a_bridge_boots(
    house: House, bridge: str, umid: str, tree: Path, tmp_path: Path, form: str
) -> None:
    image = make_image(tree, tmp_path)
    other = tmp_path / "other.img"
    other.write_bytes(bytes(1 << 20))
    text = adapted(form, image, ("bridge0", bridge), ("/n0/xen/foo-wd1", str(other)))
    if not MAY:
        text = text.replace(f"-I auto:{bridge}", "").replace("vif =", "#")
    assert "it is not a UML kernel" in read(house, form, text, umid)
    boot(house, umid)
    if MAY:
        assert house.table(umid)["vec0"]["bridge"] == bridge
        if form == "nbsd.xl":
            assert house.table(umid)["vec0"]["mac"] == "aa:00:00:50:02:f0"
    if form == "foo.xl":
        assert str(other) in house.table(umid)["ubd1"]["kernel"]
    house.ok("shutdown", umid)


ENDING = """#!/bin/sh
mount -t proc proc /proc
echo "it is on $(busybox grep ' / ' /proc/mounts)"
echo "it was told $(busybox cat /proc/cmdline)"
busybox cat /proc/partitions
echo 3 >/proc/exitcode
poweroff -f
"""


@pytest.fixture(scope="module")
def ending(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of a system that says what it is on, and ends."""
    root = tmp_path_factory.mktemp("ending")
    shutil.copytree(tree, root / "tree", symlinks=True)
    (root / "tree/sbin/init").write_text(ENDING)
    return make_image(root / "tree", root)


def partitioned(image: Path, path: Path) -> None:
    """Make a disk whose first partition is what an image holds."""
    begin = 2048  # sectors
    count = image.stat().st_size // 512
    row = struct.pack("<B3sB3sII", 0, b"", 0x83, b"", begin, count)
    table = row.ljust(64, b"\0") + b"\x55\xaa"
    path.write_bytes(table.rjust(512, b"\0").ljust(512 * begin, b"\0") + image.read_bytes())


@pytest.mark.parametrize(
    ("form", "other"),
    [("nbsd-install.xl", "/dev/cd0a"), ("solaris.xl", "/dev/vnd0d"), ("solaris-installed.xl", "")],
)
def test_guest_of_another_kernel_boots_on_its_disks_with_ours(
    house: House, bridge: str, umid: str, ending: Path, tmp_path: Path, form: str, other: str
) -> None:
    """What it was to boot is no UML kernel, nor is its initial disk one of Linux, which is said:
    what remains is a guest with that memory, those disks and that NIC."""
    (image, cd) = (tmp_path / "root.img", tmp_path / "cd.iso")
    shutil.copy(ending, image)
    cd.write_bytes(bytes(3 << 20))
    names = [("bridge0", bridge), ("/dev/wd0e", str(image)), ("/dev/wd0k", str(image))]
    names += [(other, str(cd))] if other else []
    text = adapted(form, image, *names)
    text = text if MAY else text.replace("vif =", "#")
    left = read(house, form, text, umid)
    assert "it is not a UML kernel" in left
    if form.startswith("solaris"):
        assert "/root/solaris/x86.microroot': not carried over: there is no such file" in left
        assert "unix: not carried over: it is no argument of a Linux kernel" in left
    done = house.umlctl("run", umid, "--once", "--mem", "64M", "--limit", "60")
    assert ended_with(3, done.returncode, done.stderr), done
    said = house.ok("logs", umid)
    assert "it is on /dev/root / ext4 rw" in said
    assert (" 3072 ubdb" in said) is bool(other)
    if form == "solaris.xl":
        assert " install_media=cdrom" in said, "what could be an argument is one"
    assert ("transport=tap" in said) is MAY


def test_linux_of_another_hypervisor_boots_on_its_partition(
    house: House, umid: str, ending: Path, tmp_path: Path
) -> None:
    image = tmp_path / "disk.img"
    partitioned(ending, image)
    text = adapted("linux-domu.xl", image, ("/dev/wd0e", str(image)))
    user = shutil.which("slirp4netns")
    text = text if user else text.replace("vif =", "#")
    left = read(house, "linux-domu.xl", text, umid)
    assert "vmlinuz-domU" in left
    assert ("no bridge is named" in left) is bool(user)
    done = house.umlctl("run", umid, "--once", "--mem", "64M", "--limit", "60")
    assert ended_with(3, done.returncode, done.stderr), done
    said = house.ok("logs", umid)
    assert "it is on /dev/root / ext4 ro" in said
    assert " root=/dev/ubda1" in said
    assert " 16384 ubda1" in said


def test_diskless_guest_boots(house: House, umid: str, tmp_path: Path) -> None:
    form = "diskless.vkernel"
    switch = f"vk{os.getpid()}"
    left = read(house, form, adapted(form, tmp_path, ("vknet", switch)), umid)
    assert "argument 16: -e boot.nfsroot.server=10.0.0.55: not carried over" in left
    house.ok("start", umid, "--mem", "64M")
    house.has_shell(umid)
    if shutil.which("ip", path=GUEST_PATH):  # our init sets it up
        shown = "ip -br address show dev vec0"
        wait_for(lambda: "10.100.0.2/16" in house.shell(umid, shown), "it has its address")
    assert house.table(umid)["vec0"]["network"] == switch
    assert house.shell(umid, "cat /proc/sys/kernel/modules_disabled") == "1"


def test_guest_of_the_howto_boots(
    house: House, tap: str, umid: str, tree: Path, tmp_path: Path
) -> None:
    form = "howto.linux"
    image = make_image(tree, tmp_path)
    text = adapted(form, image, ("tap0", tap))
    if not MAY:
        text = " ".join(word for word in text.split() if not word.startswith("vec0"))
    left = read(house, form, text, umid)
    assert "con1=fd:0,fd:1: not carried over: a guest in the background" in left
    boot(house, umid)
    assert ("vec0" in house.table(umid)) == MAY
    house.ok("shutdown", umid)


def test_domain_of_libvirt_boots(house: House, umid: str, tree: Path, tmp_path: Path) -> None:
    image = make_image(tree, tmp_path)
    assert "<uuid>" in read(house, "demo.libvirt", adapted("demo.libvirt", image), umid)
    boot(house, umid)
    assert str(image) in house.table(umid)["ubd0"]["kernel"]
    house.ok("shutdown", umid)
