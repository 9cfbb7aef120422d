"""Guests as the domains of Xen: the number and the state of each, and what of it xl shows.

A domain's number is the pid of its guest's kernel: it stays the same as long as the guest runs,
and no other has it. The host is number 0.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from umlctl.client.guests import gather
from umlctl.errors import NoGuest
from umlctl.host import paths, processes
from umlctl.protocol.status import DEAD

if TYPE_CHECKING:
    from umlctl.protocol.status import Status

HOST_NAME: Final = "Domain-0"
HOST_NUMBER: Final = 0
UNKNOWN_NUMBER: Final = -1
"""Of a guest whose kernel's pid cannot be seen."""
RUNNING, PAUSED, CRASHED = "r-----", "--p---", "----c-"
_STATES: Final = {"stopped": PAUSED, "suspended": PAUSED, "traced": PAUSED, "hung": CRASHED}
_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")


class Domain(NamedTuple):
    """One domain.

    Fields:
        state: running, blocked, paused, shut down, crashed, dying: a letter each, or a dash
        mem: bytes that it was given
        cpu: seconds that it has used
        uptime: seconds
        status: of its guest; None: it is the host
    """

    name: str
    number: int
    state: str
    mem: int
    vcpus: int
    cpu: float
    uptime: float
    status: Status | None


def all_domains() -> list[Domain]:
    """The host, and every guest that runs."""
    return [host(), *guests()]


def guests() -> list[Domain]:
    """Every guest that runs."""
    return [_of_guest(status) for status in gather() if status.state != DEAD]


def own_guests() -> list[Domain]:
    """Every guest that runs and was started here: no kernel that somebody started by hand, nor a
    guest that is kept in another place."""
    return [each for each in guests() if paths.has_record(each.name)]


def find(word: str) -> Domain:
    """The domain of a name, or of a number.

    Raises: NoGuest
    """
    if word in (HOST_NAME, str(HOST_NUMBER)):
        return host()
    known = guests()
    named = [each for each in known if each.name == word]
    numbered = [each for each in known if str(each.number) == word]
    for found in named + numbered:
        return found
    raise NoGuest(f"{word} is an invalid domain identifier")


def find_guest(word: str) -> Domain:
    """The same, of a guest alone.

    Raises: NoGuest
    """
    found = find(word)
    if found.status is None:
        raise NoGuest(f"{word} is this host, and no guest of umlctl's")
    return found


def host() -> Domain:
    """This host, as the domain that has the others."""
    with open("/proc/uptime") as file:
        uptime = float(file.read().split()[0])
    with open("/proc/stat") as file:
        user, nice, system = map(int, file.readline().split()[1:4])
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    cpu = (user + nice + system) / _TICKS_A_SECOND
    return Domain(
        HOST_NAME, HOST_NUMBER, RUNNING, total, os.cpu_count() or 1, cpu, uptime, status=None
    )


def _of_guest(status: Status) -> Domain:
    started = status.started or status.since
    return Domain(
        name=status.umid,
        number=UNKNOWN_NUMBER if status.pid is None else status.pid,
        state=_STATES.get(status.state, RUNNING),
        mem=status.memory_limit or 0,
        vcpus=_vcpus(status.command),
        cpu=status.cpu or 0.0,
        uptime=max(0.0, time.time() - started) if started else 0.0,
        status=status,
    )


def _vcpus(command: list[str]) -> int:
    """How many processors a kernel has, by its words."""
    given = [word[6:] for word in command if word.startswith("ncpus=")]
    with suppress(ValueError, IndexError):
        return int(given[-1])
    return 1


def processor(domain: Domain) -> str:
    """The processor of this host that a domain ran on last; empty if that cannot be seen."""
    return processes.last_processor(domain.number or os.getpid())


def affinity(domain: Domain) -> str:
    """The processors of this host that a domain may run on, as xl writes them."""
    try:
        allowed = sorted(os.sched_getaffinity(domain.number))
    except OSError:
        return "all"
    if len(allowed) == os.cpu_count():
        return "all"
    return ",".join(map(str, allowed))
