"""Hosts that lack or forbid something, made of this one: the doctor names that first."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests import forbid
from tests.live.conftest import House, a_house
from umlctl.checks.findings import FATAL, SEVERITIES, WARNING
from umlctl.host.files import remove_tree

if TYPE_CHECKING:
    from collections.abc import Iterator

MOUNTS = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "-r", "--mount"]
WHY_NO_MOUNTS = "this user can have no mounts of its own, by which the fault is made"
TOO_LONG = "h" * 80
SOMEBODY = str(50000 + os.getpid() % 10000)
"""A user that has no process."""
OF_SOMEBODY = f"/tmp/u{SOMEBODY}"
_CAPABILITIES = "+dac_override,+dac_read_search"
AS_SOMEBODY = (
    [
        *("setpriv", "--reuid", SOMEBODY, "--regid", SOMEBODY, "--clear-groups"),
        *("--inh-caps", _CAPABILITIES, "--ambient-caps", _CAPABILITIES),
    ]
    if os.geteuid() == 0
    else []
)
"""Root is bound by no number of processes. It has this program somewhere where none else can."""


def can_mount() -> bool:
    done = subprocess.run([*MOUNTS, "true"], capture_output=True, check=False)
    return done.returncode == 0


needs_mounts = pytest.mark.skipif(not can_mount(), reason=WHY_NO_MOUNTS)


class Fault(NamedTuple):
    """One thing that is wrong with a host.

    Fields:
        check: the subject and the name of who finds it
        remedy: a part of what mends it
        shell: makes it, before the command; empty: it is made otherwise
        mounts: in a mount namespace
        forbidden: the number of a system call
    processes: how many a user other than root may have
    """

    check: tuple[str, str]
    severity: str
    remedy: str
    shell: str = ""
    mounts: bool = False
    forbidden: int = 0
    processes: int = 0


NOEXEC = Fault(
    *(("memory", "place"), FATAL, "mount -o remount,exec /dev/shm"),
    shell="mount -t tmpfs -o noexec tmpfs /dev/shm",
    mounts=True,
)
NO_PTRACE = Fault(
    *(("processes", "tracing"), FATAL, "seccomp=unconfined"),
    forbidden=forbid.PTRACE,
)
CANNOT_RUN = {
    "no programs in memory": (
        Fault(
            *(("processes", "programs in memory"), FATAL, "seccomp=unconfined"),
            forbidden=forbid.MEMFD_CREATE,
        ),
        "memfd_create: Operation not permitted",
    ),
    "read-only UMLCTL_DIR": (
        Fault(
            *(("places", "run directory"), FATAL, "set UMLCTL_DIR"),
            shell='mkdir -p "$UMLCTL_DIR" && mount --bind "$UMLCTL_DIR" "$UMLCTL_DIR" && '
            'mount -o remount,bind,ro "$UMLCTL_DIR"',
            mounts=True,
        ),
        "Read-only file system",
    ),
    "full UMLCTL_DIR": (
        Fault(
            *(("places", "space"), FATAL, "make room there"),
            shell='mkdir -p "$UMLCTL_DIR" && '
            'mount -t tmpfs -o size=64k,mode=700 tmpfs "$UMLCTL_DIR" && '
            '{ cat /dev/zero >"$UMLCTL_DIR/fill" 2>/dev/null; true; }',
            mounts=True,
        ),
        "No space left on device",
    ),
    "no room for files in UMLCTL_DIR": (
        Fault(
            *(("places", "space"), FATAL, "make room there"),
            shell='mkdir -p "$UMLCTL_DIR" && '
            'mount -t tmpfs -o nr_inodes=20,mode=700 tmpfs "$UMLCTL_DIR"',
            mounts=True,
        ),
        "No space left on device",
    ),
    "long UMLCTL_DIR": (
        Fault(
            *(("places", "socket paths"), FATAL, "set UMLCTL_DIR to a shorter path"),
            shell=f"UMLCTL_DIR=$UMLCTL_DIR/{300 * 'l'}; export UMLCTL_DIR",
        ),
        "too long for a unix socket",
    ),
    "UMLCTL_DIR that is a file": (
        Fault(
            *(("places", "run directory"), FATAL, "set UMLCTL_DIR"),
            shell='UMLCTL_DIR=$HOME/file; export UMLCTL_DIR; : >"$UMLCTL_DIR"',
        ),
        "File exists",
    ),
    "ulimit -n 12": (
        Fault(*(("limits", "descriptors"), FATAL, "ulimit -n"), shell="ulimit -n 12"),
        "this process may open 12 files",
    ),
    "ulimit -n 40": (
        Fault(*(("limits", "descriptors"), FATAL, "ulimit -n"), shell="ulimit -n 40"),
        "this process may open 40 files",
    ),
    "ulimit -u 4": (
        Fault(
            *(("limits", "processes"), FATAL, "`ulimit -u` raises it"),
            shell=f"UMLCTL_DIR={OF_SOMEBODY}; export UMLCTL_DIR",
            processes=4,
        ),
        "may have 4 processes and threads",
    ),
}
"""Faults with which no guest starts, and what of them who starts one is told."""
FAULTS = {
    "noexec shm": NOEXEC,
    "no tun": Fault(
        *(("network", "tun"), WARNING, "modprobe tun"),
        shell="mount -t tmpfs tmpfs /dev/net",
        mounts=True,
    ),
    "tiny shm": Fault(
        *(("memory", "shared memory"), WARNING, "remount,size=50% /dev/shm"),
        shell="mount -t tmpfs -o size=16m tmpfs /dev/shm",
        mounts=True,
    ),
    "no ptrace": NO_PTRACE,
    "long HOME": Fault(
        *(("places", "socket paths"), WARNING, "set HOME to a shorter path"),
        shell=f'HOME=$HOME/{TOO_LONG}; export HOME; mkdir -p "$HOME"',
    ),
    "no user namespaces": Fault(
        *(("confinement", "namespaces"), WARNING, "umlctl kill"),
        forbidden=forbid.UNSHARE,
    ),
    "read-only HOME": Fault(
        *(("places", "home"), WARNING, "set HOME to a directory that you can write to"),
        shell='mount --bind "$HOME" "$HOME" && mount -o remount,bind,ro "$HOME"',
        mounts=True,
    ),
    "ulimit -n 64": Fault(
        *(("limits", "descriptors"), WARNING, "ulimit -n"),
        shell="ulimit -n 64",
    ),
}


class FaultyHouse(House):
    """A home whose commands run on a host with a fault."""

    fault: Fault | None = None

    def command(self, *words: str) -> list[str]:
        found = super().command(*words)
        fault = self.fault
        if fault is None:
            return found
        if fault.shell:
            found = ["sh", "-c", f'{fault.shell} && exec "$@"', "sh", *found]
        if fault.processes:
            found = [*AS_SOMEBODY, "prlimit", f"--nproc={fault.processes}", *found]
        if fault.forbidden:
            found = [sys.executable, "-m", "tests.forbid", str(fault.forbidden), *found]
        return [*MOUNTS, *found] if fault.mounts else found


def asked(house: House, *words: str) -> tuple[int, dict[str, Any]]:
    done = house.umlctl("doctor", "--json", *words)
    assert not done.stderr, done
    return done.returncode, json.loads(done.stdout)


@pytest.fixture(scope="module")
def faulty() -> Iterator[FaultyHouse]:
    with a_house(FaultyHouse) as home:
        assert isinstance(home, FaultyHouse)
        for name in ("TMPDIR", "TMP", "TEMP"):
            home.env.pop(name, None)
        yield home
        home.fault = None
        remove_tree(OF_SOMEBODY)


@pytest.fixture(scope="module")
def before(faulty: FaultyHouse) -> list[Any]:
    """What is amiss with this host itself."""
    faulty.fault = None
    return list(asked(faulty)[1]["findings"])


def with_fault(house: FaultyHouse, fault: Fault) -> FaultyHouse:
    if fault.mounts and not can_mount():
        pytest.skip(WHY_NO_MOUNTS)
    house.fault = fault
    return house


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_named_first(faulty: FaultyHouse, before: list[Any], name: str) -> None:
    fault = FAULTS[name]
    code, said = asked(with_fault(faulty, fault))
    findings = said["findings"]
    new = [each for each in findings if each not in before]
    first = new[0]
    assert (first["subject"], first["check"]) == fault.check, new
    assert (first["severity"], fault.remedy in first["remedy"]) == (fault.severity, True), first
    as_bad = SEVERITIES.index(fault.severity)
    others = [each for each in before if SEVERITIES.index(each["severity"]) <= as_bad]
    assert findings.index(first) <= len(others), "what this host lacks itself may come before"
    if not any(each["severity"] == FATAL for each in before):
        assert (code, said["usable"]) == ((7, False) if fault.severity == FATAL else (0, True))
    text = faulty.umlctl("doctor")
    assert first["what"] in text.stdout
    assert text.returncode == code


@pytest.mark.parametrize("name", CANNOT_RUN)
def test_start_on_a_host_that_cannot_names_fault_and_doctor(faulty: FaultyHouse, name: str) -> None:
    fault, said = CANNOT_RUN[name]
    house = with_fault(faulty, fault)
    for words in (["run", "shut", "--mem", "64M"], ["exec", "--", "true"]):
        done = house.umlctl(*words)
        assert (done.returncode in (2, 7), said in done.stderr) == (True, True), done
        assert "`umlctl doctor`" in done.stderr, done
        assert "Traceback" not in done.stderr, done
    code, found = asked(house)
    first = found["findings"][0]
    assert (code, first["subject"], first["check"]) == (7, *fault.check), found["findings"]
    assert (first["severity"], fault.remedy in first["remedy"]) == (FATAL, True), first


@pytest.mark.parametrize("verb", ["start", "test"])
def test_other_ways_to_start_name_fault_and_doctor(faulty: FaultyHouse, verb: str) -> None:
    """What they have of their own: a supervisor, a directory of a run."""
    fault, said = CANNOT_RUN["full UMLCTL_DIR"]
    words = {"start": ["start", "shut"], "test": ["test", "--", "true"]}[verb]
    done = with_fault(faulty, fault).umlctl(*words)
    assert (done.returncode, said in done.stderr) == (7, True), done
    assert "`umlctl doctor`" in done.stderr, done
    assert "Traceback" not in done.stderr, done


@needs_mounts
def test_error_of_a_start_names_the_doctor(faulty: FaultyHouse) -> None:
    done = with_fault(faulty, NOEXEC).umlctl("run", "shut", "--mem", "64M")
    assert (done.returncode, "it is mounted noexec" in done.stderr) == (7, True), done
    assert "`umlctl doctor`" in done.stderr
    done = faulty.umlctl("exec", "--", "true")
    assert (done.returncode, "`umlctl doctor`" in done.stderr) == (7, True), done


def test_kernel_that_cannot_begin_names_the_doctor(faulty: FaultyHouse) -> None:
    done = with_fault(faulty, NO_PTRACE).umlctl("run", "shut", "--mem", "64M")
    assert done.returncode == 125, done
    assert "`umlctl doctor`" in done.stderr
    assert not faulty.leftovers("shut")
    done = faulty.umlctl("exec", "--", "true")
    assert (done.returncode, "`umlctl doctor`" in done.stderr) == (125, True), done


def test_parts_can_be_looked_at(faulty: FaultyHouse) -> None:
    faulty.fault = None
    for option, subject in (("--net", "network"), ("--exec", "exec")):
        checked = {each["subject"] for each in asked(faulty, option)[1]["checked"]}
        assert subject in checked
        assert not checked & ({"exec"} if option == "--net" else {"network"})


def test_without_a_kernel_nothing_runs(faulty: FaultyHouse) -> None:
    faulty.fault = None
    kernel = faulty.env.get("UMLCTL_KERNEL")
    faulty.env["UMLCTL_KERNEL"] = "/nonexistent/linux"
    try:
        code, said = asked(faulty)
    finally:
        del faulty.env["UMLCTL_KERNEL"]
        if kernel:
            faulty.env["UMLCTL_KERNEL"] = kernel
    first = said["findings"][0]
    assert (code, first["subject"], first["check"]) == (7, "kernel", "found")
    assert "no such file" in first["what"]


def test_guest_that_is_well_is_said_to_be(house: House, shared: str) -> None:
    code, said = asked(house, shared)
    assert (code, said["guest"], said["usable"]) == (0, shared, True)
    assert all(each["severity"] == "note" for each in said["findings"]), said
    assert said["confined"][shared] == house.status(shared)["confined"]
    assert f"{shared} {said['confined'][shared]}" in house.ok("doctor", shared)


def test_guest_that_has_failed_says_how(house: House, umid: str) -> None:
    assert shutil.which("false")
    done = house.umlctl("run", umid, "--mem", "64M", "--init", "/bin/false")
    assert done.returncode == 255
    code, said = asked(house, umid)
    assert (code, said["findings"][0]["check"]) == (7, "state")
    assert "does not run: panicked" in said["findings"][0]["what"]
    house.umlctl("rm", umid)
