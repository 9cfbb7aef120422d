"""What a device needs of its host. Who has the files and interfaces at hand checks it."""

from __future__ import annotations

from typing import Final

FILE: Final = "file"
"""A file that exists: an image, a block device."""
COW: Final = "cow"
"""A COW file; the kernel makes it if it is missing."""
TAP: Final = "tap"
"""A tap interface, of one guest at a time."""
INTERFACE: Final = "interface"
"""An interface that exists; others may use it too."""
SEQPACKET: Final = "seqpacket"
"""A unix socket where somebody listens for SOCK_SEQPACKET."""
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


class Need:
    """One thing that a device needs.

    Fields:
        kind: FILE, COW and so on
        value: a path, a name or an address
        write: a file is written to
    """

    __slots__ = ("kind", "value", "write")

    def __init__(self, kind: str, value: str, *, write: bool = False) -> None:
        self.kind = kind
        self.value = value
        self.write = write

    def __repr__(self) -> str:
        return f"Need({self.kind!r}, {self.value!r}, write={self.write})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Need):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[str, str, bool]:
        return self.kind, self.value, self.write
