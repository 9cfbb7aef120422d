"""A tap as a port of a switch."""

from __future__ import annotations

import os
import socket

import pytest

from umlctl.networks.tap_connection import TapConnection


def test_it_moves_frames_as_a_socket_does() -> None:
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        connection = TapConnection(its.detach())
        connection.setsockopt(1, 2, 3)
        view = memoryview(bytearray(100))
        with pytest.raises(BlockingIOError):
            connection.recv_into(view, 100, 0)
        ours.send(b"frame")
        assert connection.recv_into(view, 100, 0) == 5
        assert connection.send(view[:5]) == 5
        assert ours.recv(100) == b"frame"
        connection.setblocking(True)
        assert os.get_blocking(connection.fileno())
        connection.close()
        assert ours.recv(100) == b""
