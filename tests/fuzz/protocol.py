"""The three datagrams, and an exchange that is fed any sequence of them."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from socketproto import exchange as exchanges
from socketproto.exchange import DONE, Exchange
from socketproto.wire import (
    HANG,
    MAX_TEXT_BYTES,
    PANIC,
    REQUEST_BYTES,
    SOCKET,
    Notification,
    Reply,
    Request,
    WireError,
)

CAPS: Final = (0, 1, 511, 2000)
MORE, LAST, RAW, SILENCE, CLOSED = range(5)
"""What an exchange is told, see `exchange`."""


def wire(data: bytes) -> None:
    """What can be read is the same after it was written and read again."""
    with suppress(WireError):
        request = Request.decode(data)
        written = request.encode()
        assert len(written) == REQUEST_BYTES
        assert Request.decode(written) == request
    with suppress(WireError):
        reply = Reply.decode(data)
        assert Reply.decode(reply.encode()) == reply
    with suppress(WireError):
        notification = Notification.decode(data)
        assert Notification.decode(notification.encode()) == notification
        assert notification.kind not in (SOCKET, PANIC) or b"\0" not in notification.data
        assert notification.kind != HANG or not notification.data


def exchange(data: bytes) -> None:
    """Any sequence of datagrams, silence and ends has one outcome, which then stays.

    The first byte chooses the cap; then come steps of KIND, LENGTH / 2 and so many bytes.
    """
    cap = CAPS[data[0] % len(CAPS)] if data else 0
    running = Exchange(cap)
    outcome = None
    rest = data[1:]
    while len(rest) > 1:
        kind, length = rest[0] % 5, rest[1] * 2
        payload, rest = rest[2 : 2 + length], rest[2 + length :]
        try:
            if kind == SILENCE:
                running.silence("nothing came")
            elif kind == CLOSED:
                running.closed("it is gone")
            else:
                running.receive(_datagram(kind, payload))
        except WireError:
            assert running.outcome is outcome
        assert (running.outcome is not None) == (running.state == DONE)
        assert outcome is None or running.outcome is outcome
        outcome = running.outcome
        assert outcome is None or len(outcome.data) <= cap + MAX_TEXT_BYTES
        assert isinstance(str(outcome), str)


def _datagram(kind: int, payload: bytes) -> bytes:
    if kind == RAW:
        return payload
    text = payload.replace(b"\0", b"")[:MAX_TEXT_BYTES]
    return Reply(len(payload) % 3 - 1, kind == MORE, text).encode()


def pieces(data: bytes) -> None:
    """An answer that was split is the same when it has been collected."""
    running = Exchange()
    for reply in exchanges.pieces(data, error=-1):
        assert running.outcome is None
        running.receive(reply.encode())
    assert running.outcome is not None
    assert running.outcome.data == data.replace(b"\0", b"")
    assert running.outcome.error == -1
