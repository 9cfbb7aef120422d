"""Capturing at a switch: its client, who is sent copies of frames."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Final

from umlctl.errors import HostError
from umlctl.networks import packet_filter
from umlctl.networks.captured import KNOWN_BYTES, Captured, decode
from umlctl.networks.forwarding import MAX_FRAME_BYTES
from umlctl.networks.switch_client import ANSWER_TIMEOUT, NotThere, connect, exchange

if TYPE_CHECKING:
    from umlctl.networks.packet_filter import Instruction

REVIVE_TIMEOUT: Final = 10.0
"""How long the next switch of a network may take to come, when one was killed, seconds."""
REVIVE_INTERVAL: Final = 0.05
RECEIVE_BYTES: Final = 4 << 20
"""What a socket is to hold of frames that are to be read; the host's net.core.rmem_max bounds
it."""


class Capture:
    """Frames of a network, from its switch; from the next one too, should that be killed.

    Fields:
        lost: how many frames were dropped since they were not read in time
        switch: how many switches of the network there were before; each gives its ports new numbers
    """

    def __init__(self, network: str, pid: int, program: list[Instruction], guest: str = "") -> None:
        """network: whose switch runs
        pid, guest: of the kernel whose frames are wanted; 0: all
        program: that frames have to pass; without instructions, all do

        Raises: HostError: the switch does not run, or refuses; UsageError: the program is too long
        """
        self._network = network
        self._asked = {"capture": pid, "guest": guest}
        self._program = packet_filter.with_more_behind(program, KNOWN_BYTES)
        self._lost = self._lost_before = 0
        self.switch = 0
        try:
            self._socket = self._begin()
        except NotThere as problem:
            raise HostError(f"network {network} does not run: {problem}") from problem

    @property
    def lost(self) -> int:
        return self._lost_before + self._lost

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self) -> Captured:
        """The next frame that is there.

        Raises: BlockingIOError: none is there now; EOFError: the network has ended; HostError
        """
        while True:
            try:
                packet = self._socket.recv(MAX_FRAME_BYTES + KNOWN_BYTES)
            except ConnectionError:
                packet = b""
            if not packet:
                self._renew()
                continue
            found = decode(packet)
            if found is not None:
                self._lost = found.lost
                return found

    def close(self) -> None:
        self._socket.close()

    def _renew(self) -> None:
        """Turn to the next switch.

        Raises: EOFError, HostError
        """
        self._socket.close()
        self._lost_before, self._lost = self.lost, 0
        end = time.monotonic() + REVIVE_TIMEOUT
        while True:
            try:
                self._socket = self._begin()
            except NotThere:
                if time.monotonic() > end:
                    raise EOFError from None
                time.sleep(REVIVE_INTERVAL)
            else:
                self.switch += 1
                return

    def _begin(self) -> socket.socket:
        """Have a switch send frames.

        Raises: NotThere, HostError
        """
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            ours.setblocking(False)
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
            if self._program:
                packet_filter.attach(ours, self._program)
            with its, connect(self._network, ANSWER_TIMEOUT) as connection:
                deadline = time.monotonic() + ANSWER_TIMEOUT
                answer = exchange(connection, self._asked, deadline, its.fileno())
            if "error" in answer:
                raise HostError(f"network {self._network}: {answer['error']}")
        except OSError as problem:
            ours.close()
            raise HostError(f"network {self._network} cannot be captured: {problem}") from problem
        except BaseException:
            ours.close()
            raise
        return ours
