"""What a device needs of its host. The backends, which look at files and interfaces, check it."""

from __future__ import annotations

from typing import Final, NamedTuple

TAP: Final = "tap"
"""A tap interface, of one guest at a time."""
INTERFACE: Final = "interface"
"""An interface that exists; others may use it too."""
SEQPACKET: Final = "seqpacket"
"""A unix socket where a process listens for SOCK_SEQPACKET."""
SOCKET: Final = "socket"
"""A unix socket where a vhost-user program listens."""
CONTROL: Final = "control"
"""The control socket of uml_switch, or the directory of vde_switch."""
TTY: Final = "tty"
"""A terminal device, such as /dev/ttyS0."""
PROGRAM: Final = "program"
"""A program that the kernel runs: a path, or a name to be found in PATH."""
CAPABILITY: Final = "capability"
"""A capability of the kernel's process, such as CAP_NET_RAW."""
ADDRESS: Final = "address"
"""`TRANSPORT SRC DST` of a tunnel, which one guest at a time can have."""


class Need(NamedTuple):
    """One thing that a device needs.

    Fields:
        kind: TAP, INTERFACE and so on
        value: a path, a name or an address
    """

    kind: str
    value: str
