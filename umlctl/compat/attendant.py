"""The process beside a kernel that `linux` has become.

It hears the kernel until a supervisor does, has that adopt the guest as soon as the kernel can be
asked, and stays to the end where something is to be undone that no supervisor knows: a terminal
that the kernel has set, and a directory where its starter looks for it. Where no supervisor can be
had, it hears the kernel to the end.

usage: python -m umlctl.compat.attendant UMID < JSON
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from socketproto.wire import SOCKET, Notification, WireError
from umlctl import exitcodes
from umlctl.client.background import ask_supervisor
from umlctl.compat import expected_place, terminals
from umlctl.compat.terminals import Terminal
from umlctl.errors import UmlctlError
from umlctl.host import daemonlog, exit_status, paths, processes
from umlctl.host.files import remove_tree
from umlctl.host.relay import Relay
from umlctl.recovery import cleanup
from umlctl.state import records, umid_lock
from umlctl.state.public import PublicDirectory
from umlctl.state.umid_lock import Claim
from umlctl.supervisor.relayed import announcement

if TYPE_CHECKING:
    from umlctl.state.records import Record

LOOK_INTERVAL: Final = 0.05
"""The time between two looks at what sends no notice, seconds."""
REAPED_TIMEOUT: Final = 1.0
"""How long who started a kernel may take to ask how that has ended, seconds."""
MAX_NOTIFICATION_BYTES: Final = 1024


class Attendant:
    """Attends one kernel."""

    def __init__(self, record: Record, held: Claim, notify: socket.socket) -> None:
        """held: the guest's name, until a supervisor is asked to take it; notify: hears the
        kernel"""
        self._record = record
        self._umid = record.definition.umid
        self._held = held
        self._notify = notify
        self._relay = Relay(record.relay) if record.relay else None
        self._adopting: threading.Thread | None = None
        self._heard_socket = False

    def hear(self, pidfd: int) -> bool:
        """Hear the kernel until a supervisor does, or it has ended. Returns: one does.

        pidfd: of the kernel's main process
        """
        waiting = select.poll()
        waiting.register(pidfd, select.POLLIN)
        waiting.register(self._notify, select.POLLIN)
        while True:
            ended = pidfd in [each for each, _ in waiting.poll(LOOK_INTERVAL * 1000)]
            adopted = self._is_adopted()
            self._read()  # with what came before the supervisor's socket took the place of this
            if adopted:
                self._announce()
            if ended or (adopted and self._is_done()):
                self._notify.close()
                return adopted

    def bury(self, pidfd: int) -> None:
        """See to what is left of a kernel that has ended before a supervisor had it.

        pidfd: of its main process; -1 if that had ended before this one began
        """
        record = self._record
        processes.kill_members(record.pid, record.definition.kernel)
        if self._held.lock >= 0:  # it could never be asked, and its starter knows its status
            remove_tree(self._held.records)
            self._held.release()
        else:
            self._write_status(pidfd)
            cleanup.clean_up(record)

    def _write_status(self, pidfd: int) -> None:
        """Write down how the kernel has ended, as a tiny parent does, once who started it has asked
        for that; not of one that has aborted, which says nothing of the panic before that."""
        end = time.monotonic() + REAPED_TIMEOUT
        with suppress(OSError):  # this host does not tell
            while (status := exit_status.of(pidfd)) is None and time.monotonic() < end:
                time.sleep(LOOK_INTERVAL)
            if status is not None and status != exitcodes.SIGNALLED + signal.SIGABRT:
                with open(f"{self._held.directory}/status", "w") as file:
                    file.write(f"{status}\n")

    def _read(self) -> None:
        """Take what the kernel has notified: what it cannot get rid of makes it stand still."""
        while True:
            try:
                datagram = self._notify.recv(MAX_NOTIFICATION_BYTES)
            except BlockingIOError:
                break
            try:
                notification = Notification.decode(datagram)
            except WireError:
                continue
            if notification.kind == SOCKET:
                self._heard_socket = True
                self._have_adopted()
            elif self._relay is not None:
                self._relay.send(datagram)
        if self._relay is not None:
            self._relay.flush()

    def _have_adopted(self) -> None:
        """Have a supervisor take the guest, while this process goes on hearing the kernel."""
        if self._adopting is None:
            self._held.leave()
            self._adopting = threading.Thread(target=self._ask, daemon=True)
            self._adopting.start()

    def _ask(self) -> None:
        try:
            ask_supervisor(f"adopt {self._umid}")
        except UmlctlError as problem:
            daemonlog.note(f"{self._umid}: nobody supervises it: {problem}")

    def _is_adopted(self) -> bool:
        """Whether a supervisor has the guest, and can be asked for it."""
        if self._adopting is None or not os.path.exists(paths.guest_socket(self._umid)):
            return False
        return umid_lock.has_owner(self._umid)

    def _is_done(self) -> bool:
        """Whether the supervisor has nothing more to take of this process."""
        return self._adopting is not None and not self._adopting.is_alive()

    def _announce(self) -> None:
        """Tell who hears the kernel besides where it can be asked: at the supervisor's socket."""
        if self._heard_socket and self._relay is not None:
            self._relay.send(announcement(self._record))
        self._heard_socket = False


def main() -> None:
    told = json.load(sys.stdin)
    umid: str = told["umid"]
    shared = [Terminal(*each) for each in told["terminals"]]
    descriptor, lock, owner = told["descriptors"]
    os.chdir("/")
    record = records.load(umid)
    assert record is not None, "it was written before this process began"
    directory = paths.guest_dir(umid)
    public = PublicDirectory(umid, record.definition.home, directory)
    held = Claim(umid, directory, paths.record_dir(umid), public, lock, owner)
    attendant = Attendant(record, held, socket.socket(fileno=descriptor))
    adopted, pidfd = False, -1
    with suppress(ProcessLookupError):
        pidfd = os.pidfd_open(record.pid)
        if processes.alive(record.pid, record.started):
            adopted = attendant.hear(pidfd)
            if adopted and not (shared or record.place):
                return
            select.select([pidfd], [], [])
    for terminal in shared:
        terminals.restore(terminal)
    if record.place:
        expected_place.leave(record.place, umid)
    if not adopted:
        attendant.bury(pidfd)


if __name__ == "__main__":
    main()
