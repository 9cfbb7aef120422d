"""The processes of this host that belong to a guest, each with what it is there for.

They are seen from the host alone, and no process is asked. So it makes no difference whether the
guest hangs, is stopped or has lost its supervisor.
"""

from __future__ import annotations

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
_PROCESS_NAME: Final = "uml-userspace"
"""The name that later kernels give to the processes of their guests, which they need not trace.
Source: arch/um/kernel/skas/stub_exe.c"""


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


def _is_process(seen: processes.Seen, main: int) -> bool:
    """Whether the kernel runs a process of its guest in this one."""
    traced = seen.tracer and processes.is_thread(seen.tracer, main)
    return bool(traced) or seen.name == _PROCESS_NAME


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
