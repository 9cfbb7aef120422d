"""A cgroup for one guest: what it may use of the host's memory and processors.

Version 2 only. The kernel's process enters it before it starts, so that everything of the guest
is in it, and its memory is charged to it, though the file behind that has no owner. With
`memory.oom.group` the host ends the whole guest when there is too little, never one process of
it: what a kernel traces must not outlive it.

Who may make a cgroup depends on the host: root where the controllers are there, a user below
what its session was delegated. UMLCTL_CGROUP names another directory to make them in.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

from umlctl.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Iterator

PERIOD: Final = 100_000
"""Of `cpu.max`, microseconds."""
LEFT: Final = 1.0
"""How long the dead may take to leave a cgroup, seconds."""
HINT: Final = (
    "run umlctl as root, or within `systemd-run --user --scope -p Delegate=yes`, "
    "or name a directory that is yours in UMLCTL_CGROUP"
)


def make(umid: str, *, memory: int, cpu: int) -> str:
    """Make the cgroup of a guest; its directory.

    memory: bytes; 0: no limit. cpu: percent of one processor; 0: no limit

    Raises: HostError: this host does not let us; nothing is left behind
    """
    wanted = {name for name, limit in (("memory", memory), ("cpu", cpu)) if limit}
    directory = f"{place(wanted)}/umlctl-{umid}"
    try:
        try:
            os.mkdir(directory)
        except FileExistsError:
            os.rmdir(directory)  # left by a supervisor that was killed with its guest
            os.mkdir(directory)
    except OSError as problem:
        raise HostError(f"{umid}: cannot make the cgroup {directory}: {problem}") from problem
    try:
        if memory:
            _write(f"{directory}/memory.max", memory)
            _write(f"{directory}/memory.oom.group", 1)
            if os.path.exists(f"{directory}/memory.swap.max"):
                _write(f"{directory}/memory.swap.max", 0)
        if cpu:
            _write(f"{directory}/cpu.max", f"{cpu * PERIOD // 100} {PERIOD}")
    except OSError as problem:
        remove(directory)
        raise HostError(f"{umid}: cannot limit what it uses: {problem}") from problem
    return directory


def remove(directory: str) -> str:
    """Remove the cgroup of a guest that has ended, if it had one; why it cannot be."""
    if not directory:
        return ""
    deadline = time.monotonic() + LEFT
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

    look: change nothing; what it passes on may have to be tried yet

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
    raise HostError(f"this host does not let you limit what a guest uses: {why}; {HINT}")


def _candidates() -> Iterator[str]:
    """Where it may be possible: as told, or our own cgroup and those above it."""
    told = os.environ.get("UMLCTL_CGROUP", "")
    if told:
        yield told
        return
    mount = mounted()
    if not mount:
        return
    own = ""
    with open("/proc/self/cgroup") as file:
        for line in file:
            if line.startswith("0::"):
                own = line[3:].rstrip("\n").rstrip("/")
    while own:
        yield mount + own
        own = own.rpartition("/")[0]
    yield mount


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
