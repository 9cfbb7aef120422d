"""Devices that programs and hardware of the host lend a guest, plugged while it runs (Linux 7.2):

    virtio_uml.device=SOCKET:ID[:NUMBER]   what a vhost-user program serves on a socket
    vfio_uml.device=DOMAIN:BUS:SLOT.FUNCTION   a PCI device that the host has given to VFIO

The kernel takes each as it stands, answers before it has tried, cannot tell what it has, and takes
none away. Source: arch/um/drivers/virtio_uml.c, vfio_kern.c
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from umlctl.devices.families import VFIO, VIRTIO
from umlctl.devices.needs import SOCKET, Need
from umlctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

OPTIONS: Final[Mapping[str, str]] = {"virtio_uml.device": VIRTIO, "vfio_uml.device": VFIO}
_SERVED: Final = re.compile(r"(?P<socket>[^:\0]+):(?P<id>[1-9]\d{0,4})(?::\d{1,5})?", re.ASCII)
_ADDRESS: Final = re.compile(r"[0-9a-fA-F]{4}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]")


class Lent:
    """One such device.

    Fields:
        kind: VIRTIO or VFIO
        value: what follows `=`
        socket: where a program serves it; empty for VFIO
    """

    __slots__ = ("kind", "socket", "value")

    def __init__(self, kind: str, value: str, socket: str = "") -> None:
        self.kind = kind
        self.value = value
        self.socket = socket

    @property
    def name(self) -> str:
        return self.kind

    def __str__(self) -> str:
        return f"{self.kind}_uml.device={self.value}"

    def __repr__(self) -> str:
        return f"Lent({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return str(self) == str(other) if isinstance(other, Lent) else NotImplemented

    def __hash__(self) -> int:
        return hash(str(self))

    def needs(self) -> tuple[Need, ...]:
        return (Need(SOCKET, self.socket),) if self.socket else ()


def parse(text: str) -> Lent:
    """Read one of OPTIONS with its value.

    Raises: UsageError
    """
    option, equals, value = text.partition("=")
    kind = OPTIONS[option] if equals else ""
    if kind == VFIO and _ADDRESS.fullmatch(value):
        return Lent(kind, value)
    found = _SERVED.fullmatch(value)
    if kind == VIRTIO and found is not None:
        if not found["socket"].startswith("/"):
            raise UsageError(f"the socket's path is absolute in {option}=SOCKET:ID, not {text!r}")
        return Lent(kind, value, found["socket"])
    raise UsageError(
        "such a device is virtio_uml.device=SOCKET:ID or vfio_uml.device=DOMAIN:BUS:SLOT.FUNCTION, "
        f"not {text!r}"
    )
