"""The network namespace that bridges of this user's networks are in: one for all of them, since a
kernel is in one.

Nobody keeps it but who uses it: switches have it open, and kernels of guests are in it. So it is
found by them, and ends with the last of them.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from umlctl.host import netns, paths, processes
from umlctl.networks import segments

if TYPE_CHECKING:
    from collections.abc import Iterator

    from umlctl.host.netns import NetworkNamespace

PORT: Final = "port"
"""What a NIC's entry calls the tap that is its end in the namespace, among what was made for it."""
CHOICE: Final = "UMLCTL_NETWORKS"
"""The variable that says how networks are made."""
SWITCH_ALONE: Final = "switch"
"""Its value for: by switches, without a bridge of the host's kernel."""


def forbidden() -> str:
    """Why no network is to have a bridge; empty if nobody forbids it."""
    return f"{CHOICE}={SWITCH_ALONE}" if os.environ.get(CHOICE) == SWITCH_ALONE else ""


def obtain(network: str) -> NetworkNamespace:
    """The namespace that others of this user's use; if there is none, a new one.

    network: whose switch this process is

    Raises: UnfitHost, OSError
    """
    with _lock():
        return _found(network) or netns.make()


def _found(network: str) -> NetworkNamespace | None:
    with suppress(FileNotFoundError):
        for name in os.listdir(paths.switches_dir()):
            pid = segments.pid_of(name) if name != network else 0
            found = netns.held_by(pid) if pid else None
            if found is not None:
                return found
    # After all switches were killed, it is where guests are. What reads records is large.
    from umlctl.state import records

    for record in records.load_all():
        if any(PORT in entry.made for entry in record.devices):
            lives = record.pid and processes.start_time(record.pid) == record.started
            found = netns.of_process(record.pid) if lives else None
            if found is not None:
                return found
    return None


@contextmanager
def _lock() -> Iterator[None]:
    """Keep other switches of this user from making a namespace meanwhile."""
    path = f"{paths.switches_dir()}.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
