"""`umlctl info`: what this host has for guests."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
from typing import TYPE_CHECKING, Any, Final

import click

from umlctl import __version__
from umlctl.client import guests as all_guests
from umlctl.errors import HostError, NoKernel
from umlctl.guest import definition
from umlctl.host import cgroups, confine, landlock, paths, processes, room, secrets
from umlctl.kernels import find
from umlctl.output import views
from umlctl.protocol.status import DEAD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from umlctl.kernels.find import ProbedKernel

_BOUND_BY: Final = {
    "memory": "",
    "descriptors": "; more take a higher `ulimit -Hn` for their supervisor",
    "processes": "; more take a higher `ulimit -u`, or pids.max of a cgroup",
}
"""What bounds the room for guests, and what a user can do about it."""
CONTAINED_SINCE: Final = (6, 12)
"""Since this version of Linux, a guest's processes end with its kernel, however that ends. Of 14
kernels that were killed, 14 of 6.1 let a process go, which ran on as a process of the host. None of
6.12 or 7.2 did."""
_NO_MOUNTS: Final = (
    "no: / is mounted private here, and kernels would not see what is mounted or unmounted later"
)
_BOUND_SINCE: Final = {
    2: "no file is moved to another directory, be both given (Linux 5.19)",
    4: "with a NIC that needs sockets of the internet TCP goes anywhere (6.7)",
    5: "devices that it reads take commands from it (6.10)",
    6: "without namespaces it can send signals to processes of its user (6.12)",
}
"""What a confined kernel is left before each version of Landlock, or cannot do."""
_SECRETS_SHOWN: Final = 4
"""So many secrets are shown in words."""
_COST: Final = f"some {room.IDLE_GUEST_BYTES >> 20}M of memory when idle, up to its --mem when used"
_SLOW: Final = (
    "computing is as fast as here; system calls and new processes take dozens of times as long"
)
_NO_NAMESPACE: Final = (
    "{} forbids user namespaces: were a kernel killed, its guest's processes would be let go "
    "for a moment; allow them, or end guests by `umlctl kill` alone"
)


@click.command(epilog="\b\nExamples:\n  umlctl info\n  umlctl info --json | jq .memory_free\n")
@click.option("--json", "in_json", is_flag=True, help="Print an object.")
def info(in_json: bool) -> int:
    """Show what this host has for guests: its capacity, the kernel, and what you may do.

    What a guest costs is told with it.
    """
    found = gather()
    if in_json:
        print(views.to_json(found))
        return 0
    rows = [
        ("umlctl", found["version"]),
        ("kernel", _kernel(found)),
        ("processors", str(found["processors"])),
        ("memory", f"{views.size(found['memory_free'])} of {views.size(found['memory'])} free"),
        ("guest memory", f"in {found['memory_dir']}, {views.size(found['memory_room'])} free"),
        ("guests", _guests(found)),
        ("a guest costs", _COST),
        ("room", _room_for(found)),
        ("guest processors", _processors(found["guest_processors"])),
        ("guest speed", _SLOW),
        ("internet, --user", "yes" if found["slirp4netns"] else "no: slirp4netns is missing"),
        ("taps", "yes" if found["taps"] else "no: it takes CAP_NET_ADMIN and /dev/net/tun"),
        ("limits", "yes" if found["limits"] else "no: see below"),
        ("own mounts", "yes" if found["own_mounts"] else _NO_MOUNTS),
        ("confinement", _confinement(found)),
        ("secrets", f"{', '.join(found['secrets'][:_SECRETS_SHOWN])}, …; all are in `info --json`"),
        ("run directory", found["run_dir"]),
        ("state directory", found["state_dir"]),
        *(("hint", hint) for hint in found["hints"]),
    ]
    width = max(len(name) for name, _ in rows) + 2
    for name, value in rows:
        print(f"{name:<{width}}{value}")
    return 0


def _confinement(found: dict[str, Any]) -> str:
    if found["confinement"] is None:
        return f"no: {landlock.unable()}"
    version = found["confinement"]
    lacking = [what for since, what in _BOUND_SINCE.items() if version < since]
    said = f"writes (by itself), strict; Landlock {version}"
    return f"{said}, where {'; '.join(lacking)}" if lacking else said


def _kernel(found: dict[str, Any]) -> str:
    if not found["kernel"]:
        return "none; `umlctl setup` fetches one"
    version = found["kernel_version"]
    return f"{found['kernel']}, Linux {version}" if version else str(found["kernel"])


def _guests(found: dict[str, Any]) -> str:
    each = ", ".join(f"{count} {state}" for state, count in found["guests"].items())
    taken = f"; {views.size(found['guests_memory'])} of memory in all"
    return f"{each}{taken if found['guests_memory'] else ''}" if each else "none"


def _room_for(found: dict[str, Any]) -> str:
    idle, full = found["room_idle"], found["room_full"]
    if idle is None:
        return "-"
    mem = definition.DEFAULT_MEM_BYTES >> 20
    text = f"for {idle} more guests when idle, {full} that use {mem}M each"
    bound = found["room_bound"]
    return f"{text}, bound by {bound}{_BOUND_BY[bound]}"


def _processors(most: int | None) -> str:
    if most is None:
        return "-"
    return f"up to {most}, with --ncpus" if most > 1 else "1: the kernel has no SMP"


def gather() -> dict[str, Any]:
    """The facts of this host; sizes in bytes."""
    kernel = ""
    probed = None
    with contextlib.suppress(NoKernel):
        kernel = find.find()
        probed = find.probe(kernel)
    memory = room.memory()
    where = room.directory(os.environ, definition.DEFAULT_MEM_BYTES)
    guests: dict[str, int] = {}
    taken = 0
    for status in all_guests.gather():
        guests[status.state] = guests.get(status.state, 0) + 1
        taken += status.memory or 0
    space = room.look(where)
    running = sum(count for state, count in guests.items() if state != DEAD)
    idle = full = bound = None
    if space is not None:
        free = min(space.free, memory.get("MemAvailable", space.free))
        idle, bound = room.for_guests(free, room.IDLE_GUEST_BYTES, running).least()
        full, _ = room.for_guests(free, definition.DEFAULT_MEM_BYTES, running).least()
    return {
        "version": __version__,
        "kernel": kernel,
        "kernel_version": probed and probed.version,
        "processors": len(os.sched_getaffinity(0)),
        "memory": memory.get("MemTotal"),
        "memory_free": memory.get("MemAvailable"),
        "memory_dir": where,
        "memory_room": space and space.free,
        "guests": guests,
        "guests_memory": taken,
        "guest_processors": probed and probed.most_cpus,
        "room_idle": idle,
        "room_full": full,
        "room_bound": bound,
        "slirp4netns": shutil.which("slirp4netns") is not None,
        "taps": processes.has_capability("CAP_NET_ADMIN") and os.access("/dev/net/tun", os.W_OK),
        "limits": not no_limits(),
        "own_mounts": confine.mounts_propagate(),
        "confinement": None if landlock.unable() else landlock.version(),
        "secrets": list(secrets.LIST),
        "hints": [*_hints(where), *(_old(probed) if probed else ())],
        "run_dir": paths.run_dir(),
        "state_dir": paths.state_dir(),
    }


def no_limits() -> str:
    """Why this user cannot have --memory-limit and --cpu-limit; empty if they can."""
    wanted = {"memory", "cpu"}
    try:
        if not cgroups.by_systemd(wanted):
            cgroups.place(wanted, look=True)
    except HostError as problem:
        return str(problem)
    return ""


def _old(kernel: ProbedKernel) -> Iterator[str]:
    if kernel.release < CONTAINED_SINCE:
        yield (
            f"the kernel is Linux {kernel.version}: for guests that you do not trust take "
            "6.12 or newer, whose processes end with it whatever kills it"
        )


def _hints(memory: str) -> Iterator[str]:
    """What this host forbids that guests are better off with, and what a user can do."""
    if os.geteuid():
        yield from _no_namespaces()
        yield from _few_processes()
    scope = _number("/proc/sys/kernel/yama/ptrace_scope", 0)
    if scope > 1:
        yield (
            f"kernel.yama.ptrace_scope is {scope}: kernels run their guests' processes by "
            "ptrace, which it forbids; set it to 1 or 0"
        )
    try:
        space = os.statvfs(memory)
    except OSError:
        yield f"there is no {memory}, where guests have their memory; mount a tmpfs there"
    else:
        if space.f_flag & os.ST_NOEXEC:
            yield f"{memory} is mounted noexec, and no kernel starts; give --mem-dir another"
        elif space.f_bavail * space.f_frsize < definition.DEFAULT_MEM_BYTES:
            yield f"{memory} has no room for a guest of 256M; give --mem-dir another"
    limits = no_limits()
    if limits:
        yield limits


def _no_namespaces() -> Iterator[str]:
    if not _number("/proc/sys/user/max_user_namespaces", 1):
        yield _NO_NAMESPACE.format("user.max_user_namespaces")
    if not _number("/proc/sys/kernel/unprivileged_userns_clone", 1):
        yield _NO_NAMESPACE.format("kernel.unprivileged_userns_clone")
    if _number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", 0):
        yield _NO_NAMESPACE.format("kernel.apparmor_restrict_unprivileged_userns")


def _few_processes() -> Iterator[str]:
    most = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if most != resource.RLIM_INFINITY and most < 10 * room.BOOTING_GUEST_PROCESSES:
        yield (
            f"you may have {most} processes: a guest takes 4 and one for each of its own, and up "
            f"to {room.BOOTING_GUEST_PROCESSES} while it boots; `ulimit -u` raises it"
        )


def _number(path: str, missing: int) -> int:
    try:
        with open(path) as file:
            return int(file.read())
    except (OSError, ValueError):
        return missing
