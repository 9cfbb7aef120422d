"""Devices on real guests: plugged and taken out, refused and undone, back after a reboot."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.live.conftest import WHOLE, unless_strict, wait_for
from umlctl.host import paths, processes

if TYPE_CHECKING:
    from tests.live.conftest import House

CYCLES = 200 if WHOLE else 40
REBOOTS = 10
MEGABYTE = 1 << 20
LOCKS = """
import fcntl, sys
file = open(sys.argv[1], "r+")
fcntl.lockf(file, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""


def file_system(path: Path, megabytes: int = 4) -> Path:
    """An image with an empty ext4."""
    with path.open("wb") as file:
        file.truncate(megabytes * MEGABYTE)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", path], check=True)
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def in_image(path: Path, name: str) -> str:
    """A file of an image, read by the host."""
    done = subprocess.run(
        ["debugfs", "-R", f"cat {name}", path], capture_output=True, text=True, check=True
    )
    return done.stdout


def descriptors(pid: int) -> list[str]:
    """What a process has open, but for what comes and goes: sockets, the host's files that a guest
    on hostfs has in its cache, and the directory that a supervisor keeps as soon as a guest of its
    user has a socket for others."""
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
        except OSError:
            continue
    passing = ("socket:", "pipe:", "anon_", "/usr/", "/lib", "/bin/", "/etc/", "/proc/")
    return sorted(path for path in found if not path.startswith((*passing, paths.shared_dir())))


@pytest.fixture
def guest(house: House, umid: str) -> str:
    """A guest of one's own, with a shell."""
    house.start(umid)
    house.has_shell(umid)
    house.shell(umid, "mkdir -p /tmp/m")
    return umid


# Plug and unplug


@pytest.mark.timeout(300)
def test_a_disk_is_plugged_written_and_taken_out_time_and_again(
    house: House, guest: str, tmp_path: Path
) -> None:
    image = file_system(tmp_path / "disk.img")
    status = house.status(guest)
    before = {pid: descriptors(pid) for pid in (status["pid"], status["supervisor_pid"])}
    for number in range(CYCLES):
        added = house.ask(guest, f"plug disk {image},slot=1")
        assert added.ok, (number, added)
        house.shell(
            guest, f"mount /dev/ubdb /tmp/m && echo cycle {number} >/tmp/m/f && umount /tmp/m"
        )
        removed = house.ask(guest, "remove ubd1")
        assert removed.ok, (number, removed)
        if number % 20 == 0 or number == CYCLES - 1:
            assert in_image(image, "f") == f"cycle {number}\n"
    assert house.table(guest) == {}
    assert {pid: descriptors(pid) for pid in before} == before
    assert (
        subprocess.run(["e2fsck", "-fn", image], capture_output=True, check=False).returncode == 0
    )


@pytest.mark.timeout(300)
@unless_strict("its backing file is not given to the guest when that starts")
def test_a_cow_disk_leaves_its_backing_file_as_it_was(
    house: House, guest: str, tmp_path: Path
) -> None:
    backing = file_system(tmp_path / "base.img")
    was = digest(backing), backing.stat().st_mtime_ns
    cow = tmp_path / "mine.cow"
    for number in range(CYCLES):
        added = house.ask(guest, f"plug disk {backing},slot=2,cow={cow}")
        assert added.ok, (number, added)
        # What the last cycle wrote is there: the COW file keeps it.
        house.shell(
            guest,
            "mount /dev/ubdc /tmp/m && "
            + (f'[ "$(cat /tmp/m/f)" = "cycle {number - 1}" ] && ' if number else "")
            + f"echo cycle {number} >/tmp/m/f && umount /tmp/m",
        )
        removed = house.ask(guest, "remove ubd2")
        assert removed.ok, (number, removed)
    assert (digest(backing), backing.stat().st_mtime_ns) == was
    # The stock program agrees that what was made is a COW file, and merges it.
    merged = tmp_path / "merged.img"
    subprocess.run(["uml_moo", cow, merged], check=True, capture_output=True)
    assert in_image(merged, "f") == f"cycle {CYCLES - 1}\n"


@unless_strict("its backing file is not given to the guest when that starts")
def test_what_a_discarded_disk_took_is_gone_with_it(
    house: House, guest: str, tmp_path: Path
) -> None:
    backing = file_system(tmp_path / "base.img")
    was = digest(backing)
    house.ok("disk", "add", guest, str(backing), "--discard")
    made = house.table(guest)["ubd1"]["made"]["discard"]
    assert Path(made).exists()
    house.shell(guest, "mount /dev/ubdb /tmp/m && echo lost >/tmp/m/f && umount /tmp/m")
    house.ok("disk", "rm", guest, "ubd1")
    assert not Path(made).exists()
    house.ok("disk", "add", guest, str(backing), "--discard")
    house.shell(guest, "mount /dev/ubdb /tmp/m; ls /tmp/m/f && exit 1; umount /tmp/m")
    house.ok("shutdown", guest)
    assert not Path(made).exists()
    assert digest(backing) == was


def test_the_first_disk_can_be_another_one(house: House, guest: str, tmp_path: Path) -> None:
    """ubd0 is /dev/null until somebody wants it."""
    image = file_system(tmp_path / "disk.img")
    house.ok("disk", "add", guest, str(image), "--slot", "0")
    assert house.table(guest)["ubd0"]["observed"]["size"] == 4 * MEGABYTE
    house.ok("reboot", guest)
    wait_for(lambda: house.status(guest)["reboots"] == 1, "it reboots")
    house.has_shell(guest)
    assert house.table(guest)["ubd0"]["observed"]["size"] == 4 * MEGABYTE
    house.ok("remove", guest, "ubd0")
    house.ok("version", guest)


def test_options_of_a_disk_reach_the_guest(house: House, guest: str, tmp_path: Path) -> None:
    image = file_system(tmp_path / "a disk.img")
    words = ("--ro", "--serial", "S123", "--slot", "5")
    shown = json.loads(house.ok("disk", "add", guest, str(image), *words, "--json"))
    assert shown["name"] == "ubd5"
    assert house.shell(guest, "cat /sys/block/ubdf/ro /sys/block/ubdf/serial") == "1\nS123"
    assert "ubd5  /dev/ubdf  4.0M" in house.ok("disk", "list", guest)


def test_the_stock_client_goes_through_the_same_table(
    house: House, guest: str, tmp_path: Path
) -> None:
    image = file_system(tmp_path / "disk.img")
    assert house.stock(guest, "config", f"ubd3={image}").stdout == b"OK \n"
    assert house.table(guest)["ubd3"]["observed"]["block"] == "ubdd"
    again = house.stock(guest, "config", f"ubd4={image}")
    assert again.stdout.startswith(b"ERR ubd4: ")
    assert house.stock(guest, "remove", "ubd3").stdout == b"OK \n"
    assert house.table(guest) == {}


def test_devices_of_the_start_are_in_the_table(house: House, umid: str, tmp_path: Path) -> None:
    image = file_system(tmp_path / "disk.img")
    cow = tmp_path / "cow"
    house.start(
        umid, "--disk", f"{image},cow={cow}", "--nic", "switch=start", "--", f"ubd7r={image}"
    )
    house.has_shell(umid)
    table = house.table(umid)
    assert {name: row["boot"] for name, row in table.items()} == dict.fromkeys(
        ("ubd1", "ubd7", "vec0"), True
    )
    assert table["ubd1"]["observed"]["size"] == 4 * MEGABYTE
    assert table["vec0"]["observed"]["address"] == table["vec0"]["mac"]
    house.ok("remove", umid, "ubd7")
    house.ok("reboot", umid)
    wait_for(lambda: house.status(umid)["reboots"] == 1, "it reboots")
    house.has_shell(umid)
    assert set(house.table(umid)) == {"ubd1", "vec0"}
    assert "ubdh" not in house.ok("proc", umid, "partitions")


def test_memory_is_taken_and_given_back(house: House, guest: str) -> None:
    def memory() -> dict[str, int]:
        shown: dict[str, int] = json.loads(house.ok("mem", guest, "--json"))
        return shown

    used = house.status(guest)["memory"]
    free = memory()["free"]
    house.shell(guest, "head -c 20M /dev/zero >/tmp/fill; rm /tmp/fill")
    house.ok("mem", guest, "-16M")
    assert memory()["taken"] == 16 * MEGABYTE
    assert memory()["free"] < free - 12 * MEGABYTE
    assert house.status(guest)["memory"] < used + 20 * MEGABYTE
    for wrong, why in (("-1G", "too much"), ("+17M", "at most what was taken")):
        refused = house.umlctl("mem", guest, wrong)
        assert refused.returncode == 1
        assert why in refused.stderr
    house.ok("reboot", guest)
    wait_for(lambda: house.status(guest)["reboots"] == 1, "it reboots")
    house.has_shell(guest)
    assert memory()["taken"] == 16 * MEGABYTE
    house.ok("mem", guest, "+16M")
    assert memory()["taken"] == 0


def test_a_line_is_plugged_and_keeps_its_channel_when_the_next_is_wrong(
    house: House, guest: str
) -> None:
    house.ok("config", guest, "con1=pts")
    assert house.table(guest)["con1"]["observed"]["config"].startswith("pts")
    for wrong in ("con1=nonsense", "con1=xterm", "con1=port:9000", "con0=pts", "ssl99=pts"):
        assert house.umlctl("config", guest, wrong).returncode == 1, wrong
    assert house.ok("config", guest, "con1").startswith("pts")
    house.ok("remove", guest, "con1")
    assert house.table(guest) == {}


# After a reboot


@pytest.mark.timeout(300)
@unless_strict("its backing file is not given to the guest when that starts")
def test_everything_is_back_after_every_reboot(house: House, guest: str, tmp_path: Path) -> None:
    image = file_system(tmp_path / "disk.img")
    base = file_system(tmp_path / "base.img")
    house.ok("disk", "add", guest, str(base), "--cow", str(tmp_path / "cow"), "--slot", "4")
    house.ok("disk", "add", guest, str(image))
    house.ok("nic", "add", guest, "--switch", "back")
    house.ok("nic", "add", guest, "--switch", "back", "--mac", "02:00:00:00:00:77", "--nic", "3")
    house.ok("config", guest, "con2=pts")
    ways = (
        lambda: house.ok("reboot", guest),
        lambda: house.ok("sysrq", guest, "b"),
        lambda: Path(f"{house.run}/g/{guest}/con0.in").write_text("echo b >/proc/sysrq-trigger\n"),
    )

    def facts() -> list[tuple[object, ...]]:
        return [
            (name, row["kernel"], (row["observed"] or {}).get("size"), row.get("problem"))
            for name, row in house.table(guest).items()
        ]

    def addresses() -> str:
        return house.shell(guest, "cat /sys/class/net/vec0/address /sys/class/net/vec3/address")

    before = facts(), addresses()
    assert [name for name, *_ in before[0]] == ["ubd4", "ubd1", "vec0", "vec3", "con2"]
    for number in range(1, REBOOTS + 1):
        ways[number % len(ways)]()
        wait_for(
            lambda number=number: house.status(guest)["reboots"] == number,  # type: ignore[misc]
            "it reboots",
        )
        # Nobody's request is answered before they are back.
        wait_for(lambda: house.ask(guest, "proc uptime").ok, "it answers")
        assert facts() == before[0], number
        house.has_shell(guest)
        assert addresses() == before[1]


def test_reboot_right_after_a_disk_was_added_is_no_panic(
    house: House, umid: str, tmp_path: Path
) -> None:
    """The guest's kernel may read it still, or tell its own programs of it."""
    image = file_system(tmp_path / "disk.img")
    house.start(umid)
    for number in range(1, REBOOTS + 1):
        assert house.ask(umid, f"plug disk {image},slot=1").ok
        assert house.ask(umid, "reboot").ok
        wait_for(
            lambda number=number: house.status(umid)["reboots"] == number,  # type: ignore[misc]
            "it reboots",
        )
        assert house.ask(umid, "proc uptime").ok  # answered when the disk is back
        (row,) = house.table(umid).values()
        assert (row["name"], row.get("problem")) == ("ubd1", None)
        assert row["observed"]["size"] == 4 * MEGABYTE
        assert house.status(umid)["last_panic"] is None
        removed = house.ask(umid, "remove ubd1")
        assert removed.ok, removed.text


def test_what_cannot_be_plugged_again_is_said(house: House, guest: str, tmp_path: Path) -> None:
    """A file that is gone, one that was made anew, by its old inode maybe, and an emptied one."""
    gone, anew, emptied = (file_system(tmp_path / f"{name}.img") for name in ("a", "b", "c"))
    for image in (gone, anew, emptied):
        house.ok("disk", "add", guest, str(image))
    gone.unlink()
    anew.unlink()
    file_system(anew)
    os.truncate(emptied, 0)
    noted = house.ok("disk", "list", guest)
    for note in ("is gone", "another file was put in the place", "has 0 bytes now"):
        assert note in noted
    house.ok("reboot", guest)
    wait_for(lambda: house.status(guest)["reboots"] == 1, "it reboots")
    wait_for(lambda: house.ask(guest, "version").ok, "it answers")
    rows = house.status(guest)["devices"]
    assert [row["observed"] for row in rows] == [None] * 3
    problems = [row["problem"] for row in rows]
    for problem, said in zip(
        problems, ("No such file", "another file was put in", "is empty"), strict=True
    ):
        assert said in problem
        assert problem in house.ok("disk", "list", guest)
    assert "device lost" in house.ok("events", guest)


# What goes wrong


def test_every_failure_is_said_and_leaves_everything_as_it_was(
    house: House, guest: str, tmp_path: Path
) -> None:
    good = file_system(tmp_path / "good.img")
    used = file_system(tmp_path / "used.img")
    base = file_system(tmp_path / "base.img")
    changed = file_system(tmp_path / "changed.img")
    subprocess.run(["uml_mkcow", tmp_path / "old.cow", changed], check=True, capture_output=True)
    os.utime(changed, (1, 1))
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "q.qcow2").write_bytes(b"QFI\xfb".ljust(MEGABYTE, b"\0"))
    (tmp_path / "plain").write_bytes(b"no COW file" * 1000)
    (tmp_path / "with,comma").write_bytes(good.read_bytes())
    silent = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    silent.bind(str(tmp_path / "silent"))  # and never listens
    locked = subprocess.Popen(
        ["python3", "-c", LOCKS, tmp_path / "plain"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert locked.stdout is not None
    locked.stdout.readline()
    house.ok("disk", "add", guest, str(used), "--slot", "9")
    house.shell(guest, "mount /dev/ubdj /tmp/m")
    house.ok("nic", "add", guest, "--switch", "fail", "--nic", "9")
    house.shell(guest, "ip link set vec9 up")
    cases = {
        f"plug disk {tmp_path}/none": "No such file",
        f"plug disk {tmp_path}": "is a directory",
        f"plug disk {tmp_path}/fifo": "neither a file nor a block device",
        f"plug disk {tmp_path}/empty": "is empty",
        f"plug disk {tmp_path}/q.qcow2": "is a qcow2 image",
        f"config ubd1={tmp_path}/q.qcow2": "is a qcow2 image",
        f"plug disk {tmp_path}/plain": "is locked by process",
        f"plug disk {tmp_path}/with,comma": "not 'comma'",
        f"config ubd1={tmp_path}/with,comma": "",
        f"plug disk {used}": "take it out there first",
        f"plug disk {used},cow={tmp_path}/c": "take it out there first",
        f"plug disk {good},slot=9": "ubd9 is in use",
        f"plug disk {good},slot=16": "from 0 to 15",
        f"plug disk {good},cow={good}": "",
        f"plug disk {good},cow={base}": "is no COW file",
        f"plug disk {good},cow={tmp_path}/no/c": "no directory",
        f"plug disk {tmp_path}/old.cow": "does not fit",
        f"plug disk {changed},cow={tmp_path}/old.cow": "does not fit",
        f"plug disk /{'x' * 499}": "511",
        "plug nic tap=nowhere": "nowhere" if os.path.isdir("/sys/class/net") else "no /sys",
        "plug nic tap=a-name-that-is-too-long": "15",
        "plug nic switch=fail,nic=9": "vec9 is in use",
        "plug nic switch=fail,mac=01:00:00:00:00:01": "unicast",
        f"plug nic switch=fail,mac={house.table(guest)['vec9']['mac']}": "MAC",
        f"config vec1:transport=bess,dst={tmp_path}/silent": "nobody listens",
        f"config vec1:transport=bess,dst={tmp_path}/missing": "no socket",
        "config vec1:transport=nonsense": "nonsense",
        "config vec1:transport=tap": "ifname",
        "config udb1=/x": "ubd",
        "config ubd1": "",
        "config ubd99=/x": "",
        "remove ubd9": "mounted in the guest on /tmp/m",
        "remove vec9": "up in the guest",
        "remove ubd7": "",
        "remove ubd7x": "",
        "remove nonsense": "nonsense",
        "config mem=64M": "mem",
        "config mem=-10G": "too much",
    }
    table = house.lasting(guest)
    files = sorted(tmp_path.iterdir())
    partitions = house.ok("proc", guest, "partitions")
    try:
        for request, why in cases.items():
            outcome = house.ask(guest, request)
            if request == "config ubd1":
                continue
            assert outcome.kind == "refused", (request, outcome)
            assert why in outcome.text, (request, outcome.text)
            assert outcome.text.strip(), request
        assert house.lasting(guest) == table
        assert sorted(tmp_path.iterdir()) == files
        assert house.ok("proc", guest, "partitions") == partitions
        # And the guest is none the worse.
        house.shell(guest, "ip link set vec9 down; umount /tmp/m")
        house.ok("disk", "rm", guest, "9")
        house.ok("nic", "rm", guest, "9")
    finally:
        locked.communicate()
        silent.close()


@unless_strict("its backing file is not given to the guest when that starts")
def test_two_guests_do_not_write_one_image(house: House, guest: str, tmp_path: Path) -> None:
    image = file_system(tmp_path / "disk.img")
    house.ok("disk", "add", guest, str(image))
    other = f"{guest}-b"
    refused = house.umlctl("start", other, "--mem", "64M", "--disk", str(image))
    assert refused.returncode == 7
    assert f"is written by {guest}" in refused.stderr
    assert house.leftovers(other) == []
    alias = tmp_path / "alias.img"
    alias.symlink_to(image)
    assert house.umlctl("start", other, "--mem", "64M", "--disk", f"{alias},ro").returncode == 7
    house.ok("disk", "rm", guest, "1")
    try:
        house.start(other, "--disk", f"{image},ro")
        house.ok("disk", "add", guest, str(image), "--ro")  # readers may be many
        house.ok("disk", "add", guest, str(image), "--discard")
        assert house.umlctl("disk", "add", guest, str(image)).returncode == 1
        house.ok("disk", "add", guest, str(image), "--shared")
    finally:
        house.umlctl("kill", other)


def test_a_disk_is_added_while_the_guest_stops_boots_and_dies(
    house: House, umid: str, tmp_path: Path
) -> None:
    image = file_system(tmp_path / "disk.img")
    starting = subprocess.Popen(house.command("start", umid, "--mem", "64M"), env=house.env)
    answers = []
    while starting.poll() is None:  # from before it is there until it is ready
        if os.path.exists(house.public(umid)):
            try:
                answers.append(house.ask(umid, f"plug disk {image},slot=1"))
            except OSError:
                continue
            if answers[-1].ok:
                house.ask(umid, "remove ubd1")
    assert starting.returncode == 0
    assert all(answer.ok or answer.text for answer in answers)
    house.ok("stop", umid)
    stopped = house.umlctl("disk", "add", umid, str(image))
    assert (stopped.returncode, "paused" in stopped.stderr) == (1, True)
    house.ok("go", umid)
    house.ok("disk", "add", umid, str(image))
    house.ok("disk", "rm", umid, "1")
    pid = house.status(umid)["pid"]
    dying = subprocess.Popen(house.command("sysrq", umid, "c"), env=house.env, stderr=-3)
    while dying.poll() is None or processes.start_time(pid) is not None:
        done = house.umlctl("disk", "add", umid, str(image))
        if done.returncode == 0:
            house.umlctl("disk", "rm", umid, "1")
        else:
            assert done.returncode in (1, 3, 5), done
    assert house.umlctl("wait", umid).returncode == 255


def test_a_killed_supervisor_leaves_a_table_that_can_be_read(
    house: House, umid: str, tmp_path: Path
) -> None:
    image = file_system(tmp_path / "disk.img")
    with house.running(umid) as process:
        house.ok("disk", "add", umid, str(image))
        pid = house.status(umid)["pid"]
        process.send_signal(signal.SIGKILL)
        process.wait()
        record = json.loads(Path(f"{house.state}/guests/{umid}/record.json").read_text())
        assert [entry["name"] for entry in record["devices"]] == ["ubd1"]
        # Its guest lives, and its image is still taken.
        other = house.umlctl("start", f"{umid}-b", "--mem", "64M", "--disk", str(image))
        assert f"is written by {umid}" in other.stderr
        house.ok("kill", umid)
        wait_for(lambda: processes.start_time(pid) is None, "it is gone")
