"""The processes of this host that belong to a guest, each with what it is there for.

They are seen from the host alone, and no process is asked. So it makes no difference whether the
guest hangs, is stopped or has lost its supervisor.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

from umlctl.errors import UsageError
from umlctl.host import processes
from umlctl.networks import segments
from umlctl.recovery import discover
from umlctl.state import records, umid_lock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from umlctl.state.records import Record

SUPERVISOR: Final = "supervisor"
PARENT: Final = "tiny parent"
NAMESPACE: Final = "namespace"
KERNEL: Final = "kernel"
HELPER: Final = "helper"
PROCESS: Final = "guest process"
SWITCH: Final = "switch"
UPLINK: Final = "uplink"


class Member(NamedTuple):
    """One process of a guest.

    Fields:
        memory: bytes of it that are resident; None if all of it is the kernel's
        serves: the devices that it is there for
    """

    pid: int
    role: str
    name: str
    state: str
    cpu: float
    memory: int | None
    threads: int
    parent: int
    serves: tuple[str, ...] = ()


def of_guest(umid: str) -> list[Member]:
    """The processes of a guest that umlctl started here; none if it does not run."""
    record = discover.find(umid)
    if record is None or not records.lives(record):
        return []
    return [*_member(umid_lock.owner(umid), SUPERVISOR), *of_kernel(record.pid), *_networks(record)]


def of_kernel(main: int) -> list[Member]:
    """A kernel's main process, the processes above it, and all below it."""
    found: list[Member] = []
    for index, pid in enumerate(discover.above_of(main)):
        found += _member(pid, NAMESPACE if index else PARENT)
    kernel = processes.look(main)
    if kernel is None:
        return found
    found.append(_as(kernel, KERNEL))
    below = [seen for pid in sorted(processes.descendants(main)) if (seen := processes.look(pid))]
    guests = [seen for seen in below if _is_process(seen, main)]
    for seen in below:
        if seen not in guests:
            # Helpers that run no program of their own, and stay in the group, share the kernel's
            # memory.
            shares = (seen.name, seen.group) == (kernel.name, kernel.group)
            found.append(_as(seen, HELPER)._replace(memory=None if shares else seen.memory))
    return found + [_as(seen, PROCESS) for seen in guests]


class Orphans(NamedTuple):
    """What is left of a kernel whose main process has ended.

    Fields:
        group: pid of that process, which is the process group of those that are left
        umid: the name of its guest; empty if it is not known
    """

    group: int
    umid: str
    pids: tuple[int, ...]


def orphans() -> list[Orphans]:
    """What is left of kernels of this user, by their process groups: it holds the memory and the
    disks of a guest that has ended, and may compute on as processes of this host."""
    found: dict[int, list[processes.Seen]] = {}
    names: dict[int, str] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        seen = processes.look(int(name)) if _is_mine(int(name)) else None
        if seen is None or not seen.group or processes.start_time(seen.group) is not None:
            continue
        umid = _umid_of(seen.pid)
        if umid or seen.name == processes.USERSPACE_NAME:
            found.setdefault(seen.group, []).append(seen)
            names[seen.group] = umid or names.get(seen.group, "")
    return [
        Orphans(group, names[group], tuple(sorted(seen.pid for seen in members)))
        for group, members in sorted(found.items())
    ]


def _is_mine(pid: int) -> bool:
    try:
        return os.stat(f"/proc/{pid}").st_uid == os.geteuid()
    except OSError:
        return False


def _umid_of(pid: int) -> str:
    """The name of the guest whose kernel's command line a process has; empty if it has none."""
    words = discover.words_of(pid)
    is_kernel = any(word.startswith(b"uml_dir=") for word in words)
    if not is_kernel or discover.is_before_kernel(words):
        return ""
    return next((os.fsdecode(word[5:]) for word in words if word.startswith(b"umid=")), "")


def _is_process(seen: processes.Seen, main: int) -> bool:
    """Whether the kernel runs a process of its guest in this one."""
    traced = seen.tracer and processes.is_thread(seen.tracer, main)
    return bool(traced) or seen.name == processes.USERSPACE_NAME


def _networks(record: Record) -> Iterator[Member]:
    """The switches that the guest's NICs are on, and the uplinks of those."""
    devices: dict[str, list[str]] = {}
    for entry in record.devices:
        if entry.network:
            devices.setdefault(entry.network, []).append(entry.name)
    for network, names in devices.items():
        try:
            switch = segments.pid_of(network)
        except UsageError:
            continue  # a record may say anything
        for pid in [switch, *processes.descendants(switch)] if switch else []:
            role = SWITCH if pid == switch else UPLINK
            for member in _member(pid, role):
                yield member._replace(serves=tuple(names))


def _member(pid: int, role: str) -> list[Member]:
    """One member, unless its process is gone."""
    seen = processes.look(pid) if pid else None
    return [] if seen is None else [_as(seen, role)]


def _as(seen: processes.Seen, role: str) -> Member:
    return Member(
        pid=seen.pid,
        role=role,
        name=seen.name,
        state=seen.state,
        cpu=seen.cpu,
        memory=seen.memory,
        threads=seen.threads,
        parent=seen.parent,
    )
