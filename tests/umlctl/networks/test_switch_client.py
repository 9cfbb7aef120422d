from __future__ import annotations

import json
import os
import socket
import time

import pytest

from tests.switches import (
    DEADLINE,
)
from umlctl.errors import HostError
from umlctl.host import paths
from umlctl.networks import switch_client


@pytest.mark.parametrize("said", [b"[]", b"{", b"\xff", b"[" * 100_000, b"3"])
def test_switch_that_answers_nonsense_is_an_error(said: bytes) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        theirs.send(said)
        with pytest.raises(HostError, match="no JSON object"):
            switch_client.exchange(ours, {"status": True}, time.monotonic() + DEADLINE)


@pytest.mark.usefixtures("house")
def test_segment_without_a_switch_is_told_from_one_that_cannot_be_reached() -> None:
    with pytest.raises(switch_client.NotThere):
        switch_client.connect("lan", DEADLINE)
    paths.make_run_dir()
    os.makedirs(paths.network_dir("lan"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(paths.network_control("lan"))
        with pytest.raises(HostError, match="network lan cannot be reached"):
            switch_client.connect("lan", DEADLINE)


def test_switch_that_ends_or_hangs_under_a_question_is_told_apart() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs, pytest.raises(HostError, match="does not answer"):
            switch_client.exchange(ours, {"status": True}, time.monotonic())
        with pytest.raises(switch_client.NotThere):
            switch_client.exchange(ours, {"status": True}, time.monotonic() + DEADLINE)


def test_descriptor_goes_with_a_question() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, open(os.devnull) as nowhere:
        theirs.send(b"{}")
        asked = {"give": True}
        given = nowhere.fileno()
        assert switch_client.exchange(ours, asked, time.monotonic() + DEADLINE, given) == {}
        data, (descriptor,), _, _ = socket.recv_fds(theirs, 100, 1)
        assert json.loads(data) == asked
        assert os.path.samestat(os.fstat(descriptor), os.fstat(given))
        os.close(descriptor)
