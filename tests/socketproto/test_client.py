from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from socketproto import client as module
from socketproto.blocking import (
    DEFAULT_TIMEOUT,
    MAX_LATE_DATAGRAMS,
    NO_ANSWER,
    NOT_SENT,
    Link,
    Unreachable,
)
from socketproto.client import Client
from socketproto.exchange import (
    ANSWERED,
    GONE,
    REFUSED,
    TIMED_OUT,
    TRUNCATED,
    Exchange,
    Outcome,
    pieces,
)
from socketproto.listener import Call, Listener
from socketproto.wire import Reply, WireError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Address, Bare

    MakeBare = Callable[..., Bare]

SOON = 0.05
"""A deadline that is meant to pass, seconds."""


def whole(data: bytes, error: int = 0) -> list[bytes]:
    return [reply.encode() for reply in pieces(data, error)]


def silent(_server: Bare, _data: bytes, _address: Address) -> list[bytes]:
    return []


async def test_command_is_answered(bare: MakeBare) -> None:
    with Client(bare().path) as client:
        assert await client.request("version") == Outcome(ANSWERED, data=b"version", pieces=1)


async def test_err_is_a_refusal_with_its_number(bare: MakeBare) -> None:
    server = bare(lambda *_: whole(b"no", -22))
    with Client(server.path) as client:
        assert await client.request("config ubd99") == Outcome(REFUSED, -22, b"no", "", 1)


async def test_long_answer_of_a_kernel_is_whole(bare: MakeBare) -> None:
    text = b"x" * 511 * 60
    server = bare(lambda *_: whole(text))
    with Client(server.path) as client:
        assert (await client.request("proc meminfo")).data == text


async def test_requests_of_several_tasks_take_turns(bare: MakeBare) -> None:
    server = bare(lambda _server, data, _address: whole(data * 80))
    answers: dict[int, Outcome] = {}

    async def ask(number: int) -> None:
        answers[number] = await client.request(f"request {number:3} ")

    with Client(server.path) as client:
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(ask, number)
    assert len(set(server.clients)) == 1
    for number, outcome in answers.items():
        assert outcome.data == f"request {number:3} ".encode() * 80


async def test_kernel_that_missed_its_wake_up_is_kicked_by_an_unknown_command(
    bare: MakeBare,
) -> None:
    server = bare()
    server.asleep = 3
    with Client(server.path) as client:
        assert (await client.request("version")).data == b"version"
    await trio.to_thread.run_sync(server.wait_seen, 4)
    assert server.seen[:4] == [b"version", b"k", b"k", b"k"]
    assert not any(server.senders[1:])


async def test_silence_is_a_timeout_and_the_late_reply_is_nobodys(bare: MakeBare) -> None:
    server = bare(silent)
    with Client(server.path) as client:
        outcome = await client.request("version", SOON)
        assert outcome == Outcome(TIMED_OUT, reason=NO_ANSWER)
        assert client.link.socket is None
        server.answer = lambda *_: whole(b"in time")
        assert (await client.request("help")).data == b"in time"
    assert server.clients[0] != server.clients[-1]


async def test_answer_that_came_while_nobody_looked_is_taken_after_the_deadline(
    bare: MakeBare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where this process stood still. But what never ends is given up."""
    server = bare(lambda *_: whole(b"in time"))
    now = 0.0
    monkeypatch.setattr(trio, "current_time", lambda: now)
    with Client(server.path) as client:
        send = client._send

        async def send_and_stand_still(datagram: bytes, deadline: module._Deadline) -> bool:
            nonlocal now
            sent = await send(datagram, deadline)
            assert client.link.socket is not None
            await trio.lowlevel.wait_readable(client.link.socket.fileno())
            now += 20
            return sent

        monkeypatch.setattr(client, "_send", send_and_stand_still)
        assert (await client.request("version", 10)).data == b"in time"
        server.answer = lambda *_: [Reply(0, True, b"").encode()] * 2 * MAX_LATE_DATAGRAMS
        assert (await client.request("version", 10)).kind == TIMED_OUT


async def test_answer_that_lacks_its_end_is_truncated(
    bare: MakeBare, mock_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, came = Exchange.receive, []

    def receive(exchange: Exchange, datagram: bytes, *, keep: bool = True) -> Reply:
        came.append(datagram)
        if len(came) == 2:
            mock_clock.jump(DEFAULT_TIMEOUT)
        return real(exchange, datagram, keep=keep)

    monkeypatch.setattr(Exchange, "receive", receive)
    server = bare(lambda _server, data, _address: whole(b"x" * 1200)[:-1] if data != b"k" else [])
    with Client(server.path) as client:
        outcome = await client.request("stack 1")
    assert outcome == Outcome(TRUNCATED, 0, b"x" * 1022, NO_ANSWER, 2)


async def test_cancelled_request_throws_its_socket_away(bare: MakeBare) -> None:
    server = bare(silent)
    with Client(server.path) as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.request, "first")
            await trio.to_thread.run_sync(server.wait_seen, 1)
            nursery.cancel_scope.cancel()
        assert client.link.socket is None
        server.answer = lambda *_: whole(b"second")
        assert (await client.request("second")).data == b"second"


async def test_rubbish_is_passed_over(bare: MakeBare) -> None:
    server = bare(lambda *_: [b"", b"short", *whole(b"right")])
    with Client(server.path) as client:
        assert (await client.request("version")).data == b"right"


async def test_each_piece_is_handed_on_and_renews_the_deadline(
    bare: MakeBare, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = bare(lambda *_: [*[Reply(0, True, b".").encode()] * 9, *whole(b"end")])
    now = 0.0
    monkeypatch.setattr(trio, "current_time", lambda: now)
    got: list[bytes] = []

    def later(data: bytes) -> None:
        nonlocal now
        now += 9
        got.append(data)

    with Client(server.path) as client:
        assert (await client.request("wait", 10, renew=10, each=later)).ok
        assert got == [b"."] * 9 + [b"end"]
        assert await client.request("wait", 10, each=later) == Outcome(
            TRUNCATED, reason=NO_ANSWER, pieces=2
        )


async def test_kernel_that_ends_before_it_answers_is_gone(bare: MakeBare) -> None:
    def end(server: Bare, _data: bytes, _address: Address) -> list[bytes]:
        server.unbind()
        return []

    with Client(bare(end).path) as client:
        assert await client.request("halt") == Outcome(GONE, reason="it ended before it answered")
        with pytest.raises(Unreachable, match="No such file"):
            await client.request("version")


async def test_answer_that_came_while_the_server_ended_is_not_lost(
    bare: MakeBare, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = bare(silent)
    real = Link.kick

    def kick(link: Link) -> str:
        server.wait_seen(1)
        server.stop()
        server.send(whole(b"y" * 600), server.senders[0])
        server.unbind()
        return real(link)

    monkeypatch.setattr(Link, "kick", kick)
    with Client(server.path) as client:
        assert await client.request("halt") == Outcome(ANSWERED, data=b"y" * 600, pieces=2)


async def test_next_request_finds_the_socket_of_a_restarted_server(bare: MakeBare) -> None:
    server = bare()
    with Client(server.path) as client:
        for _ in range(4):
            assert (await client.request("version")).ok
            server.restart()


async def test_full_queue_is_waited_for(bare: MakeBare) -> None:
    server = bare(start=False)
    others = [Link(server.path) for _ in range(3)]
    try:
        while any(other.send(whole(b"")[0].ljust(12, b"\0")) for other in others):
            pass
        with Client(server.path) as client:
            outcome = await client.request("version", SOON)
            assert outcome == Outcome(TIMED_OUT, reason=NOT_SENT)
    finally:
        for other in others:
            other.close()


async def test_full_queue_is_waited_for_until_there_is_room(bare: MakeBare) -> None:
    server = bare(start=False)
    other = Link(server.path)
    while other.send(b"\xbe\xba\xfe\xca".ljust(12, b"\0")):
        pass
    with Client(server.path) as client:
        async with trio.open_nursery() as nursery:
            answered: list[Outcome] = []

            async def ask() -> None:
                answered.append(await client.request("version"))

            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            server.start()
    other.close()
    assert answered[0].data == b"version"


async def test_listener_is_never_sent_a_kick(
    bare: MakeBare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_KICK_INTERVAL", 0.01)
    server = bare(silent, mode=0o600)
    with Client(server.path) as client:
        assert (await client.request("version", 2 * SOON)).kind == TIMED_OUT
    await trio.to_thread.run_sync(server.wait_seen, 1)
    assert server.seen == [b"version"]


async def test_long_answer_of_a_listener_is_whole(short: str) -> None:
    text = os.urandom(60_000).hex().encode()

    async def answer(call: Call) -> None:
        await call.part(text[:1000])
        await call.part()
        await call.answer(text[1000:])

    listener = Listener.bind(f"{short}/mconsole")
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listener.serve, answer)
            with Client(listener.path) as client:
                for _ in range(3):
                    assert (await client.request("proc kallsyms")).data == text
            nursery.cancel_scope.cancel()
    finally:
        listener.close()


async def test_missing_server_is_unreachable(short: str) -> None:
    with Client(f"{short}/none") as client, pytest.raises(Unreachable):
        await client.request("version")


async def test_command_that_cannot_be_sent_is_an_error(bare: MakeBare) -> None:
    server = bare()
    with Client(server.path) as client, pytest.raises(WireError, match="at most 511"):
        await client.request("x" * 512)
    assert not server.seen
