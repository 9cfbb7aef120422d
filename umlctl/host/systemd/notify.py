"""Telling a service manager how this service is, by sd_notify(3): a datagram of lines to the socket
that NOTIFY_SOCKET names. systemd is one such manager; others speak the same.

The protocol is this small, and stable. The packages for it are either unmaintained or need
systemd's own library.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

VARIABLES: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
EXTENSION_SECONDS: Final = 30.0
"""How much more time a service asks for while it starts or ends, seconds."""
EXTENSION_INTERVAL: Final = 5.0
"""How often a service asks for that, seconds: a service that hangs is given up, a slow one is
not."""
RETRY_INTERVAL: Final = 0.2
"""How long to wait before sending again what a busy manager could not take, seconds."""


class Manager:
    """The service manager that started this process; without one, nothing is said.

    Fields:
        address: of its socket; empty if there is no manager
        watchdog: after so long without a sign of life it ends the service, seconds; 0: it does not
        busy: the service starts or ends
    """

    def __init__(self, address: str | bytes = "", watchdog: float = 0.0) -> None:
        self.address = address
        self.watchdog = watchdog
        self.busy = True
        self._said: set[str] = set()
        self._unsent: list[str] = []

    def ready(self, status: str) -> None:
        """Say, once, that the service is up."""
        self._once("READY=1", busy=False)
        self.status(status)

    def stopping(self) -> None:
        """Say, once, that the service ends."""
        self._once("STOPPING=1", busy=True)

    def status(self, text: str) -> None:
        """Say what the service does, in a line for people."""
        self._tell([f"STATUS={' '.join(text.split())}"])

    def sign_of_life(self) -> float:
        """Give a sign of life, and say all that could not be said before; return when the next is
        due, in seconds."""
        signs = ["WATCHDOG=1"] if self.watchdog else []
        pause = self.watchdog / 2 if self.watchdog else EXTENSION_INTERVAL
        if self.busy:
            signs.append(f"EXTEND_TIMEOUT_USEC={int(EXTENSION_SECONDS * 1e6)}")
            pause = min(pause, EXTENSION_INTERVAL)
        if signs or self._unsent:
            self._tell([], signs)
        return min(pause, RETRY_INTERVAL) if self._unsent else pause

    async def beat(self) -> None:
        """Give signs of life as long as trio's loop turns: a service that hangs is restarted."""
        import trio

        while self.address:  # noqa: ASYNC110 - time is what this is about
            await trio.sleep(self.sign_of_life())

    def _once(self, line: str, *, busy: bool) -> None:
        if line not in self._said:
            self._said.add(line)
            self.busy = busy
            self._tell([line])

    def _tell(self, lines: Iterable[str], signs: Iterable[str] = ()) -> None:
        """Send lines, without waiting. Lines that cannot be sent now are kept, but signs of life
        are not."""
        if not self.address:
            return
        self._unsent += lines
        data = "\n".join([*self._unsent, *signs]).encode("utf-8", "backslashreplace")
        try:
            sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        except OSError:
            return  # no descriptor is left now
        with sender:
            try:
                sender.sendto(data, socket.MSG_DONTWAIT, self.address)
            except BlockingIOError:
                return
            except OSError:
                pass  # the manager is gone, and there is nothing to tell
        self._unsent.clear()


def from_environment() -> Manager:
    """The service manager that the environment names. Its variables are removed, or programs that
    this process starts would take the manager for their own.
    """
    address, microseconds, pid = (os.environ.pop(name, "") for name in VARIABLES)
    watchdog = 0.0
    if microseconds.isdecimal() and pid in ("", str(os.getpid())):
        watchdog = int(microseconds) / 1e6
    if address.startswith("@"):
        return Manager(b"\0" + os.fsencode(address[1:]), watchdog)
    if address.startswith("/"):
        return Manager(address, watchdog)
    return Manager()
