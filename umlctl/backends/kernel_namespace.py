"""Which NICs a kernel can have in the network namespace of its user's bridges.

There it has the bridges of the user's networks, and what is reached by a path; of this host's own
interfaces and addresses it has nothing.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Final

from umlctl.backends import device_access
from umlctl.devices import vec
from umlctl.devices.parse import parse
from umlctl.errors import UsageError
from umlctl.guest.specs import KERNEL, SWITCH, TAP, Nic
from umlctl.host import confine
from umlctl.networks import definitions, namespaces
from umlctl.networks.bridge import ENTERING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from umlctl.guest.definition import Definition
    from umlctl.guest.specs import Disk

ELSEWHERE: Final = (
    "this guest was started on a network's bridge, in a namespace where its kernel has none of "
    "this host's own interfaces and addresses; start it with this NIC, and it has both"
)
"""Why a guest that runs cannot have a NIC for which `needs_host` is true."""
_BY_PATH: Final = frozenset({"bess", "fd"})


def needs_host(nic: Nic) -> bool:
    """Whether a NIC leads to this host's own interfaces or addresses."""
    if nic.kind != KERNEL:
        return nic.kind == TAP
    text = nic.text
    try:
        device = parse(f"vec0:{text}" if text.startswith("transport=") else text, insist=True)
    except UsageError:
        return True
    return not (isinstance(device, vec.Vec) and device.transport in _BY_PATH)


def networks(devices: Iterable[Disk | Nic]) -> list[str]:
    """The networks whose bridges a guest with these devices can be on; none if one of them needs
    the host."""
    nics = [each for each in devices if isinstance(each, Nic)]
    if any(needs_host(each) for each in nics):
        return []
    return list(dict.fromkeys(each.name for each in nics if each.kind == SWITCH))


def wanted(definition: Definition, devices: Iterable[Disk | Nic]) -> list[str]:
    """The networks on whose bridges a guest is to be; none where it needs this host's network, or
    where this host has no such namespace for its user.

    Raises: UmlctlError: a network's definition cannot be read
    """
    found = networks(devices)
    if (
        not found
        or namespaces.forbidden()
        or definition.user
        or shutil.which(ENTERING) is None
        or (os.geteuid() and confine.has_capabilities(definition.kernel))
    ):
        return []
    means = device_access.of_command([*definition.append, *definition.arguments])
    if means.families or means.tcp:
        return []
    return [name for name in found if not definitions.is_plain(name)]
