"""The host's end of a line, of a NIC on a descriptor, and of a device that a program serves: there
before the kernel hears of it, which looks late or says OK all the same.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from umlctl.errors import Refusal
from umlctl.host import processes

if TYPE_CHECKING:
    from umlctl.devices import lines, vhost
    from umlctl.guest.plug import Nic


def check_nic(asked: Nic, pid: int) -> None:
    """See that `fd=N` of a NIC names a socket.

    pid: of the guest's kernel

    Raises: Refusal
    """
    for word in asked.text.replace(":", ",").split(","):
        key, _, value = word.partition("=")
        if key == "fd":
            _check_descriptor(pid, value, "a NIC's", socket=True)


def check_line(device: lines.Line, pid: int) -> None:
    """See that a line's descriptors and terminals are there.

    pid: of the guest's kernel

    Raises: Refusal
    """
    for channel in device.channels:
        kind, _, value = channel.partition(":")
        if kind == "fd":
            _check_descriptor(pid, value, f"{device.name}'s", socket=False)
    for need in device.needs():
        if not _is_terminal(need.value):
            said = f"{device.name}: {need.value} is no terminal of this host"
            raise Refusal(said, -errno.ENODEV)


def check_served(device: vhost.Lent) -> None:
    """See that somebody may serve a device.

    Raises: Refusal
    """
    for need in device.needs():
        try:
            served = stat.S_ISSOCK(os.stat(need.value).st_mode)
        except OSError:
            served = False
        if not served:
            said = f"{device.kind}: nobody serves a device at {need.value}"
            raise Refusal(said, -errno.ENOENT)


def _check_descriptor(pid: int, number: str, whose: str, *, socket: bool) -> None:
    target = processes.open_file(pid, number)
    if target is None:
        raise Refusal(
            f"the kernel has no descriptor {number} open: it is started with what it has",
            -errno.EBADF,
        )
    own = target.endswith(" (deleted)") or target.startswith("anon_inode")
    if own or (socket and not target.startswith("socket:")):
        raise Refusal(
            f"the kernel's descriptor {number} is {target}, which cannot be {whose}",
            -errno.EBADF,
        )


def _is_terminal(path: str) -> bool:
    try:
        return stat.S_ISCHR(os.stat(path).st_mode) and path != "/dev/null"
    except OSError:
        return False
