"""A client's connection to a console, to one supervisor of the guest after another.

See `umlctl.protocol.console_socket` for the packets.
"""

from __future__ import annotations

import json
import socket
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from umlctl.errors import HostError, NoGuest
from umlctl.host import paths
from umlctl.protocol.console_socket import HELLO, INPUT, MAX_PACKET_BYTES, SIZE

if TYPE_CHECKING:
    from collections.abc import Callable

RETURN_TIMEOUT: Final = 5.0
"""How long a supervisor that has ended may take to come back, seconds."""
RETRY_INTERVAL: Final = 0.05
"""The time between two tries to connect, seconds."""
MAX_PACKETS_BEHIND: Final = 256
"""How many packets of input may wait while the guest takes none."""


class Attachment:
    """One viewer's connection.

    Fields:
        umid: of the guest
        console: its name, as con0
        typing: this viewer has the keyboard; None: no supervisor has said yet
        wants: this viewer wants the keyboard
    """

    def __init__(
        self, umid: str, console: str, *, keyboard: bool = True, force: bool = False
    ) -> None:
        """keyboard: the viewer wants it; force: it takes the keyboard from the viewer that has
        it"""
        self.wants = keyboard
        self.typing: bool | None = None if keyboard else False
        self.umid = umid
        self.console = console
        self._force = force
        self._socket: socket.socket | None = None
        self._outgoing: deque[bytes] = deque()
        self._kept: list[bytes] = []
        self._lost_at = 0.0

    # To a supervisor

    def connect(self, waits: Callable[[], bool] | None) -> None:
        """Connect to the supervisor of the guest; if it has none, to the one that adopts it.

        waits: whether a guest that is not there yet may still come

        Raises: NoGuest, HostError
        """
        path = f"{paths.guest_dir(self.umid)}/attach"
        while True:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            try:
                connection.connect(path)
                connection.setblocking(False)
                break
            except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
                connection.close()
                if waits is None and self._adopted():
                    continue
                if waits is None or not waits():
                    raise NoGuest(self._why_none(path)) from None
                time.sleep(RETRY_INTERVAL)
            except OSError as problem:
                connection.close()
                raise HostError(f"{self.umid}: cannot attach to {path}: {problem}") from problem
        self._socket = connection

    def greet(self, lines: int, offset: int | None) -> None:
        """Say what this viewer wants.

        lines: how many lines of the past to begin with, if no `offset` of the log is given
        """
        hello: dict[str, Any] = {
            "console": self.console,
            "keyboard": self.wants,
            "force": self._force,
            "lines": lines,
        }
        if offset is not None:
            hello["offset"] = offset
        self._send(HELLO + json.dumps(hello).encode())

    def reconnect(self) -> bool:
        """Connect to the next supervisor, after the last one has ended; False if none came in time.

        What was typed meanwhile goes to the next supervisor that lets this viewer type.
        """
        self.close()
        now = time.monotonic()
        self._lost_at = self._lost_at or now
        if now - self._lost_at > RETURN_TIMEOUT:
            return False
        time.sleep(RETRY_INTERVAL)
        self._kept += [packet for packet in self._outgoing if packet[:1] == INPUT]
        self._outgoing.clear()
        self._force = self._force if self.typing is None else self.typing
        self.typing = None if self.wants else False
        self._adopted()
        deadline = self._lost_at + RETURN_TIMEOUT
        try:
            self.connect(lambda: time.monotonic() < deadline)
        except (NoGuest, HostError):
            return False
        return True

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def _adopted(self) -> bool:
        """Have the guest adopted if its supervisor is gone; True if it has a supervisor then."""
        from umlctl.client.unsupervised import ask_to_adopt

        return ask_to_adopt(self.umid)

    def ending(self) -> str:
        """How the guest has ended, if it has, and no supervisor is there to say so; else empty."""
        from umlctl.client.unsupervised import ending

        return ending(self.umid)

    def _why_none(self, path: str) -> str:
        from umlctl.client.unsupervised import epitaph

        said = epitaph(self.umid) if paths.has_record(self.umid) else ""
        return said or (
            f"no guest {self.umid!r} with a console to attach to runs here ({path}); "
            "`umlctl list` shows the guests, a bare kernel's console is its own"
        )

    # Packets

    def fileno(self) -> int:
        """The descriptor to wait for; -1 if there is no connection."""
        return -1 if self._socket is None else self._socket.fileno()

    @property
    def is_sending(self) -> bool:
        """Whether something has yet to be sent."""
        return bool(self._outgoing)

    @property
    def is_behind(self) -> bool:
        """Whether the guest takes no input, so that no more should be read for it."""
        return len(self._outgoing) > MAX_PACKETS_BEHIND

    def type(self, data: bytes) -> None:
        """Send what was typed."""
        self._send(INPUT + data)

    def tell_size(self, rows: int, columns: int) -> None:
        """Send the window's size."""
        self._send(SIZE + json.dumps([rows, columns]).encode())

    def hear_keyboard(self, keyboard: str) -> None:
        """Note which viewer has the keyboard, by a supervisor's notice."""
        self.typing = keyboard == "yours"
        if self.typing:
            self._outgoing.extend(self._kept)
            self._kept = []
            self.flush()

    def _send(self, packet: bytes) -> None:
        self._outgoing.append(packet)
        self.flush()

    def flush(self) -> None:
        """Send what the supervisor takes; a guest that is stopped takes nothing."""
        assert self._socket is not None
        while self._outgoing:
            try:
                self._socket.send(self._outgoing[0])
            except OSError:
                return  # full, or gone: the next look at the connection shows which
            self._outgoing.popleft()

    def _rest(self) -> bytes:
        """The next packet of a connection that the supervisor has closed; empty if none is left."""
        assert self._socket is not None
        try:
            return self._socket.recv(MAX_PACKET_BYTES)
        except OSError:
            return b""

    def receive(self) -> bytes | None:
        """The next packet; None if none has come yet; empty if the supervisor has ended."""
        assert self._socket is not None
        try:
            packet = self._socket.recv(MAX_PACKET_BYTES)
        except BlockingIOError:
            return None
        except ConnectionResetError:  # the host says so before it gives what was sent till then
            return self._rest()
        except OSError:
            return b""
        if packet:
            self._lost_at = 0.0
        return packet
