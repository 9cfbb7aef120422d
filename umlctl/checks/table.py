"""All checks of a host. Of findings that weigh the same, that of the first check is told first."""

from __future__ import annotations

import platform
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from umlctl import __version__
from umlctl.checks import (
    confining,
    execution,
    guests,
    kernel,
    limits,
    memory,
    network,
    places,
    processes,
)
from umlctl.checks.findings import FATAL, SEVERITIES, WARNING, Check, Finding
from umlctl.errors import UmlctlError
from umlctl.guest import confinement
from umlctl.host import landlock
from umlctl.recovery import discover

if TYPE_CHECKING:
    from collections.abc import Iterable

NETWORK: Final = "network"
EXEC: Final = "exec"
CHECKS: Final = (
    Check("proc", "host", places.proc),
    Check("version", "host", processes.host_is_new_enough),
    Check("processes", "limits", limits.processes),
    Check("found", "kernel", kernel.is_there),
    Check("tracing", "processes", processes.tracing),
    Check("addresses", "processes", processes.addresses),
    Check("programs in memory", "processes", processes.programs_in_memory),
    Check("runs", "kernel", kernel.runs),
    Check("abilities", "kernel", kernel.abilities),
    Check("place", "memory", memory.place),
    Check("written down", "limits", limits.written_down),
    Check("run directory", "places", places.run_directory),
    Check("state directory", "places", places.state_directory),
    Check("space", "places", places.space),
    Check("socket paths", "places", places.socket_paths),
    Check("background", "guests", guests.supervisor_is_reached),
    Check("descriptors", "limits", limits.descriptors),
    Check("shared memory", "memory", memory.shared_memory),
    Check("cgroup", "memory", memory.of_cgroup),
    Check("disk", "memory", memory.on_a_disk),
    Check("namespaces", "confinement", confining.namespaces),
    Check("home", "places", places.home),
    Check("tun", NETWORK, network.tun),
    Check("interfaces", NETWORK, network.sysfs),
    Check("queue", "limits", limits.queue),
    Check("maps", "limits", limits.maps),
    Check("clock", "host", places.clock),
    Check("unsupervised", "guests", guests.unsupervised),
    Check("left processes", "guests", guests.orphans),
    Check("against guests", "memory", memory.against_guests),
    Check("records", "guests", guests.unreadable_records),
    Check("networks", NETWORK, network.written_down),
    Check("landlock", "confinement", confining.confinement),
    Check("user", NETWORK, network.user),
    Check("ip", NETWORK, network.ip),
    Check("overlay", EXEC, execution.overlay),
    Check("process 1", EXEC, execution.process_1),
    Check("modules", "kernel", kernel.has_modules),
    Check("containment", "kernel", kernel.contains),
    Check("mounts", "confinement", confining.own_mounts),
    Check("unconfined", "guests", guests.unconfined),
    Check("taps", NETWORK, network.taps),
    Check("kernel's own", NETWORK, network.kernels_own),
    Check("bridged frames", NETWORK, network.bridged_frames),
    Check("cgroups", "limits", limits.control_groups),
    Check("linger", "limits", limits.linger),
    Check("cache", "places", places.cache),
    Check("set aside", "guests", guests.set_aside),
    Check("stale names", "guests", guests.stale_names),
    Check("supervisor", "guests", guests.old_supervisor),
)
HINTS: Final = tuple(
    check
    for check in CHECKS
    if check.look
    in (
        *(memory.place, processes.tracing, limits.processes, limits.control_groups),
        limits.written_down,
        *(confining.namespaces, kernel.contains),
    )
)
"""What `umlctl info` gives hints of."""
OF_EXEC: Final = frozenset(
    {"host", "kernel", "processes", "memory", "places", "limits", "confinement", EXEC}
)
"""What `umlctl exec` takes: all but networks and other guests."""


class Found(NamedTuple):
    """A finding, and the check that has it."""

    check: Check
    finding: Finding


def of_subjects(subjects: Iterable[str] | None) -> tuple[Check, ...]:
    """The checks of some subjects; of all if None."""
    if subjects is None:
        return CHECKS
    wanted = set(subjects)
    return tuple(check for check in CHECKS if check.subject in wanted)


def run(checks: Iterable[Check]) -> list[Found]:
    """What checks find, the worst first."""
    found = []
    for check in checks:
        try:
            found += [Found(check, finding) for finding in check.look()]
        except (OSError, UmlctlError) as problem:
            found.append(Found(check, _unseen(check, problem)))
    return sorted(found, key=lambda each: SEVERITIES.index(each.finding.severity))


def is_usable(found: Iterable[Found]) -> bool:
    return all(each.finding.severity != FATAL for each in found)


def facts() -> dict[str, object]:
    """What is no finding, and explains some: versions, and what confines kernels here."""
    usual = None
    with suppress(OSError, UmlctlError):  # a check tells what cannot be seen
        usual = kernel.usual()
    return {
        "umlctl": __version__,
        "python": platform.python_version(),
        "host_kernel": platform.release(),
        "kernel": usual and usual.path,
        "kernel_version": usual and usual.version,
        "landlock": None if landlock.unable() else landlock.version(),
        "scope": _scope(),
    }


def _scope() -> str | None:
    with suppress(OSError, UmlctlError):
        return confining.scope()
    return None


def confined() -> dict[str, str]:
    """How each guest that runs is confined."""
    with suppress(OSError, UmlctlError):
        running = discover.running()
        return {each.definition.umid: each.confined or confinement.OFF for each in running}
    return {}


def _unseen(check: Check, problem: OSError | UmlctlError) -> Finding:
    from umlctl.host.limits import explained

    said = getattr(problem, "problem", "") or explained(problem)
    return Finding(
        WARNING,
        f"{check.subject}, {check.name}: it cannot be seen: {said}",
        "what is wrong there is not known",
        "mend that, and ask again",
    )
