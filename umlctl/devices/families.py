"""The families of devices: how the names of each begin, and of which kind they are.

The kernel knows families, people know kinds: a NIC may be of either of two families.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

DISK: Final = "disk"
NIC: Final = "nic"
LINE: Final = "line"
MEMORY: Final = "memory"
LENT: Final = "lent"
"""What the host lends a guest, see umlctl.devices.vhost."""
DIRECTORY: Final = "directory"
"""A directory of the host's that the guest has mounted. Its kernel knows of no such device."""
UBD: Final = "ubd"
VEC: Final = "vec"
ETH: Final = "eth"
CON: Final = "con"
SSL: Final = "ssl"
MEM: Final = "mem"
VIRTIO: Final = "virtio"
VFIO: Final = "vfio"
SHARE: Final = "share"
KINDS: Final[Mapping[str, str]] = {
    UBD: DISK,
    VEC: NIC,
    ETH: NIC,
    CON: LINE,
    SSL: LINE,
    MEM: MEMORY,
    VIRTIO: LENT,
    VFIO: LENT,
    SHARE: DIRECTORY,
}
"""The kind of each family."""


def family_of(text: str) -> str:
    """The family of a device, by its name or by what a kernel is told of it; or nothing."""
    return next((family for family in KINDS if text.startswith(family)), "")


def kind_of(text: str) -> str:
    """The kind of a device, in the same way; or nothing."""
    return KINDS.get(family_of(text), "")
