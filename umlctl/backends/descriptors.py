"""Descriptors that a guest's kernel was started with, as devices name them."""

from __future__ import annotations

import errno

from umlctl.errors import Refusal
from umlctl.host import processes


def check_descriptor(pid: int, number: str, whose: str, *, socket: bool) -> None:
    """See that a kernel has a descriptor that can be a device's.

    pid: of the kernel
    whose: the device, as "a NIC's"
    socket: the descriptor has to be a socket

    Raises: Refusal
    """
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
