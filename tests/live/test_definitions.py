"""Guests that are written down: the examples boot, and what is written is what runs."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.live.conftest import CONFINE, ended_with, wait_for
from tests.live.test_roots import make_image, tree
from umlctl.cli import examples
from umlctl.host import cgroups, programs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.live.conftest import House

__all__ = ["tree"]

VERDICT = """#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
echo 42 >/proc/exitcode
echo o >/proc/sysrq-trigger
while :; do /bin/busybox sleep 1; done
"""


NETWORKS = ["unshare", *([] if os.geteuid() == 0 else ["-r"]), "--mount", "--net"]
"""Before a command: it has networks and mounts of its own."""
AS_WRITTEN = """
mount --bind "$OWN/srv" /srv
mkdir "$OWN/cgroup"
mount --rbind /sys/fs/cgroup "$OWN/cgroup"
mount -t sysfs sysfs /sys
mount --rbind "$OWN/cgroup" /sys/fs/cgroup
$CREATE
exec "$@"
"""
ON_A_BRIDGE = """#!/bin/sh
mount -t proc proc /proc
echo "it is on $(busybox grep ' / ' /proc/mounts)"
busybox ifconfig vec0 10.1.0.2 netmask 255.255.255.0 up
busybox ping -c 1 -W 20 10.1.0.1 && echo 3 >/proc/exitcode
poweroff -f
"""


@pytest.fixture
def own(empty_house: House) -> Iterator[House]:
    """A home without guests, whose guests end with it."""
    yield empty_house
    empty_house.umlctl("shutdown", "--all", "1")


def write_example(name: str, directory: Path) -> str:
    path = directory / f"{name}.toml"
    path.write_text(examples.text_of(name))
    return str(path)


def test_kernel_test_ends_with_its_verdict(house: House, tmp_path: Path) -> None:
    (tmp_path / "test.sh").write_text(
        VERDICT.replace("/bin/busybox", shutil.which("busybox") or "")
    )
    (tmp_path / "test.sh").chmod(0o755)
    path = write_example("kernel-test", tmp_path)
    done = house.umlctl("run", path, "--once")
    assert ended_with(42, done.returncode, done.stderr), done
    assert f"umlctl: kernel-test: as {path} has it\n" in done.stderr


def test_lan_of_three_is_what_its_command_lines_say(own: House) -> None:
    for name in ("lan-a", "lan-b", "lan-c"):
        own.ok("define", "-", name, stdin=examples.text_of(name))
        assert own.listed(name)["state"] == "defined"
        told = shlex.split(own.ok("dumpargs", name))
        started = own.umlctl("start", name)
        assert started.returncode == 0, started
        assert (programs.NO_IP in started.stderr) == programs.init_lacks("ip")
        assert own.status(name)["command"] == told
    for name, address in (("lan-b", "10.0.0.1"), ("lan-c", "10.0.0.2")):
        own.has_shell(name)
        if not programs.init_lacks("ip"):  # else it was said that its NICs are not set up
            own.shell(name, f"busybox ping -c 1 -W 5 {address}")


def test_router_of_a_lab_forwards(own: House, tmp_path: Path) -> None:
    own.ok("start", write_example("lab-router", tmp_path))
    own.has_shell("lab-router")
    assert own.shell("lab-router", "cat /proc/sys/net/ipv4/ip_forward") == "1"
    assert "10.2.0.1/24" in own.ok("nic", "list", "lab-router")


def test_guest_to_throw_away_leaves_its_image(own: House, tree: Path, tmp_path: Path) -> None:
    image = make_image(tree, tmp_path)
    image.rename(tmp_path / "debian.img")
    before = (tmp_path / "debian.img").read_bytes()
    own.ok("start", write_example("throw-away", tmp_path))
    wait_for(lambda: "the system is up" in own.ok("logs", "throw-away"), "the system is up")
    own.ok("shutdown", "throw-away")
    assert (tmp_path / "debian.img").read_bytes() == before


def test_installer_boots_what_is_on_its_initial_disk_and_ends_when_it_reboots(
    house: House, tree: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    shutil.copytree(tree, root, symlinks=True)
    (root / "init").write_text("#!/bin/sh\necho it is installed\nexec busybox reboot -f\n")
    (root / "init").chmod(0o755)
    pack = f"find . | busybox cpio -o -H newc | gzip >{tmp_path}/initrd.gz"
    subprocess.run(["sh", "-c", pack], cwd=root, check=True, capture_output=True)
    for name in ("cd.iso", "disk.img"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(1 << 20)
    done = house.umlctl("run", write_example("installer", tmp_path), "--limit", "60")
    assert (done.returncode, "rebooting" in done.stderr) == (0, False), done
    assert house.ok("logs", "installer").count("it is installed") == 1


def can_have_networks() -> bool:
    """Whether there can be bridges and taps in a network namespace of these tests' own."""
    done = subprocess.run([*NETWORKS, "test", "-w", "/dev/net/tun"], check=False)
    return done.returncode == 0


@pytest.mark.skipif(not can_have_networks(), reason="this user can have no networks of its own")
def test_server_is_on_the_bridge(own: House, tree: Path, tmp_path: Path) -> None:
    """In namespaces, the host's bridges and /srv are as the example has them."""
    root = tmp_path / "root"
    shutil.copytree(tree, root, symlinks=True)
    (root / "sbin/init").write_text(ON_A_BRIDGE)
    (tmp_path / "srv/guests").mkdir(parents=True)
    image = make_image(root, tmp_path)
    image.rename(tmp_path / "srv/guests/debian.img")
    before = (tmp_path / "srv/guests/debian.img").read_bytes()
    path = write_example("server", tmp_path)
    if cgroups.unable():  # then its limits are refused, as tests of them see
        limits = re.compile("^(memory|cpu)-limit = .*\n", re.MULTILINE)
        (tmp_path / "server.toml").write_text(limits.sub("", examples.text_of("server")))
    create = own.command("network", "create", "br0", "--bridge", "--address", "10.1.0.1/24")
    own.env |= {"OWN": str(tmp_path), "CREATE": shlex.join(create)}
    done = subprocess.run(
        [*NETWORKS, "sh", "-ec", AS_WRITTEN, "sh", *own.command("run", path, "--limit", "240")],
        env=own.env,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    own.ok("network", "rm", "br0")
    assert ended_with(3, done.returncode, done.stderr), done
    said = own.ok("logs", "server")
    assert "1 packets received" in said
    assert "it is on /dev/root / ext4 rw" in said
    assert (tmp_path / "srv/guests/debian.img").read_bytes() == before
    assert (tmp_path / "srv/guests/server.cow").exists()


def test_what_was_changed_is_shown_and_then_runs(own: House, tmp_path: Path) -> None:
    own.ok("define", write_example("diskless", tmp_path))
    own.ok("start", "diskless", "--cpus", "0")
    told = own.ok("show", "diskless", "--diff").splitlines()
    ours = ("confine", "ro") if CONFINE else ()  # what every guest of these tests is started with
    told = [line for line in told if line.partition(":")[0] not in ours]
    assert told == ["cpus: runs with 0, written is the default"]
    own.env["EDITOR"] = "sed -i s/128M/96M/"
    own.ok("edit", "diskless")
    changed = json.loads(own.ok("show", "diskless", "--diff", "--json"))["changed"]
    changed = {key: values for key, values in changed.items() if key not in ours}
    assert changed == {"mem": ["128M", "96M"], "cpus": ["0", None]}
    own.ok("restart", "--reload", "diskless")
    assert own.ok("show", "diskless", "--diff") == "diskless runs as it is written\n"
    assert own.status("diskless")["memory_limit"] == 96 << 20
    own.ok("shutdown", "diskless")
    own.ok("enable", "diskless")
    own.env["EDITOR"] = "sed -i s/96M/80M/"
    own.ok("edit", "diskless")
    own.ok("autostart")
    assert own.status("diskless")["memory_limit"] == 80 << 20
