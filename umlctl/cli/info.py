"""`umlctl info`: what this host has for guests."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING, Any, Final

import click

from umlctl import __version__
from umlctl.checks import confining, table
from umlctl.client import guests as all_guests
from umlctl.definitions import host_file
from umlctl.errors import HostError, NoKernel, UsageError
from umlctl.guest import definition
from umlctl.guest.bounds import NONE
from umlctl.host import cgroups, confine, landlock, paths, processes, room, secrets
from umlctl.kernels import find
from umlctl.output import views
from umlctl.protocol.status import DEAD
from umlctl.recovery import discover

if TYPE_CHECKING:
    from collections.abc import Iterator

_BOUND_BY: Final = {
    "memory": "",
    "descriptors": "; more take a higher `ulimit -Hn` for their supervisor",
    "processes": "; more take a higher `ulimit -u`, or pids.max of a cgroup",
}
"""What bounds the room for guests, and what a user can do about it."""
_NO_MOUNTS: Final = (
    f"no: {confining.NO_MOUNTS}, and kernels would not see what is mounted or unmounted later"
)
_SECRETS_SHOWN: Final = 4
"""So many secrets are shown in words."""
_COST: Final = f"some {room.IDLE_GUEST_BYTES >> 20}M of memory when idle, up to its --mem when used"
_SLOW: Final = (
    "computing is as fast as here; system calls and new processes take dozens of times as long"
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
        ("bounds of guests", _bounds(found)),
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
    lacking = confining.lacking(version)
    said = f"writes (by itself), strict; Landlock {version}"
    return f"{said}, where {'; '.join(lacking)}" if lacking else said


def _kernel(found: dict[str, Any]) -> str:
    if not found["kernel"]:
        return "none; `umlctl setup` fetches one"
    version = found["kernel_version"]
    return f"{found['kernel']}, Linux {version}" if version else str(found["kernel"])


def _guests(found: dict[str, Any]) -> str:
    each = ", ".join(f"{count} {state}" for state, count in found["guests"].items())
    promised = f" of {views.size(found['guests_mem'])}" if found["guests_mem"] else ""
    taken = f"; {views.size(found['guests_memory'])}{promised} of memory in all"
    return f"{each}{taken if found['guests_memory'] else ''}" if each else "none"


def _bounds(found: dict[str, Any]) -> str:
    if found["bounds_unknown"]:
        return "not known, and no guest starts: see below"
    guests, mem = found["max_guests"], found["max_total_mem"]
    said = [f"{guests} guests"] if guests else []
    said += [f"{views.size(mem)} of memory in all"] if mem else []
    wanted = found["overcommit"]
    if wanted is not None:
        said.append(f"{'' if wanted else 'no '}more memory than there is")
    files = f" ({', '.join(found['bounds_files'])})" if said else ""
    return f"{', '.join(said) or 'none'}{files}"


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
    found = ""
    probed = None
    with contextlib.suppress(NoKernel):
        found = find.find()
        probed = find.probe(found)
    memory = room.memory()
    where = room.directory(os.environ, definition.DEFAULT_MEM_BYTES)
    guests: dict[str, int] = {}
    taken = 0
    for status in all_guests.gather():
        guests[status.state] = guests.get(status.state, 0) + 1
        taken += status.memory or 0
    space = room.look(where)
    bounds, bounds_unknown = NONE, True
    with contextlib.suppress(UsageError, HostError):  # a hint says why
        bounds, bounds_unknown = host_file.load() or NONE, False
    running = sum(count for state, count in guests.items() if state != DEAD)
    idle = full = bound = None
    if space is not None:
        free = min(space.free, memory.get("MemAvailable", space.free))
        idle, bound = room.for_guests(free, room.IDLE_GUEST_BYTES, running).least()
        full, _ = room.for_guests(free, definition.DEFAULT_MEM_BYTES, running).least()
    return {
        "version": __version__,
        "kernel": found,
        "kernel_version": probed and probed.version,
        "processors": len(os.sched_getaffinity(0)),
        "memory": memory.get("MemTotal"),
        "memory_free": memory.get("MemAvailable"),
        "memory_dir": where,
        "memory_room": space and space.free,
        "guests": guests,
        "guests_memory": taken,
        "guests_mem": sum(record.definition.mem for record in discover.running()),
        "max_guests": bounds.max_guests,
        "max_total_mem": bounds.max_total_mem,
        "overcommit": bounds.overcommit,
        "bounds_unknown": bounds_unknown,
        "bounds_files": sorted({place.rpartition(":")[0] for _, place in bounds.places}),
        "guest_processors": probed and probed.most_cpus,
        "room_idle": idle,
        "room_full": full,
        "room_bound": bound,
        "slirp4netns": shutil.which("slirp4netns") is not None,
        "taps": processes.has_capability("CAP_NET_ADMIN") and os.access("/dev/net/tun", os.W_OK),
        "limits": not cgroups.unable(),
        "own_mounts": confine.mounts_propagate(),
        "confinement": None if landlock.unable() else landlock.version(),
        "secrets": list(secrets.LIST),
        "hints": [*_hints()],
        "run_dir": paths.run_dir(),
        "state_dir": paths.state_dir(),
    }


def _hints() -> Iterator[str]:
    """What this host forbids that guests are better off with, and what a user can do."""
    for each in table.run(table.HINTS):
        finding = each.finding
        yield f"{finding.what}; {finding.why}: {finding.remedy}"
