"""Answers without giving way: the listener's `at_once`, the sockets it keeps, the client's."""

from __future__ import annotations

import os
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from socketproto.client import Client
from socketproto.exchange import Exchange, pieces
from socketproto.listener import MAX_KEPT_SOCKETS, Call, Listener
from socketproto.wire import REPLY_BYTES, Request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from tests.conftest import Address, Bare

    MakeBare = Callable[..., Bare]

DEADLINE = 30.0
LONG = b"0123456789" * 5000


async def late(call: Call) -> None:
    await call.answer(b"late " + call.data)


def at_once(call: Call) -> tuple[bytes, int] | None:
    known = {b"short": (b"now", 0), b"no": (b"no", -22), b"long": (LONG, 0)}
    return known.get(call.data)


@asynccontextmanager
async def serving(directory: str) -> AsyncIterator[Listener]:
    listener = Listener.bind(f"{directory}/mconsole")
    try:
        with trio.fail_after(DEADLINE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(listener.serve, late, at_once)
                yield listener
                nursery.cancel_scope.cancel()
    finally:
        listener.close()


def bound(name: str = "") -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    sock.bind(name)
    return sock


async def ask(sock: socket.socket, path: str, *commands: bytes) -> list[tuple[bytes, int]]:
    for command in commands:
        sock.sendto(Request(command).encode(), path)
    found = []
    for _ in commands:
        exchange = Exchange()
        while exchange.outcome is None:
            await trio.lowlevel.wait_readable(sock)
            exchange.receive(sock.recv(REPLY_BYTES))
        found.append((exchange.outcome.data, exchange.outcome.error))
    return found


async def test_what_has_an_answer_at_once_is_not_handled(short: str) -> None:
    async with serving(short) as listener:
        with bound() as sock:
            assert await ask(sock, listener.path, b"short") == [(b"now", 0)]
            assert await ask(sock, listener.path, b"no") == [(b"no", -22)]
            assert await ask(sock, listener.path, b"other") == [(b"late other", 0)]


async def test_answer_at_once_that_does_not_fit_the_queue_arrives_whole(short: str) -> None:
    async with serving(short) as listener:
        with bound() as sock:
            assert await ask(sock, listener.path, b"long") == [(LONG, 0)]


async def test_answers_of_both_kinds_come_in_the_order_of_the_requests(short: str) -> None:
    async with serving(short) as listener:
        with bound() as sock:
            assert await ask(sock, listener.path, b"long", b"other", b"short") == [
                (LONG, 0),
                (b"late other", 0),
                (b"now", 0),
            ]


async def test_more_clients_than_are_kept_are_answered_in_turn(short: str) -> None:
    async with serving(short) as listener:
        socks = [bound() for _ in range(MAX_KEPT_SOCKETS * 3)]
        for _ in range(3):
            for sock in socks:
                assert await ask(sock, listener.path, b"short") == [(b"now", 0)]
        for sock in socks:
            sock.close()


@pytest.mark.parametrize("command", [b"short", b"other"])
async def test_another_client_of_the_same_address_is_answered(short: str, command: bytes) -> None:
    """uml_mconsole is bound to its pid, which comes again."""
    async with serving(short) as listener:
        for _ in range(3):
            with bound(f"\0umlctl-test-{os.getpid()}-the-same") as sock:
                assert len(await ask(sock, listener.path, command)) == 1


async def test_client_that_connects_later_is_answered(short: str) -> None:
    async with serving(short) as listener:
        with bound() as sock:
            assert await ask(sock, listener.path, b"short") == [(b"now", 0)]
            sock.connect(listener.path)
            assert await ask(sock, listener.path, b"short") == [(b"now", 0)]


def reply(data: bytes) -> Iterable[bytes]:
    return [each.encode() for each in pieces(data)]


async def test_client_asks_at_once(bare: MakeBare) -> None:
    def answer(_server: Bare, data: bytes, _address: Address) -> Iterable[bytes]:
        return reply(data)

    with Client(bare(answer).path) as client:
        for _ in range(3):
            outcome = client.ask_at_once("version", DEADLINE)
            assert outcome is not None
            assert outcome.data == b"version"


async def test_client_forgets_what_is_not_answered_at_once(bare: MakeBare) -> None:
    def answer(_server: Bare, data: bytes, _address: Address) -> Iterable[bytes]:
        return [] if data == b"slow" else reply(data)

    with Client(bare(answer).path) as client:
        assert client.ask_at_once("slow", 0.01) is None
        assert client.link.socket is None
        outcome = client.ask_at_once("version", DEADLINE)
        assert outcome is not None
        assert outcome.data == b"version"
