"""The way of a kernel into the network namespace of its user's bridges, wherever that takes nothing
from it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from umlctl.backends import kernel_namespace
from umlctl.errors import HostError, UmlctlError
from umlctl.host import netns
from umlctl.networks import definitions, segments
from umlctl.networks.bridge import ENTERING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from umlctl.guest.definition import Definition
    from umlctl.guest.specs import Disk, Nic
    from umlctl.host.netns import NetworkNamespace

OUTSIDE: Final = 0


class Entrance:
    """Use it, then `close` it.

    Fields:
        inode: of the namespace; OUTSIDE: the kernel stays in this host's
        words: what has a command run in there
    """

    def __init__(self, namespace: NetworkNamespace | None = None) -> None:
        self._namespace = namespace
        self.inode = OUTSIDE if namespace is None else namespace.inode
        self.words: list[str] = []
        if namespace is not None:
            # Whoever runs this has no descriptor of it then that it would leave to the kernel.
            held = f"/proc/{os.getpid()}/fd"
            self.words = [ENTERING, f"--net={held}/{namespace.net}"]
            if namespace.user >= 0:
                self.words += [f"--user={held}/{namespace.user}", "--preserve-credentials"]

    def close(self) -> None:
        if self._namespace is not None:
            self._namespace.close()

    def failed(self, problem: UmlctlError) -> bool:
        """Whether a kernel was not started for the way in alone."""
        return bool(self.words) and f"{ENTERING}:" in str(problem)


def find(definition: Definition, devices: Iterable[Disk | Nic]) -> Entrance:
    """The way for a guest with these devices; OUTSIDE where it needs this host's network, or where
    this host has no such namespace for its user."""
    networks = kernel_namespace.wanted(definition, devices)
    with suppress(UmlctlError):  # what is wrong with a network is said when its NIC is made
        for network in networks:
            definitions.start_switch(network)
            return Entrance(_of_switch(network))
    return Entrance()


def _of_switch(network: str) -> NetworkNamespace:
    """Raises: HostError"""
    inode = segments.Segment(network).namespace()
    found = netns.held_by(segments.pid_of(network))
    if found is None:
        raise HostError(f"network {network}: its switch has just ended")
    if found.inode != inode:
        found.close()
        raise HostError(f"network {network}: its switch has another namespace")
    return found
