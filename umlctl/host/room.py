"""Whether this host has room for a guest: memory, descriptors and processes.

A guest's memory is a file, which takes of its file system what the guest has touched. Several
guests may have more between them than there is. A guest that touches what is not there dies of
that.
"""

from __future__ import annotations

import os
import resource
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from umlctl.errors import UnfitHost
from umlctl.host import cgroups, limits
from umlctl.protocol import command_lines

if TYPE_CHECKING:
    from collections.abc import Mapping

    from umlctl.guest.definition import Definition

IDLE_GUEST_BYTES: Final = 20 << 20
"""How much of this host's memory a guest takes that does nothing, bytes. Measured with a hundred
guests."""
ACCOUNTING_DIVISOR: Final = 64
"""Of its memory, a kernel takes one part in this number to keep account of the rest."""
TEMPORARY_VARIABLES: Final = ("TMPDIR", "TMP", "TEMP")
SHARED_MEMORY_DIRECTORY: Final = "/dev/shm"  # noqa: S108 - it is the kernel that makes a file there
TEMPORARY_DIRECTORY: Final = "/tmp"  # noqa: S108
GUEST_DESCRIPTORS: Final = 7
"""How many descriptors a supervisor holds for a guest that has no viewer."""
SUPERVISOR_DESCRIPTORS: Final = 13
"""How many descriptors a supervisor has open besides."""
MIN_DESCRIPTORS: Final = command_lines.FIRST_DESCRIPTOR + 10
"""With fewer descriptors no process can start a guest: those of the kernel's lines have numbers of
their own, and what is given to it has higher ones meanwhile."""
IDLE_GUEST_PROCESSES: Final = 5
"""How many processes a guest takes that does nothing: 4, and one for each process of its own."""
BOOTING_GUEST_PROCESSES: Final = 45
"""The most processes that a guest was seen to take while it boots."""
MIN_PROCESSES: Final = 8
"""With fewer processes no guest boots."""
MISSING: Final = "missing"
NOEXEC: Final = "noexec"
DENIED: Final = "denied"
SMALL: Final = "small"
FULL: Final = "full"
INSIST: Final = "write `overcommit = true` into umlctl.toml, see umlctl.toml(5)"
"""How a user insists on more memory than there is."""
IN_MEMORY: Final = frozenset({"tmpfs", "ramfs", "hugetlbfs"})
"""Kinds of file systems that are memory of this host, and no disk."""


class Space(NamedTuple):
    """The memory that can be had in a directory, bytes."""

    most: int
    free: int


def place_of(definition: Definition, environment: Mapping[str, str]) -> str:
    """The directory in which the kernel of a guest has its memory.

    environment: of the process that starts the guest
    """
    told = definition.mem_dir or directory(environment, definition.mem)
    return os.path.join(definition.cwd, told)


def directory(environment: Mapping[str, str], mem: int) -> str:
    """Where a kernel puts its memory by itself. The kernel chooses the same, but for a /dev/shm
    that can never hold it, as in many containers. Source: arch/um/os-Linux/mem.c

    environment: the kernel's; mem: of the guest, bytes
    """
    told = next((environment[name] for name in TEMPORARY_VARIABLES if environment.get(name)), "")
    if told:
        return told
    if kind(SHARED_MEMORY_DIRECTORY) != "tmpfs" or (
        never_fits(SHARED_MEMORY_DIRECTORY, mem) and not never_fits(TEMPORARY_DIRECTORY, mem)
    ):
        return TEMPORARY_DIRECTORY
    return SHARED_MEMORY_DIRECTORY


def never_fits(directory: str, mem: int) -> bool:
    """Whether a directory cannot hold so much memory, bytes, even if it were empty."""
    space = look(directory)
    return space is None or space.most < mem


def look(directory: str) -> Space | None:
    """The space for memory in a directory; None if it cannot be seen, as when it is not there."""
    try:
        found = os.statvfs(directory)
    except OSError:
        return None
    free = found.f_bavail * found.f_frsize
    most = found.f_blocks * found.f_frsize
    if kind(directory) == "tmpfs":
        host = memory()
        here = host.get("MemTotal", free) + host.get("SwapTotal", 0)
        left = host.get("MemAvailable", free) + host.get("SwapFree", 0)
        # A tmpfs without a size of its own says 0.
        most, free = (min(most, here), min(free, left)) if most else (here, left)
    return Space(most, free)


class MemoryFlaw(NamedTuple):
    """Why a guest cannot have its memory in a directory.

    Fields:
        kind: MISSING, NOEXEC, DENIED, SMALL or FULL
        text: what is so
        advice: what helps, as options of umlctl
    """

    kind: str
    text: str
    advice: str


def memory_flaw(
    directory: str, mem: int, held: int = 0, *, overcommit: bool = False
) -> MemoryFlaw | None:
    """Why a guest cannot have its memory in a directory, or cannot boot there now; None if it can.

    mem: of the guest, bytes
    held: bytes that the guest has there already, and gives back before
    overcommit: it may be promised more than there can ever be
    """
    other = "give --mem-dir another directory"
    try:
        flags = os.statvfs(directory).f_flag
    except OSError as problem:
        return MemoryFlaw(MISSING, problem.strerror or str(problem), other)
    if flags & os.ST_NOEXEC:
        return MemoryFlaw(NOEXEC, "it is mounted noexec", other)
    if not os.access(directory, os.W_OK | os.X_OK):
        return MemoryFlaw(DENIED, "Permission denied", other)
    space = look(directory)
    if space is None:
        return None
    least = _least(mem)
    less = "take less --mem, or a --mem-dir with more"
    if mem > space.most and not overcommit:
        text = f"there can never be more than {_size(space.most)}, and the guest is to have "
        return MemoryFlaw(SMALL, f"{text}{_size(mem)}", f"{less}, or {INSIST}")
    if least > space.free + held:
        text = f"{_size(space.free + held)} are free there, and a guest with {_size(mem)} takes "
        text += f"{_size(least)} when it boots"
        return MemoryFlaw(FULL, text, f"make room there, or {less}")
    return None


def check_memory(directory: str, mem: int, held: int = 0, *, overcommit: bool = False) -> None:
    """See that a guest can have its memory in a directory, and can boot there now.

    mem, held, overcommit: as of `memory_flaw`

    Raises: UnfitHost
    """
    flaw = memory_flaw(directory, mem, held, overcommit=overcommit)
    if flaw is not None:
        raise UnfitHost(f"cannot have memory in {directory}: {flaw.text}; {flaw.advice}")


def _least(mem: int) -> int:
    """How much of its memory a guest takes when it boots, bytes."""
    return min(mem, IDLE_GUEST_BYTES + mem // ACCOUNTING_DIVISOR)


def memory_doubt(
    directory: str, mem: int, guests: int = 0, untouched: int = 0, *, overcommit: bool = False
) -> str:
    """A warning for a guest that may have more memory than is free; empty if it may not have more,
    or is refused.

    guests: that have their memory there, too
    untouched: bytes that these may still take
    overcommit: as of `memory_flaw`
    """
    space = look(directory)
    if space is None or mem + untouched <= space.free or _least(mem) > space.free:
        return ""
    if mem > space.most and not overcommit:
        return ""
    others = ""
    if untouched:
        whom = f"{guests} guests that run" if guests > 1 else "a guest that runs"
        others = f", {whom} {_size(untouched)} more than now"
    return (
        f"it may have {_size(mem)} of memory{others}, and {_size(space.free)} are free in "
        f"{directory}: a guest dies that uses more than there is then"
    )


def check_means(umid: str) -> None:
    """See that this process has the descriptors that another guest takes, and its user the
    processes.

    Raises: UnfitHost
    """
    check_descriptors(umid)
    left = limits.descriptors() - limits.most_for_clients()
    if (have := limits.descriptors_left()) < GUEST_DESCRIPTORS + left:
        raise UnfitHost(
            f"{umid}: a guest takes {GUEST_DESCRIPTORS} descriptors, and {max(0, have - left)} are "
            f"left for guests: {limits.few_descriptors()}"
        )
    if (have := limits.processes_left()) < MIN_PROCESSES:
        raise UnfitHost(
            f"{umid}: a guest takes {MIN_PROCESSES} processes and more, and {have} are left: "
            f"{limits.few_processes()}"
        )


def check_descriptors(umid: str) -> None:
    """See that this process may have descriptors with the numbers that are taken for a start.

    Raises: UnfitHost
    """
    if limits.descriptors() < MIN_DESCRIPTORS:
        raise UnfitHost(
            f"{umid}: it takes a process that may open {MIN_DESCRIPTORS} files to start a guest: "
            f"{limits.few_descriptors()}"
        )


def processes_doubt() -> str:
    """Why a guest that could be started may have failed to boot; empty if too few processes are not
    why."""
    left = limits.processes_left()
    if left >= BOOTING_GUEST_PROCESSES:
        return ""
    return (
        f"it may have had too few processes: it takes up to {BOOTING_GUEST_PROCESSES} while it "
        f"boots, and {left} are left; {limits.few_processes()}"
    )


class Room(NamedTuple):
    """For how many more guests there is room, by what they take."""

    memory: int
    descriptors: int
    processes: int

    def least(self) -> tuple[int, str]:
        """For how many guests there is room, and what it is that they would lack first."""
        return min(zip(self, self._fields, strict=True))


def for_guests(free: int, each: int, running: int) -> Room:
    """The room under a supervisor that takes all that the hard limits of this process allow.

    free, each: memory, bytes; running: how many guests it has already
    """
    hard = limits.hard_limit_of_descriptors()
    kept = hard - limits.most_for_clients(hard)
    descriptors = (hard - kept - SUPERVISOR_DESCRIPTORS) // GUEST_DESCRIPTORS - running
    processes = (
        _processes_here() - (BOOTING_GUEST_PROCESSES - IDLE_GUEST_PROCESSES)
    ) // IDLE_GUEST_PROCESSES
    return Room(free // each, max(0, descriptors), max(0, processes))


def _processes_here() -> int:
    """How many more processes a supervisor can have that this process starts: by the limits of the
    user, of the cgroup and of this host."""
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    left = [_number(f"/proc/sys/kernel/{name}") - _running() for name in ("pid_max", "threads-max")]
    if os.geteuid() and hard != resource.RLIM_INFINITY:
        left.append(hard - limits.threads_of(os.geteuid()))
    with suppress(OSError):
        directory = cgroups.own()
        if directory and (most := _number(f"{directory}/pids.max")) != sys.maxsize:
            left.append(most - _number(f"{directory}/pids.current"))
    return max(0, min(left))


def _running() -> int:
    """Processes and threads of this host."""
    with open("/proc/loadavg") as file:
        return int(file.read().split()[3].partition("/")[2])


def _number(path: str) -> int:
    """The number in a file; sys.maxsize, no limit, if it is not there or holds something else."""
    try:
        with open(path) as file:
            return int(file.read())
    except (OSError, ValueError):
        return sys.maxsize


def memory() -> dict[str, int]:
    """What /proc/meminfo says, in bytes, by name."""
    found = {}
    with open("/proc/meminfo") as file:
        for line in file:
            name, _, value = line.partition(":")
            if value.endswith("kB\n"):
                found[name] = int(value.split()[0]) << 10
    return found


def kind(directory: str) -> str:
    """The kind of a directory's file system, as `tmpfs`; empty if it is not known."""
    try:
        device = os.stat(directory).st_dev
        number = f"{os.major(device)}:{os.minor(device)}"
        with open("/proc/self/mountinfo") as file:
            for line in file:
                fields, _, rest = line.partition(" - ")
                if fields.split()[2] == number:
                    return rest.split()[0]
    except OSError:
        pass
    return ""


def _size(count: int) -> str:
    return f"{count >> 20}M"
