"""A kernel that runs, and what its supervisor holds for it."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from umlctl.guest.policy import RECOVERED_SECONDS
from umlctl.host import netns, shared_socket, users
from umlctl.supervisor.launch.place import notify_path, notify_socket

if TYPE_CHECKING:
    import socket

    from umlctl.host.pidfile import Pidfile
    from umlctl.state.records import Record
    from umlctl.state.umid_lock import Claim


class Launched:
    """A kernel that was started, or taken over. Use it, then `close` it.

    Fields:
        definition: what was asked for
        record: what is on disk of it
        claim: the umid, made ours
        notify: the bound notify socket
        pidfile: the locked pidfile, if one was asked for
        command: kernel and arguments
        shim: pid of the tiny parent, our child
        pid: pid of the kernel's main process, which leads its process group
        started: the main process's start time, clock ticks since the host's boot
        adopted: it ran already, and its supervisor was gone; `shim` is no child of ours then
        lost: what became of its record, if that could not be read; else empty
        unheld: why it is not confined as well as this host would let it be; else empty
        losses: how many kernels in a row were lost as they rebooted; it has the place of the last
        said_before: how long the log of its console was when it was started, bytes
        passes: this process may have descriptors of its caller's for it
    """

    def __init__(
        self,
        record: Record,
        claim: Claim,
        notify: socket.socket,
        pidfile: Pidfile,
        command: list[str],
        *,
        adopted: bool = False,
        unheld: str = "",
    ) -> None:
        self.definition = record.definition
        self.record = record
        self.claim = claim
        self.notify = notify
        self.pidfile = pidfile
        self.command = command
        self.shim, self.pid, self.started = record.shim, record.pid, record.started
        self.adopted = adopted
        self.lost = ""
        self.unheld = unheld
        self.passes = False
        self.losses = self.said_before = 0

    def close(self) -> None:
        """Let the kernel go, which lives, for another supervisor to adopt."""
        self.notify.close()
        self.pidfile.close()
        self.claim.leave()

    def losses_in_a_row(self) -> int:
        """`losses`, unless it has gone on for a while since."""
        return self.losses if time.time() - self.record.since < RECOVERED_SECONDS else 0

    def is_deaf(self) -> bool:
        """The kernel's notifications find no socket: somebody has removed its name."""
        return not os.path.exists(self._notify_path)

    def replies(self) -> str:
        """The directory where the kernel finds names of ours, if it is in another network
        namespace and finds no others; else empty."""
        return os.path.dirname(self._notify_path) if netns.inode_of(self.pid) else ""

    def listen_again(self) -> socket.socket:
        """Have a new socket where its notifications arrive.

        Returns: the old one, for the caller to close

        Raises: OSError, HostError
        """
        definition = self.definition
        if definition.user:
            shared_socket.make_place(definition.umid)
        fresh = notify_socket(self._notify_path)
        if definition.user:
            users.give(users.find(definition.user), [self._notify_path])
        old, self.notify = self.notify, fresh
        return old

    @property
    def _notify_path(self) -> str:
        return notify_path(self.definition, self.claim.directory)
