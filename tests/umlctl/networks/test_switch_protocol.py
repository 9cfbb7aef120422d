"""The control socket of real switches."""

from __future__ import annotations

import array
import json
import os
import socket
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.switches import (
    BROADCAST,
    Running,
    ask,
    frame,
    hear,
    held,
    lan,
    mac,
    make,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["lan", "make"]


UNTIDY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
"""All examples go to one switch: it has to survive the lot."""


def test_holder_gets_a_duplicate_of_each_connection(lan: Running) -> None:
    lan.port()
    holder = lan.client()
    holder.send(json.dumps({"hold": os.getpid()}).encode())
    first, duplicate = held(holder)
    assert hear(holder) == {"holding": os.getpid()}
    lan.port()
    second, other = held(holder)
    assert [port["id"] for port in lan.ports()] == [first, second]
    with duplicate, other:
        lan.sockets[1].close()
        assert hear(holder) == {"gone": first}
        assert len(lan.ports()) == 1
        assert lan.ask({"status": True})["holders"] == 1
    holder.close()
    until(lambda: lan.ask({"status": True})["holders"] == 0)
    assert len(lan.ports()) == 1


def test_connections_of_others_are_not_handed_over(lan: Running) -> None:
    lan.port()
    holder = lan.client()
    assert ask(holder, {"hold": os.getpid() + 1}) == {"holding": os.getpid() + 1}
    lan.port()
    assert ask(holder, {"status": True})["name"] == "lan"


def test_holding_twice_is_holding_once(lan: Running) -> None:
    holder = lan.client()
    for _ in range(2):
        assert ask(holder, {"hold": os.getpid()}) == {"holding": os.getpid()}
    lan.port()
    held(holder)[1].close()
    assert ask(holder, {"status": True})["name"] == "lan"


def test_what_a_process_has_forgotten_is_closed(lan: Running) -> None:
    """A kernel that reboots keeps its old connections open, and reads them no more."""
    holder = lan.client()
    ask(holder, {"hold": os.getpid()})
    port = lan.port()
    number, duplicate = held(holder)
    assert lan.ask({"forget": os.getpid() + 1}) == {"ok": True}
    assert len(lan.ports()) == 1
    assert lan.ask({"forget": os.getpid()}) == {"ok": True}
    assert lan.ports() == []
    assert hear(holder) == {"gone": number}
    duplicate.close()
    assert port.recv(1) == b""


def test_connection_outlives_a_killed_switch(make: Callable[..., Running]) -> None:
    first = make()
    a, b = first.port(), first.port()
    a.send(frame(BROADCAST, mac(1)))
    b.recv(100)
    holder = first.client()
    holder.send(json.dumps({"hold": os.getpid()}).encode())
    duplicates = [held(holder)[1] for _ in range(2)]
    first.kill()
    a.send(frame(BROADCAST, mac(1), b"sent without a switch"))
    second = make()
    for duplicate in [*duplicates, *duplicates]:
        assert second.ask({"give": True, "pid": os.getpid()}, [duplicate.fileno()])["ok"]
        if duplicate is duplicates[1]:
            assert len(second.ports()) == 2
    assert len(second.ports()) == 2
    assert [port["pid"] for port in second.ports()] == [os.getpid()] * 2
    a.send(frame(BROADCAST, mac(1), b"sent with one"))
    # The first was for nobody if it was taken before the other was given.
    received = b.recv(100)
    while received != frame(BROADCAST, mac(1), b"sent with one"):
        received = b.recv(100)
    b.send(frame(mac(1), mac(2), b"back"))
    assert a.recv(100) == frame(mac(1), mac(2), b"back")
    for duplicate in duplicates:
        duplicate.close()
    a.close()
    until(lambda: len(second.ports()) == 1)


def test_given_connection_that_has_ended_is_dropped(lan: Running) -> None:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    far.close()
    before = lan.descriptors()
    with near:
        assert lan.ask({"give": True}, [near.fileno()]) == {"error": "the connection has ended"}
    assert not lan.ports()
    assert lan.descriptors() == before


def test_only_a_connection_can_be_given(lan: Running) -> None:
    before = lan.descriptors()
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    stream = socket.socketpair()
    alone = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    null = os.open("/dev/null", os.O_RDONLY)
    refused = [[null], [stream[0].fileno()], [alone.fileno()], [s.fileno() for s in pair], []]
    for fds in refused:
        assert "error" in lan.ask({"give": True, "pid": 1}, fds)
    os.close(null)
    for each in (*pair, *stream, alone):
        each.close()
    assert not lan.ports()
    assert lan.descriptors() == before


# Control


@pytest.mark.parametrize(
    "request_",
    [
        *({}, [], 1, None, "status", {"status": False}, {"hold": 0}, {"hold": -1}, {"hold": True}),
        *({"hold": "1"}, {"hold": 1.0}, {"give": True}, {"quit": 1.5}, {"forward": 8080}),
        *({"forward": "8080:80"}, {"hold": None}),
    ],
)
def test_request_that_makes_no_sense_is_answered_so(lan: Running, request_: object) -> None:
    assert set(lan.ask(request_)) == {"error"}


requests = st.one_of(
    st.binary(min_size=1, max_size=200),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["status", "hold", "give", "forward", "pid", "x"]), inner
            )
        ),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode()),
)


@UNTIDY
@given(requests, st.integers(0, 3))
@example(b"[" * 60000, 0)
@example(b'{"hold":' + b"9" * 5000 + b"}", 1)
@example(b"x" * 70000, 2)
@example(b'{"status": true}', 3)
@example(b"\xff\xfe", 253)
def test_no_request_harms_and_its_descriptors_are_closed(
    lan: Running, data: bytes, count: int
) -> None:
    before = lan.descriptors()
    client = lan.client()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    null = os.open("/dev/null", os.O_RDONLY)
    try:
        rights = array.array("i", [null] * count)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if count else []
        client.sendmsg([data], ancillary)
        assert isinstance(hear(client), dict)
    finally:
        os.close(null)
        client.close()
    until(lambda: lan.descriptors() == before)
    lan.sockets.remove(client)


def test_descriptors_that_come_with_frames_are_not_kept(lan: Running) -> None:
    a, b = lan.port(), lan.port()
    before = lan.descriptors()
    socket.send_fds(a, [frame(BROADCAST, mac(1))], [a.fileno(), 0])
    assert hear_fds(b) == []
    assert lan.descriptors() == before


def hear_fds(connection: socket.socket) -> list[int]:
    return socket.recv_fds(connection, 100, 8)[1]


def test_client_that_reads_nothing_is_given_up(lan: Running) -> None:
    before = lan.descriptors()
    client = lan.client()

    def flood() -> None:
        while True:
            client.send(b'{"status": true}')

    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        flood()
    assert lan.ports() == []
    assert lan.descriptors() == before
