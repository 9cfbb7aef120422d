"""A kernel that a user started by hand: its process, and what holds that.

Such a kernel has no supervisor. So its process is looked for by the pid file that the kernel has
written beside its socket.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Final, NamedTuple

from umlctl.host import processes
from umlctl.recovery import discover

LOOK_INTERVAL: Final = 0.01
"""The time between two looks at whether the kernel has ended, seconds."""


class BareProcess(NamedTuple):
    """The main process of a kernel; `started` tells it from another process of that pid."""

    pid: int
    started: int

    def ends(self, seconds: float) -> bool:
        """Wait for the end of the process; True if it has come."""
        deadline = time.monotonic() + seconds
        while processes.alive(self.pid, self.started):
            if time.monotonic() >= deadline:
                return False
            time.sleep(LOOK_INTERVAL)
        return True

    def signal(self) -> None:
        """Send SIGTERM, which ends the whole kernel; SIGKILL to its main process alone would
        not."""
        if processes.alive(self.pid, self.started):
            os.kill(self.pid, signal.SIGTERM)


def process(socket: str) -> BareProcess | None:
    """The process behind a kernel's socket. None if it is not known for sure, or belongs to a guest
    that umlctl started: that is for its supervisor."""
    try:
        with open(os.path.join(os.path.dirname(socket), "pid")) as file:
            pid = int(file.read(32))
        started = processes.start_time(pid)
        if started is None or not _holds(pid, socket) or discover.above_of(pid):
            return None
    except (OSError, ValueError):
        return None
    return BareProcess(pid, started)


def _holds(pid: int, socket: str) -> bool:
    """Whether a process has bound the socket."""
    with open("/proc/net/unix") as file:
        rows = [line.split(maxsplit=7) for line in file]
    tail = "/".join(os.path.abspath(socket).split("/")[-2:])
    inodes = {row[6] for row in rows if len(row) == 8 and row[7].rstrip("\n").endswith(tail)}
    opened = f"/proc/{pid}/fd"
    return any(
        os.readlink(f"{opened}/{name}").partition(":[")[2].rstrip("]") in inodes
        for name in os.listdir(opened)
    )


def held(socket: str) -> str:
    """What keeps the kernel from running; empty if nothing does, as far as that can be seen."""
    found = process(socket)
    holder = processes.held(found.pid) if found is not None else None
    return "" if holder is None else holder.by
