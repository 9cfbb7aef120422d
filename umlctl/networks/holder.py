"""Keeping a guest's connections to a segment open though its switch is killed."""

from __future__ import annotations

import json
import os
import socket
import time
from typing import TYPE_CHECKING

from umlctl.errors import HostError
from umlctl.networks import segments
from umlctl.networks.segments import START_TIMEOUT, Segment
from umlctl.networks.switch_client import (
    ANSWER_TIMEOUT,
    MAX_ANSWER_BYTES,
    Message,
    NotThere,
    connect,
    decode,
    exchange,
    readable,
)
from umlctl.networks.switch_protocol import descriptors

if TYPE_CHECKING:
    from typing import Self


class Holder:
    """Duplicates of the connections of one guest to one segment, kept open without a switch.

    Wait for `fileno()` to be readable, then `read()`. When that returns False the switch is gone.
    Unless `ended`, `reconnect()` has another switch take the connections; `fileno()` is another
    then.

    Fields:
        name, pid: the segment, and the process that connected to it
        ended: the segment was ended on purpose, and its connections are closed
        restarted: programs of the switch that had to be started again; the reader clears the list
    """

    def __init__(self, name: str, pid: int, *, timeout: float = ANSWER_TIMEOUT) -> None:
        """Begin to hold the connections of the process; the segment may have `ended` meanwhile.

        Raises: UsageError; HostError
        """
        self.name = Segment(name).name
        self.pid = pid
        self.ended = False
        self.restarted: list[str] = []
        self._held: dict[int, int] = {}
        self._orphans: list[int] = []
        self._answers: list[Message] = []
        self._connection: socket.socket | None = None
        try:
            self._take_up(time.monotonic() + timeout)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def ports(self) -> list[int]:
        """The switch's numbers of the connections that are held."""
        return list(self._held)

    def fileno(self) -> int:
        return -1 if self._connection is None else self._connection.fileno()

    def read(self) -> bool:
        """Take what the switch has sent, without waiting; False: the switch is gone."""
        while self._connection is not None:
            try:
                data, ancillary, _, _ = self._connection.recvmsg(
                    MAX_ANSWER_BYTES,
                    socket.CMSG_SPACE(4),
                    socket.MSG_CMSG_CLOEXEC,
                )
            except BlockingIOError:
                return True
            except OSError:
                data, ancillary = b"", []
            if not data:
                self._disconnect()
                segments.reap()
            else:
                self._take(data, descriptors(ancillary).tolist())
        return False

    def _take(self, data: bytes, given: list[int]) -> None:
        try:
            message = decode(data)
        except HostError:
            message = {}  # the wait for what it was to say has a deadline
        match message, given:
            case {"port": int(number), "pid": self.pid}, [fd]:
                self._held[number] = fd
            case {"gone": int(number)}, []:
                if number in self._held:
                    os.close(self._held.pop(number))
            case {"restarted": str(program)}, []:
                self.restarted.append(program)
            case {"quit": True}, []:
                self.ended = True
                self._drop()
            case _:
                for fd in given:
                    os.close(fd)
                self._answers.append(message)

    def reconnect(self, timeout: float = START_TIMEOUT) -> None:
        """Start a switch if none runs, give it the connections and hold them again.

        Raises: HostError: they are still held, so it can be tried again
        """
        deadline = time.monotonic() + timeout
        self._disconnect()
        self._orphans += self._held.values()
        self._held = {}
        self.ended = False
        segments.revive(self.name)
        self._take_up(deadline)

    def _take_up(self, deadline: float) -> None:
        """Give a switch the connections that are held, and hold them anew."""
        try:
            self._connection = connection = connect(self.name, deadline - time.monotonic())
            for fd in self._orphans:
                exchange(connection, {"give": True, "pid": self.pid}, deadline, fd)
            self._answers.clear()
            connection.setblocking(False)
            connection.send(json.dumps({"hold": self.pid}).encode())
            while not self._answers:
                if not readable(connection.fileno(), deadline):
                    raise HostError(f"network {self.name} does not answer")
                if not self.read() and not self._answers:
                    raise NotThere("it ended")
            if self._answers != [{"holding": self.pid}]:
                raise HostError(f"network {self.name} cannot be held: {self._answers}")
        except BaseException as problem:
            self._disconnect()
            if isinstance(problem, (NotThere, OSError)):
                raise HostError(f"network {self.name} cannot be held: {problem}") from problem
            raise
        for fd in self._orphans:
            os.close(fd)
        self._orphans = []

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _drop(self) -> None:
        for fd in [*self._held.values(), *self._orphans]:
            os.close(fd)
        self._held = {}
        self._orphans = []

    def close(self) -> None:
        """Hold nothing any more; while a switch runs, no connection breaks by that."""
        self._disconnect()
        self._drop()
