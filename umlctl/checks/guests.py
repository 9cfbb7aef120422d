"""What is left of guests, and is in the way of others; and those that need somebody."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import umlctl
from umlctl.checks.findings import FATAL, NOTE, WARNING, Finding
from umlctl.client import background
from umlctl.guest import confinement
from umlctl.host import confine, paths, processes
from umlctl.recovery import discover, process_tree
from umlctl.state import records, umid_lock
from umlctl.state.public import SOCKET_NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from umlctl.state.records import Record

SHOWN: Final = 5
"""So many names are shown."""
_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")


def orphans() -> Iterator[Finding]:
    """No kernel has left processes behind."""
    for left in process_tree.orphans():
        name = f" of {left.umid}" if left.umid else ""
        yield Finding(
            WARNING,
            f"{len(left.pids)} processes are left of a kernel that has ended{name}: "
            f"{_some(map(str, left.pids))}",
            "they hold its memory and its disks, and may run programs of the guest on this host",
            f"kill -KILL -- -{left.group}",
        )


def unsupervised() -> Iterator[Finding]:
    """Each guest that runs has a supervisor."""
    names = [record.definition.umid for record in discover.without_supervisor()]
    if names:
        yield Finding(
            WARNING,
            f"nobody supervises {_some(names)}",
            "they run, and nobody answers for them or sees how they end",
            "umlctl adopt",
        )


def unreadable_records() -> Iterator[Finding]:
    """What is written down of guests can be read."""
    for name, problem in records.unreadable():
        yield Finding(
            WARNING,
            str(problem),
            "what the guest was started with is not known",
            f"umlctl adopt sets it aside if the guest runs no more; umlctl rm {name} forgets it",
        )


def set_aside() -> Iterator[Finding]:
    """No record has been set aside."""
    names = [name for name in records.names() if records.set_aside_names(name)]
    if names:
        first = paths.record_dir(names[0])
        yield Finding(
            NOTE,
            f"records of {_some(names)} were set aside",
            "they could not be read, and are kept to be looked at",
            f"rm {first}/{records.ASIDE_PREFIX}*",
        )


def stale_names() -> Iterator[Finding]:
    """Nothing dead is where uml_mconsole looks for guests."""
    found = sorted(name for name in _listed(paths.public_dir()) if _is_stale(name))
    if found:
        yield Finding(
            NOTE,
            f"{paths.public_dir()} has what dead kernels left: {_some(found)}",
            "a kernel that finds its name there may boot under another",
            f"rm -r {paths.public_dir()}/{found[0]}",
        )


def unconfined() -> Iterator[Finding]:
    """Each guest that runs is confined, where this host can."""
    names = [
        record.definition.umid
        for record in discover.running()
        if record.confined in ("", confinement.OFF) and _could_be_confined(record)
    ]
    if names:
        yield Finding(
            NOTE,
            f"not confined: {_some(names)}",
            "root in them reaches every file of the user who runs them",
            "start them without --confine off",
        )


def supervisor_is_reached() -> Iterator[Finding]:
    """The background supervisor can be asked, if one runs."""
    problem = background.out_of_reach()
    if problem:
        what, _, remedy = problem.partition("; ")
        yield Finding(FATAL, what, "it is asked for each guest that `umlctl start` starts", remedy)


def old_supervisor() -> Iterator[Finding]:
    """The background supervisor is this umlctl, and none of before."""
    pid = background.pid()
    started = processes.start_time(pid) if pid else None
    if not started:
        return
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - started / _TICKS_A_SECOND
    if time.time() - age < os.stat(os.path.dirname(umlctl.__file__)).st_mtime:
        yield Finding(
            NOTE,
            f"the background supervisor, pid {pid}, is older than the umlctl that is installed",
            "it goes on as the version that it was started as",
            "umlctl quit --leave-guests; umlctl adopt",
        )


def _could_be_confined(record: Record) -> bool:
    return not confine.unable(record.definition.kernel)


def _listed(directory: str) -> list[str]:
    with suppress(OSError):
        return os.listdir(directory)
    return []


def _is_stale(umid: str) -> bool:
    """What is below ~/.uml is a directory of a kernel's, and that kernel does not run."""
    directory = f"{paths.public_dir()}/{umid}"
    link = f"{directory}/{SOCKET_NAME}"
    if os.path.islink(directory) or not os.path.isdir(directory):
        return False
    if os.path.islink(link):
        return not (os.path.exists(link) or umid_lock.has_owner(umid) or _lives(umid))
    try:
        with open(f"{directory}/pid") as file:
            pid = int(file.read(32))
    except (OSError, ValueError):
        return False  # of a kernel that just begins, or of nobody knows what
    # A kernel in a container has another pid here, and its socket is held all the same.
    return f"umid={umid}".encode() not in discover.words_of(pid) and not _is_held(link)


def _is_held(path: str) -> bool:
    """Whether a process has a socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asks:
        try:
            asks.connect(path)
        except OSError:
            return False
    return True


def _lives(umid: str) -> bool:
    record = discover.find(umid)
    return record is not None and records.lives(record)


def _some(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
    return ", ".join(every[:SHOWN]) + more
