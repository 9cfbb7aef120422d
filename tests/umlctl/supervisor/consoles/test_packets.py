from __future__ import annotations

import socket

import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from umlctl.protocol.console_socket import HELLO, INPUT, MAX_PACKET_BYTES, NOTICE
from umlctl.supervisor.consoles.packets import Hello, Notice, hung_up, read_hello, send, tell


@given(st.binary(max_size=200))
def test_any_packet_is_a_greeting_or_refused(packet: bytes) -> None:
    for each in (packet, HELLO + packet):
        try:
            hello = read_hello(each)
        except (msgspec.DecodeError, ValueError, RecursionError):
            continue
        assert hello is None or isinstance(hello, Hello)


def test_greeting_says_what_a_viewer_wants() -> None:
    assert read_hello(INPUT + b"{}") is None
    assert read_hello(HELLO + b'{"console": "con1", "new": 1}') == Hello(console="con1")
    asked = b'{"console": "con0", "keyboard": false, "force": true, "lines": 3, "offset": 9}'
    assert read_hello(HELLO + asked) == Hello("con0", keyboard=False, force=True, lines=3, offset=9)


async def test_what_is_empty_is_not_said() -> None:
    ours, theirs = trio.socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        await tell(ours, Notice(keyboard="yours"))
        assert await theirs.recv(MAX_PACKET_BYTES) == NOTICE + b'{"keyboard":"yours"}'


async def test_all_is_sent_of_what_takes_several_pieces() -> None:
    ours, theirs = trio.socket.socketpair()
    data = bytes(range(256)) * 8192
    with ours, theirs:
        received = bytearray()

        async def receive() -> None:
            while len(received) < len(data):
                received.extend(await theirs.recv(65536))

        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(receive)
                await send(ours, data)
        assert received == data


@pytest.mark.parametrize("closed", [False, True])
async def test_end_that_writes_no_more_may_still_read(closed: bool) -> None:
    ours, theirs = trio.socket.socketpair()
    with ours, theirs:
        theirs.shutdown(socket.SHUT_WR)
        assert not hung_up(ours)
        if closed:
            theirs.close()
            assert hung_up(ours)
