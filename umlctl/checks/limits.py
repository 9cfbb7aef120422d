"""What this user may have of this host: open files, processes, a share of memory and processors."""

from __future__ import annotations

import getpass
import os
import resource
from typing import TYPE_CHECKING, Final

from umlctl.checks.findings import FATAL, NOTE, WARNING, Finding, set_to
from umlctl.definitions import host_file
from umlctl.errors import UmlctlError
from umlctl.host import cgroups, limits, room, settings
from umlctl.host.systemd import units
from umlctl.state import enabled

if TYPE_CHECKING:
    from collections.abc import Iterator

USUAL_QUEUE: Final = 10
"""How many datagrams wait at a unix socket where nobody has set it otherwise."""
USUAL_MAPS: Final = 65530
FEW_PROCESSES: Final = 10 * room.BOOTING_GUEST_PROCESSES
_MORE_FILES: Final = (
    "raise the hard limit where you log in (/etc/security/limits.conf), or LimitNOFILE= of a "
    "service; as root `ulimit -n 4096`"
)
_LINGER_DIRECTORY: Final = "/var/lib/systemd/linger"


def descriptors() -> Iterator[Finding]:
    """A supervisor may open the files that guests take."""
    most = limits.hard_limit_of_descriptors()
    guests = room.for_guests(1, 1, 0).descriptors
    if most < room.MIN_DESCRIPTORS:
        yield Finding(
            FATAL,
            f"you may have {most} open files",
            f"it takes {room.MIN_DESCRIPTORS} to start a guest",
            _MORE_FILES,
        )
    elif most < limits.AMPLE_DESCRIPTORS:
        what = f"you may have {most} open files, which is enough for {guests} guests"
        yield Finding(WARNING, what, "the next one is refused, and so are clients", _MORE_FILES)


def processes() -> Iterator[Finding]:
    """A guest may have the processes that it takes."""
    takes = (
        f"a guest takes {room.IDLE_GUEST_PROCESSES - 1} and one for each of its own, and up to "
        f"{room.BOOTING_GUEST_PROCESSES} while it boots"
    )
    most = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    raised = "`ulimit -u` raises it"
    if not room.for_guests(1, 1, 0).processes:
        remedy = f"{raised}; else it is pids.max of a cgroup, or kernel.pid_max"
        yield Finding(FATAL, "you can have no more processes for a guest", takes, remedy)
    elif os.geteuid() and most != resource.RLIM_INFINITY and most < FEW_PROCESSES:
        yield Finding(WARNING, f"you may have {most} processes", takes, raised)


def queue() -> Iterator[Finding]:
    """Requests and notifications can wait at sockets."""
    name = "net.unix.max_dgram_qlen"
    length = settings.number(name, USUAL_QUEUE)
    if length < USUAL_QUEUE:
        yield Finding(
            WARNING,
            f"{name} is {length}",
            "a kernel that notifies waits while that many are unread, and clients do",
            set_to(name, 512),
        )


def maps() -> Iterator[Finding]:
    """A process of a guest may map as many pieces of memory as elsewhere."""
    name = "vm.max_map_count"
    most = settings.number(name, USUAL_MAPS)
    if most < USUAL_MAPS:
        yield Finding(
            WARNING,
            f"{name} is {most}",
            "each page that a process of a guest has may be a map of its own; it is killed "
            "when there are no more",
            set_to(name, 262144),
        )


def written_down() -> Iterator[Finding]:
    """What is written down of this host can be read."""
    try:
        host_file.load()
    except UmlctlError as problem:
        what, _, remedy = str(problem).rpartition("; ")
        why = "what guests may have is not known, and none starts"
        yield Finding(FATAL, what or str(problem), why, remedy)


def control_groups() -> Iterator[Finding]:
    """What a guest uses can be limited."""
    problem = cgroups.unable()
    if problem:
        what, _, remedy = problem.partition("; ")
        why = "`--memory-limit` and `--cpu-limit` are refused; all else works"
        yield Finding(NOTE, what, why, remedy)


def linger() -> Iterator[Finding]:
    """Guests of this user that are enabled come with the host, and stay after a logout."""
    uid = os.geteuid()
    if not uid or not units.booted() or not enabled.load_all():
        return
    user = getpass.getuser()
    if not os.path.exists(f"{_LINGER_DIRECTORY}/{user}"):
        yield Finding(
            NOTE,
            f"{user} does not linger",
            "systemd starts what you have enabled when you log in, and ends it when you log out",
            f"loginctl enable-linger {user}",
        )
