"""What a guest's kernel may do on this host, and as whom."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import resource
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import fake_kernel
from tests.live.conftest import LOADS_NOTHING, House, takes_insmod, wait_for
from umlctl.host import cgroups, paths, processes

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = os.geteuid() == 0
NOBODY = pwd.getpwnam("nobody")
LIMITS = ROOT and not cgroups.unable()
"""This host lets root limit guests. Others may by the systemd of their session, which is not of
the run directory that these tests have; where nobody may, the error is tested."""


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def as_nobody(*words: str) -> None:
    subprocess.run(
        ["sh", "-c", *words], user="nobody", group=NOBODY.pw_gid, extra_groups=[], check=True
    )


def test_kernel_has_as_little_as_it_needs(house: House, shared: str) -> None:
    pid = house.status(shared)["pid"]
    found = status_of(pid)
    assert found["Umask"] == "0077"
    assert found["NoNewPrivs"] == "1"
    assert resource.prlimit(pid, resource.RLIMIT_CORE) == (0, 0)


def test_kernel_has_no_files_open_but_its_own(house: House, shared: str) -> None:
    pid = house.status(shared)["pid"]
    own = (
        rf"{house.run}/g/{shared}/\w+\.in",
        rf"{house.state}/guests/{shared}/\w+\.log",
        r"/dev/(null|random|urandom)|/dev/shm/#\d+ \(deleted\)|anon_inode:.*|socket:.*|pipe:.*",
        r"/memfd:uml-userspace \(deleted\)",  # what its processes begin as, since Linux 7
    )
    hostfs = ("/usr/", "/etc/", "/bin/", "/lib", "/run/", "/proc/", f"{house.run}/g/")
    for number in os.listdir(f"/proc/{pid}/fd"):
        target = os.readlink(f"/proc/{pid}/fd/{number}")
        if not target.startswith(hostfs):  # what the guest's own processes have open
            assert any(re.fullmatch(each, target) for each in own), target


def test_limits_that_cannot_be_had_are_an_error(house: House, umid: str) -> None:
    house.env["UMLCTL_CGROUP"] = f"{house.path}/none"
    try:
        for words in (["--memory-limit", "100M"], ["--cpu-limit", "50"]):
            done = house.umlctl("run", umid, "--mem", "64M", *words)
            assert done.returncode == 7
            assert "does not let you limit what a guest uses" in done.stderr
    finally:
        del house.env["UMLCTL_CGROUP"]
    for words in (["--memory-limit", "1M"], ["--memory-limit", "x"], ["--cpu-limit", "0"]):
        assert house.umlctl("run", umid, *words).returncode == 2


if LIMITS:

    def test_guest_has_the_limits_that_were_asked_for(house: House, umid: str) -> None:
        words = ["--mem", "64M", "--memory-limit", "120M", "--cpu-limit", "80"]
        house.start(umid, *words)
        cgroup = house.status(umid)["cgroup"]
        read = {name: Path(cgroup, name).read_text() for name in ("memory.max", "cpu.max")}
        assert read == {"memory.max": f"{120 << 20}\n", "cpu.max": "80000 100000\n"}
        pids = Path(cgroup, "cgroup.procs").read_text().split()
        assert str(house.status(umid)["pid"]) in pids
        house.ok("kill", umid)
        wait_for(lambda: not os.path.exists(cgroup), "its cgroup is removed")

    @pytest.mark.parametrize("supervised", [True, False])
    def test_guest_that_needs_more_memory_than_it_may_have_is_ended_as_a_whole(
        house: House, umid: str, shared: str, supervised: bool
    ) -> None:
        house.start(umid, "--mem", "256M", "--memory-limit", "100M")
        status = house.status(umid)
        house.has_shell(umid)
        if not supervised:
            os.kill(status["supervisor_pid"], signal.SIGKILL)
        fill = "mount -t tmpfs none /mnt; dd if=/dev/zero of=/mnt/x bs=1M count=120\n"
        with open(f"{house.run}/g/{umid}/con0.in", "w") as console:
            console.write(fill)
        wait_for(lambda: not os.path.exists(status["cgroup"]), "it is ended, its cgroup removed")
        assert "needed more memory than its --memory-limit" in house.ok("list")
        assert processes.start_time(status["pid"]) is None
        assert house.ok("version", shared)


if ROOT:

    def test_root_is_told_of_what_a_guest_on_hostfs_reaches(house: House, umid: str) -> None:
        os.makedirs(f"{house.state}", exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{house.state}/told-of-root")
        done = house.umlctl("start", umid, "--mem", "64M", "--confine", "off")
        assert "reaches every file of this host" in done.stderr
        assert "reaches every file" not in house.umlctl("start", umid).stderr

    def test_guest_runs_as_another_user(house: House, umid: str) -> None:
        done = house.umlctl("start", umid, "--mem", "64M", "--user", "nobody")
        assert (done.returncode, done.stderr) == (0, "")
        pid = house.status(umid)["pid"]
        found = status_of(pid)
        assert found["Uid"].split() == [str(NOBODY.pw_uid)] * 4
        assert int(found["CapEff"], 16) == int(found["CapBnd"], 16) == 0
        house.has_shell(umid)
        assert house.try_shell(umid, "cat /etc/shadow")[0] != 0
        assert house.shell(umid, "echo hello >/proc/mconsole; head -1 /etc/passwd")
        house.ok("reboot", umid)
        house.has_shell(umid)
        os.kill(house.status(umid)["supervisor_pid"], 9)
        wait_for(lambda: house.umlctl("version", umid).returncode == 0, "it is adopted")
        house.ok("reboot", umid)
        house.has_shell(umid)
        assert house.status(umid)["pid"] == pid
        house.ok("kill", umid)
        wait_for(lambda: not os.path.exists(paths.open_dir(umid)), "its place is removed")

    def test_guest_starts_where_the_host_lets_nobody_execute_files() -> None:
        """As in /run, where systemd has mounted it."""
        path = tempfile.mkdtemp(prefix="u", dir="/tmp")
        house = House(path)
        umid = os.path.basename(path)
        options = "noexec,nosuid,nodev,mode=700"
        os.makedirs(house.run)
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", house.run], check=True)
        try:
            house.start(umid)
            house.has_shell(umid)
            house.ok("shutdown", umid)
            house.ok("quit")
        finally:
            subprocess.run(["umount", "-l", house.run], check=True)
            shutil.rmtree(path)

    @pytest.mark.parametrize("words", [[], ["--user", "nobody"]])
    def test_kernel_has_mounts_of_its_own_and_sees_those_that_the_host_makes_later(
        words: list[str],
    ) -> None:
        path = tempfile.mkdtemp(prefix="u", dir="/tmp")
        later = f"{path}/later"
        os.mkdir(later)
        os.chmod(path, 0o711)
        unshare = ["unshare", "--mount", "--propagation", "shared"]
        if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
            # Another directory is the root, which is no mount: a kernel has none of its own there.
            house = House(f"{path}/h")
            house.start(os.path.basename(path), *words)
            pid = house.status(os.path.basename(path))["pid"]
            assert _mounts(pid) == _mounts(os.getpid())
            house.ok("quit")
            shutil.rmtree(path)
            return
        with subprocess.Popen([*unshare, "sleep", "infinity"]) as host:
            wait_for(lambda: os.path.exists(f"/proc/{host.pid}/ns/mnt"), "there is a host")
            inside = ["nsenter", f"--mount=/proc/{host.pid}/ns/mnt", "--wdns=/"]
            wait_for(lambda: _mounts(host.pid) != _mounts(os.getpid()), "it has mounts of its own")
            house = Elsewhere(f"{path}/h", inside)
            umid = os.path.basename(path)
            try:
                house.start(umid, *words)
                pid = house.status(umid)["pid"]
                assert _mounts(pid) not in (_mounts(host.pid), _mounts(os.getpid()))
                mount = ["mount", "-t", "tmpfs", "-o", "mode=755", "none", later]
                subprocess.run([*inside, *mount], check=True)
                make = f"truncate -s 1M {later}/disk; chmod 666 {later}/disk"
                subprocess.run([*inside, "sh", "-c", make], check=True)
                house.ok("disk", "add", umid, f"{later}/disk")
                house.ok("reboot", umid)
                wait_for(lambda: house.umlctl("version", umid).returncode == 0, "it is back")
                assert "1.0M" in house.ok("disk", "list", umid)
                house.ok("disk", "rm", umid, "ubd1")
                subprocess.run([*inside, "umount", later], check=True)
                assert later not in Path(f"/proc/{pid}/mounts").read_text()
                house.ok("kill", umid)
                house.ok("quit")
            finally:
                house.umlctl("kill", umid)
                house.umlctl("quit")
                host.kill()
        shutil.rmtree(path)

    class Elsewhere(House):
        """A home whose commands run on another host, as far as mounts go."""

        def __init__(self, path: str, inside: list[str]) -> None:
            super().__init__(path)
            self.inside = inside

        def command(self, *words: str) -> list[str]:
            return [*self.inside, *super().command(*words)]

    def _mounts(pid: int) -> str:
        return os.readlink(f"/proc/{pid}/ns/mnt")

    def test_guest_of_another_user_is_adopted_though_nothing_of_its_record_is_left(
        house: House, umid: str
    ) -> None:
        with pretending(umid) as another:
            house.start(umid, "--user", "nobody")
            status = house.status(umid)
            supervisor = status["supervisor_pid"]
            started = processes.start_time(supervisor) or 0
            os.kill(supervisor, signal.SIGKILL)
            wait_for(lambda: not processes.alive(supervisor, started), "it is gone")
            Path(f"{house.state}/guests/{umid}/record.json").unlink()
            Path(f"{house.run}/g/{umid}/record.json").unlink()
            assert house.ok("adopt", umid) == f"{umid} has a supervisor again\n"
            assert house.status(umid)["pid"] == status["pid"] != another
            house.ok("kill", umid)
        wait_for(lambda: not os.path.exists(paths.open_dir(umid)), "its place is removed")
        wait_for(lambda: not house.leftovers(umid), "nothing is left")

    @contextlib.contextmanager
    def pretending(umid: str) -> Iterator[int]:
        """A process of that user's that says it is the kernel; its pid."""
        words = ["linux", "-c", "read line", f"umid={umid}", f"uml_dir={paths.open_dir(umid)}/k"]
        with subprocess.Popen(
            words, executable="/bin/sh", stdin=subprocess.PIPE, user=NOBODY.pw_uid
        ) as process:
            yield process.pid
            process.kill()

    def test_no_path_of_the_guests_user_leads_the_supervisor_elsewhere(
        house: House, umid: str, shared: str
    ) -> None:
        """Root's supervisor can reach what that user cannot: the sockets of other guests."""
        house.start(umid, "--user", "nobody")
        socket = house.status(umid)["sockets"]["kernel"]
        directory, other = os.path.dirname(socket), house.public(shared)
        for command in (
            f"mv {socket} {socket}~; ln -s {other} {socket}",
            f"rm {socket}; mkfifo {socket}",
            f"mv {directory} {directory}~; ln -s {os.path.dirname(other)} {directory}",
            f"rm {directory}; ln -s {umid} {directory}",
        ):
            as_nobody(command)
            done = house.umlctl("proc", umid, "sys/kernel/hostname")
            assert done.returncode != 0, command
            assert shared not in done.stdout
        as_nobody(f"rm {directory}; mv {directory}~ {directory}; mv -f {socket}~ {socket}")
        assert house.ok("proc", umid, "sys/kernel/hostname").strip() == umid

    def test_what_the_guests_user_leaves_is_removed_however_deep_it_is(
        house: House, umid: str, tmp_path: Path
    ) -> None:
        house.start(umid, "--user", "nobody")
        directory = os.path.dirname(house.status(umid)["sockets"]["kernel"])
        kept = tmp_path / "kept"
        kept.touch()
        as_nobody(f"ln -s {tmp_path} {directory}/link")
        as_nobody(f"cd {directory} && exec mkdir -p {'d/' * 1900}")
        house.ok("kill", umid)
        wait_for(lambda: not os.path.exists(paths.open_dir(umid)), "its place is removed")
        assert kept.exists()
        house.start(umid, "--user", "nobody")

    def test_guests_user_is_not_told_what_is_in_our_environment(house: House, umid: str) -> None:
        command = house.command("run", umid, "--mem", "64M", "--user", "nobody")
        with subprocess.Popen(command, env=house.env | {"SECRET": "hush"}) as supervisor:
            wait_for(lambda: house.umlctl("version", umid).returncode == 0, "it is ready")
            with open(f"/proc/{house.status(umid)['pid']}/environ", "rb") as file:
                words = dict(word.split(b"=", 1) for word in file.read().split(b"\0") if word)
            supervisor.terminate()
        assert b"SECRET" not in words
        assert words[b"HOME"] == os.fsencode(NOBODY.pw_dir)

    def test_nothing_is_left_of_a_dead_one_whose_record_is_lost(house: House, umid: str) -> None:
        house.start(umid, "--user", "nobody")
        status = house.status(umid)
        pids = status["supervisor_pid"], status["pid"]
        os.kill(pids[0], 9)
        os.killpg(pids[1], 9)
        wait_for(lambda: not any(map(processes.start_time, pids)), "both are gone")
        for record in (f"{house.state}/guests/{umid}", f"{house.run}/g/{umid}"):
            Path(f"{record}/record.json").write_text("{")
        house.ok("adopt")
        wait_for(lambda: not os.path.exists(paths.open_dir(umid)), "what it left is removed")

    def test_nothing_is_left_of_who_died_unseen(house: House, umid: str) -> None:
        for words in (["--user", "nobody"], ["--allow-user", "nobody"]):
            house.start(umid, *words)
            status = house.status(umid)
            assert os.path.exists(paths.open_dir(umid))
            os.kill(status["supervisor_pid"], 9)
            os.killpg(status["pid"], 9)
            wait_for(lambda: house.listed(umid)["state"] == "dead", "it is seen to be dead")
            house.ok("adopt", umid)
            assert not os.path.exists(paths.open_dir(umid))

    def test_disk_that_the_user_cannot_open_is_an_error(house: House, umid: str) -> None:
        disk = f"{house.path}/secret"
        with open(disk, "wb") as file:
            file.truncate(1 << 20)
        for words in (
            ["--disk", disk],
            ["--disk", f"{disk},discard"],
            ["--kernel", _copy_of_kernel(house)],
        ):
            done = house.umlctl("start", umid, "--user", "nobody", *words)
            assert done.returncode == 7, done
            assert "nobody, as whom the guest is to run, cannot " in done.stderr
        assert os.stat(disk).st_uid == 0
        assert not os.path.exists(paths.open_dir(umid))

    def test_disk_that_the_user_can_open_is_there(house: House, umid: str) -> None:
        disk = f"/tmp/{umid}.img"
        with open(disk, "wb") as file:
            file.truncate(1 << 20)
        os.chown(disk, NOBODY.pw_uid, -1)
        try:
            house.start(umid, "--user", "nobody", "--disk", disk)
            assert house.table(umid)["ubd1"]["observed"]["size"] == 1 << 20
            house.ok("kill", umid)
        finally:
            os.unlink(disk)

    def test_switches_are_out_of_that_users_reach(house: House, umid: str) -> None:
        done = house.umlctl("start", umid, "--user", "nobody", "--nic", "user")
        assert (done.returncode, "out of its reach" in done.stderr) == (2, True)
        house.start(umid, "--user", "nobody")
        done = house.umlctl("nic", "add", umid, "--user")
        assert (done.returncode, "out of its reach" in done.stderr) == (1, True)

else:

    def test_only_root_runs_guests_as_others(house: House, umid: str) -> None:
        done = house.umlctl("run", umid, "--user", "nobody")
        assert (done.returncode, "--user is for root" in done.stderr) == (2, True)


def _copy_of_kernel(house: House) -> str:
    return fake_kernel.write(f"{house.path}/linux", "")


LOAD = (
    "import ctypes, os; libc = ctypes.CDLL(None, use_errno=True); "
    "file = os.open('{}', os.O_RDONLY); "
    "print(libc.syscall(313, file, b'', 0), os.strerror(ctypes.get_errno()))"  # finit_module
)


def test_locked_guest_takes_no_module(house: House, umid: str) -> None:
    kernel = Path(json.loads(house.ok("kernel", "list", "--json"))[0]["path"])
    (module,) = (kernel.parent.parent / "lib/uml/modules").glob("*/kernel/drivers/net/dummy.ko")
    command = f'python3 -c "{LOAD.format(module)}"'
    house.start(umid, "--modules", "locked")
    for _ in range(2):
        house.has_shell(umid)
        assert house.ask(umid, "proc sys/kernel/modules_disabled").text.strip("\n\0") == "1"
        assert house.shell(umid, command) == "-1 Operation not permitted"
        assert house.try_shell(umid, "echo 0 >/proc/sys/kernel/modules_disabled")[0] != 0
        assert house.ask(umid, "proc sys/kernel/modules_disabled").text.strip("\n\0") == "1"
        house.ok("reboot", umid)
    house.ok("kill", umid)
    if LOADS_NOTHING:
        assert takes_insmod(house.umlctl("start", umid, "--mem", "64M", "--module", "dummy"))
        return
    house.start(umid, "--module", "dummy")
    house.has_shell(umid)
    assert house.ask(umid, "proc sys/kernel/modules_disabled").text.strip("\n\0") == "0"
    assert house.shell(umid, command).endswith(" File exists")
