"""Consoles and serial lines: what a channel leads to is there before the kernel hears of it."""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

from umlctl.backends.descriptors import check_descriptor
from umlctl.backends.interface import Backend
from umlctl.devices import families, lines
from umlctl.errors import Refusal


class LineBackend(Backend):
    """Lines: the kernel opens a channel when the guest opens the line."""

    def check(self, device: str, pid: int) -> None:
        """See that a line's descriptors and terminals are there."""
        line = lines.parse(device, insist=True)
        for channel in line.channels:
            kind, _, value = channel.partition(":")
            if kind == "fd":
                check_descriptor(pid, value, f"{line.name}'s", socket=False)
        for need in line.needs():
            if not _is_terminal(need.value):
                said = f"{line.name}: {need.value} is no terminal of this host"
                raise Refusal(said, -errno.ENODEV)


CONSOLE: Final = LineBackend(families.CON)
SERIAL: Final = LineBackend(families.SSL)


def _is_terminal(path: str) -> bool:
    try:
        return stat.S_ISCHR(os.stat(path).st_mode) and path != "/dev/null"
    except OSError:
        return False
