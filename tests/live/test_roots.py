"""What a guest can have for a root: this machine, a directory, an image."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

import hatch_build
from tests.live.conftest import (
    DEADLINE,
    LOADS_NOTHING,
    a_house,
    ended_with,
    takes_insmod,
    wait_for,
)
from tests.live.exec_place import have_program, packages
from tests.live.tries import LANDLOCK

if TYPE_CHECKING:
    from pathlib import Path

    from tests.live.conftest import House

INIT = """#!/bin/sh
mount -t proc proc /proc
trap 'poweroff -f' INT
echo 0 >/proc/sys/kernel/ctrl-alt-del
echo written >/written
echo the system is up
while :; do sleep 1; done
"""


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest system: busybox and an init."""
    root = tmp_path_factory.mktemp("tree")
    for name in ("bin", "sbin", "proc", "dev"):
        (root / name).mkdir()
    busybox = shutil.which("busybox")
    assert busybox is not None
    shutil.copy(busybox, root / "bin" / "busybox")
    for name in ("sh", "mount", "poweroff", "sleep"):
        (root / "bin" / name).symlink_to("busybox")
    (root / "sbin" / "init").write_text(INIT)
    (root / "sbin" / "init").chmod(0o755)
    return root


def test_a_directory_is_a_root_that_can_be_written(
    house: House, umid: str, tree: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "root"
    shutil.copytree(tree, mine, symlinks=True)
    house.start(umid, "--root", str(mine))
    assert "/ hostfs rw" in house.ok("proc", umid, "mounts")
    wait_for((mine / "written").exists, "the guest has written to it")
    house.ok("shutdown", umid)


@pytest.mark.parametrize("mode", ["writes", "strict"])
def test_initial_disk_is_booted_by_a_confined_kernel(
    house: House, umid: str, tree: Path, tmp_path: Path, mode: str
) -> None:
    root = tmp_path / "root"
    shutil.copytree(tree, root, symlinks=True)
    (root / "sbin" / "init").rename(root / "init")
    pack = f"find . | busybox cpio -o -H newc | gzip >{tmp_path}/initrd.gz"
    subprocess.run(["sh", "-c", pack], cwd=root, check=True, capture_output=True)
    house.start(umid, "--initrd", f"{tmp_path}/initrd.gz", "--mem", "64M", "--confine", mode)
    wait_for(lambda: "the system is up" in house.ok("logs", umid), "the system is up")
    assert "/ rootfs rw" in house.ok("proc", umid, "mounts")
    (tmp_path / "initrd.gz").unlink()
    refused = house.umlctl("reboot", umid)
    assert refused.returncode == 1, refused
    assert "initrd.gz: No such file" in refused.stderr
    house.ok("shutdown", umid)


def make_image(tree: Path, directory: Path) -> Path:
    image = directory / "root.img"
    with image.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", str(tree), str(image)], check=True)
    return image


def test_an_image_is_a_root_and_whole_after_shutdown(
    house: House, umid: str, tree: Path, tmp_path: Path
) -> None:
    image = make_image(tree, tmp_path)
    house.start(umid, "--root", str(image))
    assert "/ ext4 rw" in house.ok("proc", umid, "mounts")
    assert house.ok("config", umid, "ubd0").strip() == str(image)
    wait_for(lambda: "the system is up" in house.ok("logs", umid), "the system is up")
    house.ok("shutdown", umid)
    checked = subprocess.run(["e2fsck", "-fn", str(image)], capture_output=True, check=False)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("mode", ["writes", "strict"])
def test_what_is_written_over_a_directory_does_not_reach_it_and_may_be_kept(
    house: House, umid: str, tree: Path, tmp_path: Path, mode: str
) -> None:
    mine = tmp_path / "root"
    shutil.copytree(tree, mine, symlinks=True)
    init = mine / "sbin" / "init"
    init.write_text(init.read_text().replace("echo written >", "echo written >>"))
    before = sorted(mine.rglob("*"))
    words = (umid, "--mem", "64M", "--root", str(mine), "--confine", mode)
    if LOADS_NOTHING and takes_insmod(house.umlctl("start", *words, f"--overlay={tmp_path}")):
        return
    for times in (1, 2):
        house.start(umid, "--root", str(mine), f"--overlay={tmp_path}", "--confine", mode)
        wait_for(lambda: "the system is up" in house.ok("logs", umid), "the system is up")
        assert "overlay / overlay rw" in house.ok("proc", umid, "mounts")
        assert house.ok("proc", umid, "1/root/written").split() == ["written"] * times
        house.ok("shutdown", umid)
    house.start(umid, "--root", str(mine), "--overlay", "--confine", mode)
    wait_for(lambda: "the system is up" in house.ok("logs", umid), "the system is up")
    assert house.ok("proc", umid, "1/root/written").split() == ["written"]
    house.ok("shutdown", umid)
    assert sorted(mine.rglob("*")) == before


@pytest.mark.parametrize("init", ["", "/init"])
def test_guest_of_an_ordinary_user_writes_over_this_machine(
    house: House, tmp_path: Path, init: str
) -> None:
    program = tmp_path / "init"
    program.write_text(
        "#!/bin/sh\nmount -t proc proc /proc && echo a >/etc/new && echo 42 >/proc/exitcode\n"
        "echo o >/proc/sysrq-trigger; while :; do sleep 1; done\n"
    )
    program.chmod(0o755)
    words = ["--init", str(program)] if init else []
    done = subprocess.run(
        [*as_somebody(), *house.command("run", "--overlay", "--mem", "64M", "--console", *words)],
        env=house.env,
        input=b"" if init else b"mkdir /etc/new && echo 42 >/proc/exitcode; exit\n",
        capture_output=True,
        timeout=DEADLINE,
        check=False,
    )
    assert takes_insmod(done) or ended_with(42, done.returncode, done.stderr.decode()), done
    assert not os.path.exists("/etc/new")


def test_this_machine_is_a_root_that_cannot_be_written(house: House, shared: str) -> None:
    mounts = house.ok("proc", shared, "mounts")
    assert "/ hostfs ro" in mounts
    assert "tmpfs /tmp" in mounts
    assert "tmpfs /run" in mounts


WRITERS = (
    "for n in 1 2 3; do sh -c \"trap '' TERM; while :; do echo >>/mnt/$n; done\" & done"
    " >/dev/null 2>&1"
)
"""Processes that write to a disk until they are killed."""


def test_what_is_mounted_is_the_same_and_unmounted_at_the_end_without_our_program(
    tmp_path: Path,
) -> None:
    """Our init does by programs of the host what ours does for it where that was built."""
    have_program()
    mounts: list[list[str]] = []
    with packages() as without:
        for source, mode in (
            (hatch_build.HERE, "writes"),
            (hatch_build.HERE, "strict"),
            (str(without), "writes"),
        ):
            has_program = source == hatch_build.HERE
            with a_house() as place:
                place.env["PYTHONPATH"] = source
                disk = str(tmp_path / f"{len(mounts)}.img")
                subprocess.run(["mke2fs", "-q", "-t", "ext4", disk, "16M"], check=True)
                place.start("here", "--disk", disk, *(("--confine", mode) if LANDLOCK else ()))
                place.has_shell("here")
                look = "cat /sys/class/net/lo/flags; mount -t ext4 /dev/ubdb /mnt && echo >/mnt/new"
                assert place.shell("here", look).split() == ["0x9"]
                assert ("agent" in place.shell("here", "ls /run").split()) == has_program
                seen = place.ok("proc", "here", "mounts").splitlines()
                mounts.append([each for each in seen if not re.search(r"/run/umlctl|ubdb", each)])
                if has_program:
                    place.shell("here", WRITERS)
                # It is halted, and no more, where it takes longer than it is given.
                assert place.ok("shutdown", "here", str(DEADLINE)) == "here shut down\n"
                state = subprocess.run(
                    ["dumpe2fs", "-h", disk], capture_output=True, text=True, check=True
                ).stdout
                assert "needs_recovery" not in state
    assert sorted(mounts[0]) == sorted(mounts[1]) == sorted(mounts[2])


def test_guest_ends_though_what_its_init_uses_is_covered(house: House, umid: str) -> None:
    house.start(umid)
    house.has_shell(umid)
    house.shell(umid, "mount -t tmpfs none /run")
    assert house.ok("shutdown", umid, str(DEADLINE)) == f"{umid} shut down\n"


def as_somebody() -> list[str]:
    """The command that runs another as an ordinary user, to whom root's files are another's."""
    command = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
    works = subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
    return command if works else []  # as whoever runs the tests


@pytest.mark.parametrize("init", ["", "/init"])
def test_ordinary_user_is_root_in_the_guest(house: House, tmp_path: Path, init: str) -> None:
    """Though mount is a set-user-ID program of somebody who is not root there."""
    program = tmp_path / "init"
    program.write_text(
        "#!/bin/sh\nmount -t proc proc /proc && mount -t tmpfs tmpfs /mnt && umount /mnt &&\n"
        "[ $(id -u) = 0 ] && echo 42 >/proc/exitcode\n"
        "echo o >/proc/sysrq-trigger; while :; do sleep 1; done\n"
    )
    program.chmod(0o755)
    words = ["--init", str(program)] if init else []
    done = subprocess.run(
        [*as_somebody(), *house.command("run", "--mem", "64M", "--console", *words)],
        env=house.env,
        input=b"" if init else b"mount -t tmpfs tmpfs /mnt && echo 42 >/proc/exitcode; exit\n",
        capture_output=True,
        timeout=DEADLINE,
        check=False,
    )
    assert ended_with(42, done.returncode, done.stderr.decode()), done


def test_kernel_arguments_have_a_root_of_their_own(
    house: House, umid: str, tree: Path, tmp_path: Path
) -> None:
    """And never the host's files, nor the init program that stands among them."""
    image = make_image(tree, tmp_path)
    house.start(umid, "--", "ubd0r=/dev/null", f"ubd1={image}", "root=98:16", f"umid={umid}")
    assert "/ ext4 ro" in house.ok("proc", umid, "mounts")
    assert house.status(umid)["root"] == "kernel arguments"
    wait_for(lambda: "the system is up" in house.ok("logs", umid), "the system is up")
    house.ok("shutdown", umid)
    house.start(umid, "--", f"ubd0={image}", "mem=48M")
    assert "/ ext4 ro" in house.ok("proc", umid, "mounts")
    assert house.status(umid)["memory_limit"] == 48 << 20
    wait_for(lambda: "the system is up" in house.ok("logs", umid), "the system is up")
    house.ok("shutdown", umid)
