"""Requests to slirp4netns, which it takes on a socket of its own, each on a connection.

A switch asks, whose loop must never be held up: all here is done by its events and timers.
"""

from __future__ import annotations

import json
import os
import select
import socket
import time
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from umlctl.networks.forwards import Forward
    from umlctl.networks.loop import Loop

    Done = Callable[[str | None], None]

PROGRAM: Final = "slirp4netns"
ANSWER_TIMEOUT: Final = 4.0
"""How long slirp4netns may take to answer a request, seconds: less than a client of the switch
waits."""
LOOK_INTERVAL: Final = 0.01
_MAX_ANSWER_BYTES: Final = 1 << 16


class Asking(Protocol):
    """What a request needs of the switch."""

    loop: Loop


class Question:
    """One request to add a forward, and its answer, on a connection of its own."""

    def __init__(
        self,
        switch: Asking,
        path: Callable[[], str],
        forward: Forward,
        guest: str,
        done: Done,
    ) -> None:
        """path: what leads to the program's API socket by now"""
        self._switch = switch
        self._path = path
        self._forward = forward
        self._done = done
        self._answer = b""
        self._deadline = time.monotonic() + ANSWER_TIMEOUT
        arguments = {
            "proto": forward.protocol,
            "host_addr": forward.host,
            "host_port": forward.port,
            "guest_addr": forward.guest or guest,
            "guest_port": forward.guest_port,
        }
        self._request = json.dumps({"execute": "add_hostfwd", "arguments": arguments}).encode()
        self._connection: socket.socket | None = None
        self._open = True
        self._switch.loop.after(0, self._ask)
        self._switch.loop.after(ANSWER_TIMEOUT, self._give_up)

    def _ask(self) -> None:
        """Connect; the API socket appears some time after the port is connected."""
        if not self._open:
            return
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.setblocking(False)
        try:
            connection.connect(self._path())
            connection.send(self._request)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            connection.close()
            self._switch.loop.after(LOOK_INTERVAL, self._ask)
            return
        self._connection = connection
        self._switch.loop.watch(connection.fileno(), select.EPOLLIN, self._read)

    def _give_up(self) -> None:
        removed = self._connection is None and not os.path.exists(self._path())
        self._finish("its socket was removed" if removed else "no answer")

    def _read(self, _events: int) -> None:
        assert self._connection is not None
        try:
            data = self._connection.recv(_MAX_ANSWER_BYTES)
        except BlockingIOError:
            return
        except OSError as problem:
            self._finish(str(problem))
            return
        self._answer += data
        if data and len(self._answer) <= _MAX_ANSWER_BYTES:
            return
        try:
            answer = json.loads(self._answer)
            error = None if "return" in answer else str(answer["error"]["desc"])
        except (ValueError, TypeError, KeyError, RecursionError):
            error = "an answer that makes no sense"
        self._finish(error)

    def _finish(self, error: str | None) -> None:
        if self._open:
            self.close()
            self._done(error and f"cannot forward {self._forward}: {PROGRAM}: {error}")

    def close(self) -> None:
        self._open = False
        if self._connection is not None:
            self._switch.loop.unwatch(self._connection.fileno())
            self._connection.close()
            self._connection = None
