"""A cgroup for one guest: what it may use of the host's memory and processors.

Version 2 only. The kernel's process enters the cgroup before it starts. So everything of the guest
is in it, and the guest's memory is charged to it, though the file behind that memory has no owner.
With `memory.oom.group`, when there is too little memory, the host ends the whole guest and never
one process of it: what a kernel traces must not outlive it.

Where systemd runs, the tree of cgroups is systemd's. So systemd is asked for a scope with a part of
the tree, which an ordinary user's may have as well; shim.sh makes the cgroup in it. Elsewhere root
can make a cgroup, and other users can below what they were given. UMLCTL_CGROUP names another
directory to make cgroups in.
"""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from umlctl.errors import HostError, UnfitHost

if TYPE_CHECKING:
    from collections.abc import Iterator

CPU_PERIOD_MICROSECONDS: Final = 100_000
"""The period of `cpu.max`, microseconds."""
SWAP_FILE: Final = "memory.swap.max"
"""This file is missing on a host that does not account for swap."""
LEAVE_TIMEOUT: Final = 1.0
"""How long dead processes may take to leave a cgroup, seconds."""
HINT: Final = (
    "run umlctl as root, or have systemd manage what is yours, as in a session of it or after "
    "`loginctl enable-linger`, or name a directory that is yours in UMLCTL_CGROUP"
)
HINT_FOR_ROOT: Final = (
    "cgroup version 2 has to be mounted with these controllers, as it is where systemd runs and "
    "nothing has taken them for version 1 (systemd.unified_cgroup_hierarchy), or in a container "
    "that was given them; UMLCTL_CGROUP names another directory to make cgroups in"
)


class Cgroup(NamedTuple):
    """What limits a guest, as shim.sh takes it.

    Fields:
        directory: the cgroup; where cgroups are mounted, if it has yet to be made
        limits: what shim.sh writes when it makes the cgroup, as `memory.max=BYTES`; empty if it is
            made
        scope: the command that has systemd make a scope, and then executes another command in it
    """

    directory: str = ""
    limits: str = ""
    scope: tuple[str, ...] = ()

    def of(self, pid: int) -> str:
        """The cgroup's directory, once the process that entered it runs; empty if that has
        ended."""
        if not self.limits:
            return self.directory
        try:
            return self.directory + _own(pid)
        except OSError:
            return ""


def make(umid: str, *, memory: int, cpu: int) -> Cgroup:
    """Make the cgroup of a guest, or say how it is made when the guest starts.

    memory: bytes; 0: no limit. cpu: percent of one processor; 0: no limit

    Raises: HostError: this host does not let this user; nothing is left behind
    """
    if os.environ.get("UMLCTL_CGROUP") == "":
        raise HostError("UMLCTL_CGROUP is empty: unset it, or name a cgroup's directory")
    limits: dict[str, int] = {}
    if memory:
        limits |= {"memory.max": memory, "memory.oom.group": 1, SWAP_FILE: 0}
    if cpu:
        limits["cpu.max"] = (
            cpu * CPU_PERIOD_MICROSECONDS // 100
        )  # without a period it stays what it is
    wanted = {name.partition(".")[0] for name in limits}
    if by_systemd(wanted):
        words = " ".join(f"{name}={value}" for name, value in limits.items())
        return Cgroup(mounted(), words, tuple(_scope(umid)))
    return Cgroup(_make(f"{place(wanted)}/umlctl-{umid}", umid, limits))


def by_systemd(wanted: set[str]) -> bool:
    """Whether systemd has these controllers to pass on, and takes orders from this user."""
    mount = mounted()
    if os.environ.get("UMLCTL_CGROUP") or not mount or not shutil.which("systemd-run"):
        return False
    if os.geteuid() == 0:
        return os.path.exists("/run/systemd/private") and wanted <= _words(
            f"{mount}/cgroup.controllers"
        )
    uid = os.geteuid()
    runs = os.path.exists(f"{os.environ.get('XDG_RUNTIME_DIR')}/systemd/private")
    own = f"{mount}/user.slice/user-{uid}.slice/user@{uid}.service"
    return runs and wanted <= _words(f"{own}/cgroup.controllers")


def unable() -> str:
    """Why this user cannot limit the memory and the processors of guests; empty if they can."""
    wanted = {"memory", "cpu"}
    try:
        if not by_systemd(wanted):
            place(wanted, look=True)
    except UnfitHost as problem:
        return problem.problem
    return ""


def _scope(umid: str) -> Iterator[str]:
    yield from ("systemd-run", "--scope", "--quiet", "--collect")
    if os.geteuid():
        yield "--user"
    yield f"--description=User Mode Linux guest {umid}"
    yield from ("--property=Delegate=yes", "--property=TasksMax=infinity", "--")


def _make(directory: str, umid: str, limits: dict[str, int]) -> str:
    try:
        try:
            os.mkdir(directory)
        except FileExistsError:
            os.rmdir(directory)  # left by a supervisor that was killed with its guest
            os.mkdir(directory)
    except OSError as problem:
        raise HostError(f"{umid}: cannot make the cgroup {directory}: {problem}") from problem
    try:
        for name, limit in limits.items():
            if name != SWAP_FILE or os.path.exists(f"{directory}/{name}"):
                _write(f"{directory}/{name}", limit)
    except OSError as problem:
        remove(directory)
        raise HostError(f"{umid}: cannot limit what it uses: {problem}") from problem
    return directory


def remove(directory: str) -> str:
    """Remove the cgroup of a guest that has ended, if it had one; return why it stays, or
    nothing."""
    if not directory:
        return ""
    deadline = time.monotonic() + LEAVE_TIMEOUT
    while True:
        try:
            os.rmdir(directory)
        except FileNotFoundError:
            return ""
        except OSError as problem:
            if time.monotonic() > deadline:
                return f"the cgroup {directory} stays: {problem.strerror}"
            time.sleep(0.01)
        else:
            return ""


def place(wanted: set[str], *, look: bool = False) -> str:
    """A directory where a cgroup with these controllers can be made.

    look: change nothing; whether the directory passes its controllers on may then be untried

    Raises: HostError
    """
    reasons = []
    for directory in _candidates():
        lacks = wanted - _words(f"{directory}/cgroup.controllers")
        if lacks:
            reasons.append(f"{directory} has no controller {' and '.join(sorted(lacks))}")
            continue
        if not os.access(directory, os.W_OK) or not os.access(f"{directory}/cgroup.procs", os.W_OK):
            reasons.append(f"{directory} is not yours to change")
            continue
        missing = wanted - _words(f"{directory}/cgroup.subtree_control")
        try:
            if missing and not look:
                enable = " ".join(f"+{name}" for name in sorted(missing))
                _write(f"{directory}/cgroup.subtree_control", enable)
        except OSError as problem:
            reasons.append(f"{directory} does not pass its controllers on: {problem.strerror}")
            continue
        return directory
    why = reasons[0] if reasons else "cgroup version 2 is not mounted"
    hint = HINT if os.geteuid() else HINT_FOR_ROOT
    raise UnfitHost(f"this host does not let you limit what a guest uses: {why}; {hint}")


def _candidates() -> Iterator[str]:
    """Directories where it may be possible: the user's choice, or this process's cgroup and those
    above."""
    told = os.environ.get("UMLCTL_CGROUP", "")
    if told:
        yield told
        return
    mount = mounted()
    if not mount:
        return
    own = _own(os.getpid()).rstrip("/")
    while own:
        yield mount + own
        own = own.rpartition("/")[0]
    yield mount


def _own(pid: int) -> str:
    """The cgroup that a process is in, as a path below the mount point."""
    with open(f"/proc/{pid}/cgroup") as file:
        for line in file:
            if line.startswith("0::"):
                return line[3:].rstrip("\n")
    return ""


def own() -> str:
    """The directory of the cgroup that this process is in; empty where there is none.

    Raises: OSError
    """
    mount = mounted()
    return mount + _own(os.getpid()) if mount else ""


def mounted() -> str:
    """Where cgroup version 2 is mounted; empty if it is not."""
    with open("/proc/self/mountinfo") as file:
        for line in file:
            fields, _, kind = line.partition(" - ")
            if kind.startswith("cgroup2 "):
                return fields.split()[4]
    return ""


def _words(path: str) -> set[str]:
    try:
        with open(path) as file:
            return set(file.read().split())
    except OSError:
        return set()


def _write(path: str, value: object) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
    try:
        os.write(descriptor, f"{value}\n".encode())
    finally:
        os.close(descriptor)
