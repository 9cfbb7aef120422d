from __future__ import annotations

import array
import errno
import os
import socket
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from struct import pack
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from socketproto import listener as module
from socketproto.client import Client
from socketproto.exchange import Exchange, Outcome
from socketproto.fair_queue import PROCESS_BOUNDS, SOCKET_BOUNDS
from socketproto.listener import Call, ClientGone, Listener
from socketproto.wire import MAGIC, Reply, Request, RequestError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

DEADLINE = 30.0
LONG = b"".join(b"line %06d\n" % number for number in range(25_000))
"""More than any socket's queue holds."""


@asynccontextmanager
async def serving(
    directory: str, handle: Callable[[Call], Awaitable[None]]
) -> AsyncIterator[Listener]:
    """A listener at work; what its handler raises comes out."""
    listener = Listener.bind(f"{directory}/mconsole")
    try:
        with trio.fail_after(DEADLINE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(listener.serve, handle)
                yield listener
                nursery.cancel_scope.cancel()
    finally:
        listener.close()


class Raw:
    """A client's bare socket, bound unless told otherwise; not connected, as uml_mconsole's."""

    def __init__(self, path: str, *, bind: bool = True, connect: bool = False) -> None:
        self.path = path
        plain = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        if bind:
            plain.bind(b"")
        if connect:
            plain.connect(path)
        self.plain = plain
        self.socket = trio.socket.from_stdlib_socket(plain)

    async def send(self, command: bytes) -> None:
        await self.send_raw(Request(command).encode())

    async def send_raw(self, datagram: bytes) -> None:
        while True:
            try:
                self.plain.sendto(datagram, self.path)
            except BlockingIOError:
                await trio.lowlevel.checkpoint()
            else:
                return

    async def receive(self) -> Reply:
        return Reply.decode(await self.socket.recv(600))

    async def outcome(self) -> Outcome:
        """All replies of one answer, taken as slowly as the other tasks want it."""
        exchange = Exchange()
        while exchange.outcome is None:
            await trio.testing.wait_all_tasks_blocked()
            exchange.receive(await self.socket.recv(600))
        return exchange.outcome

    def queue_is_empty(self) -> bool:
        try:
            self.plain.recv(600, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        return False


@contextmanager
def raw(
    listener: Listener, count: int = 1, *, bind: bool = True, connect: bool = False
) -> Iterator[list[Raw]]:
    clients = [Raw(listener.path, bind=bind, connect=connect) for _ in range(count)]
    try:
        yield clients
    finally:
        for client in clients:
            client.socket.close()


async def echo(call: Call) -> None:
    await call.answer(call.data)


async def long_or_echo(call: Call) -> None:
    await call.answer(LONG if call.data == b"long" else call.data)


# Coming and going


async def test_socket_is_its_owners_alone_and_goes_when_closed(short: str) -> None:
    listener = Listener.bind(f"{short}/mconsole")
    found = os.stat(listener.path)
    assert (found.st_mode, found.st_uid) == (0o140600, os.geteuid())
    listener.close()
    assert not os.listdir(short)


async def test_socket_that_is_there_is_replaced(short: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stale:
        stale.bind(f"{short}/mconsole")
    with open(f"{short}/mconsole~", "w") as rubbish:
        rubbish.write("left by a crash")
    async with serving(short, echo) as listener:
        with Client(listener.path) as client:
            assert (await client.request("version")).data == b"version"
    assert not os.listdir(short)


async def test_listener_does_not_remove_the_socket_of_its_successor(short: str) -> None:
    first = Listener.bind(f"{short}/mconsole")
    async with serving(short, echo) as second:
        first.close()
        with Client(second.path) as client:
            assert (await client.request("version")).ok


async def test_listener_whose_socket_was_removed_closes_quietly(short: str) -> None:
    listener = Listener.bind(f"{short}/mconsole")
    os.unlink(listener.path)
    listener.close()


async def test_client_follows_to_the_successor(short: str) -> None:
    async with serving(short, echo) as first:
        with Client(first.path) as client:
            assert (await client.request("a")).ok
            async with serving(short, partial(Call.answer, data=b"successor")):
                assert (await client.request("b")).data == b"successor"


@pytest.mark.parametrize("name", ["missing/mconsole", "taken", "n" * 120])
async def test_path_that_cannot_be_bound_leaves_nothing(short: str, name: str) -> None:
    os.makedirs(f"{short}/taken/full")
    with pytest.raises(OSError, match=r"."):
        Listener.bind(f"{short}/{name}")
    assert os.listdir(short) == ["taken"]


# Answering


async def test_call_says_what_was_asked_and_by_whom(short: str) -> None:
    calls: list[Call] = []

    async def note(call: Call) -> None:
        calls.append(call)
        await call.answer(b"")

    async with serving(short, note) as listener:
        with Client(listener.path) as client:
            assert (await client.request(b"log \xff twice  spaced ")).ok
    assert calls[0].data == b"log \xff twice  spaced "
    assert (calls[0].pid, calls[0].uid) == (os.getpid(), os.geteuid())


async def test_error_goes_with_the_first_piece(short: str) -> None:
    async with serving(short, lambda call: call.answer("ein Fehler: \udcff", -22)) as listener:
        with Client(listener.path) as client:
            outcome = await client.request("config")
    assert (outcome.error, outcome.data) == (-22, b"ein Fehler: \xff")


async def test_error_after_a_part_makes_the_answer_a_refusal(short: str) -> None:
    async def answer(call: Call) -> None:
        await call.part(b"half, then ")
        await call.answer("broken", -5)

    async with serving(short, answer) as listener:
        with Client(listener.path) as client:
            outcome = await client.request("proc stat")
    assert (outcome.error, outcome.data) == (-5, b"half, then broken")


async def test_signs_of_life_carry_nothing(short: str) -> None:
    async def answer(call: Call) -> None:
        for _ in range(3):
            await call.part()
        await call.answer(b"done")

    async with serving(short, answer) as listener:
        with Client(listener.path) as client:
            outcome = await client.request("wait")
    assert (outcome.data, outcome.pieces) == (b"done", 4)


async def test_requests_of_one_client_are_answered_in_order(short: str) -> None:
    async with serving(short, echo) as listener:
        with raw(listener) as (client,):
            for number in range(8):
                await client.send(b"%d" % number)
            said = [(await client.outcome()).data for _ in range(8)]
    assert said == [b"%d" % number for number in range(8)]


async def test_clients_are_served_side_by_side(short: str) -> None:
    release = trio.Event()

    async def handle(call: Call) -> None:
        if call.data == b"slow":
            await release.wait()
        await call.answer(call.data)

    async with serving(short, handle) as listener:
        with raw(listener) as (slow,), Client(listener.path) as quick:
            await slow.send(b"slow")
            await trio.testing.wait_all_tasks_blocked()
            assert (await quick.request("quick")).data == b"quick"
            assert slow.queue_is_empty()
            release.set()
            assert (await slow.outcome()).data == b"slow"


async def test_idle_is_reached_when_all_is_answered(short: str) -> None:
    release, idle = trio.Event(), trio.Event()

    async def handle(call: Call) -> None:
        await release.wait()
        await call.answer(call.data)

    async def wait_idle() -> None:
        await listener.idle()
        idle.set()

    async with serving(short, handle) as listener:
        await listener.idle()
        with raw(listener, 3) as clients:
            for client in clients:
                await client.send(b"slow")
            await trio.testing.wait_all_tasks_blocked()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait_idle)
                await trio.testing.wait_all_tasks_blocked()
                assert not idle.is_set()
                release.set()
            for client in clients:
                assert (await client.outcome()).ok


# Slow, dead and strange clients


@pytest.mark.parametrize("connect", [False, True])
async def test_long_answer_reaches_a_slow_client_whole(short: str, connect: bool) -> None:
    """Not connected: a queue of ten, as that of uml_mconsole. Connected: ours alone is heard."""
    async with serving(short, long_or_echo) as listener:
        with raw(listener, connect=connect) as (client,):
            await client.send(b"long")
            assert (await client.outcome()).data == LONG


async def test_client_bound_to_a_path_is_answered(short: str) -> None:
    async with serving(short, long_or_echo) as listener:
        with raw(listener, bind=False) as (client,):
            client.plain.bind(f"{short}/client")
            await client.send(b"long")
            assert (await client.outcome()).data == LONG


async def test_client_that_closes_before_the_answer_is_gone(short: str) -> None:
    fate: list[BaseException] = []
    release = trio.Event()

    async def handle(call: Call) -> None:
        if call.data == b"stay":
            return await call.answer(call.data)
        await release.wait()
        try:
            await call.answer(LONG)
        except ClientGone as gone:
            fate.append(gone)
            raise

    async with serving(short, handle) as listener:
        with raw(listener) as (client,):
            await client.send(b"leave")
            await client.send(b"never handled")
            await trio.testing.wait_all_tasks_blocked()
        release.set()
        await listener.idle()
        with Client(listener.path) as live:
            assert (await live.request("stay")).data == b"stay"
    assert [type(each) for each in fate] == [ClientGone]


async def test_client_that_closes_amid_the_answer_is_gone(short: str) -> None:
    fate: list[BaseException] = []

    async def handle(call: Call) -> None:
        try:
            await call.answer(LONG)
        except ClientGone as gone:
            fate.append(gone)
            raise

    async with serving(short, handle) as listener:
        with raw(listener) as (client,):
            await client.send(b"long")
            await trio.testing.wait_all_tasks_blocked()
            assert (await client.receive()).more
            assert not fate
        await listener.idle()
    assert [type(each) for each in fate] == [ClientGone]


@pytest.mark.parametrize("connect", [False, True])
async def test_client_that_never_reads_is_given_up(
    short: str, monkeypatch: pytest.MonkeyPatch, connect: bool
) -> None:
    monkeypatch.setattr(module, "SEND_TIMEOUT", 0.05)
    monkeypatch.setattr(module, "SEND_BUFFER_BYTES", 1 << 16)
    fate: list[str] = []

    async def handle(call: Call) -> None:
        try:
            await call.answer(LONG)
        except ClientGone as gone:
            fate.append(str(gone))
            raise

    async with serving(short, handle) as listener:
        with raw(listener, connect=connect) as (client,):
            await client.send(b"long")
            await trio.testing.wait_all_tasks_blocked()
            await listener.idle()
            assert fate == ["the client took nothing for 0.05 seconds"]


@pytest.mark.parametrize("connect", [False, True])
async def test_forty_dead_clients_do_not_delay_a_live_one(
    short: str, connect: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All forty still wait to be given up when the live one has long been answered."""
    monkeypatch.setattr(module, "SEND_TIMEOUT", DEADLINE)
    monkeypatch.setattr(module, "SEND_BUFFER_BYTES", 1 << 16)
    begun = ended = 0

    async def handle(call: Call) -> None:
        nonlocal begun, ended
        if call.data != b"long":
            return await call.answer(LONG[:100_000])
        begun += 1
        try:
            await call.answer(LONG)
        finally:
            ended += 1

    async with serving(short, handle) as listener:
        with raw(listener, 40, connect=connect) as dead:
            for each in dead:
                await each.send(b"long")
            with Client(listener.path) as live:
                for _ in range(20):
                    assert (await live.request("stack 1")).data == LONG[:100_000]
                assert (begun, ended) == (40, 0)


async def test_client_that_was_slow_is_answered_after_all(
    short: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its patience is counted from its last datagram, and others are answered meanwhile."""
    monkeypatch.setattr(module, "SEND_TIMEOUT", DEADLINE)
    async with serving(short, long_or_echo) as listener:
        with raw(listener) as (slow,), Client(listener.path) as quick:
            await slow.send(b"long")
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(10):
                assert (await quick.request("quick")).ok
            assert (await slow.outcome()).data == LONG


async def test_client_without_an_address_is_passed_over(short: str) -> None:
    async with serving(short, echo) as listener:
        with raw(listener, bind=False) as (nobody,), Client(listener.path) as client:
            await nobody.send(b"version")
            assert (await client.request("version")).ok


async def test_handler_that_fails_ends_the_listener(short: str) -> None:
    async def fail(_call: Call) -> None:
        raise ZeroDivisionError

    async def ask() -> None:
        async with serving(short, fail) as listener:
            with Client(listener.path) as client:
                await client.request("version")

    with pytest.raises(BaseExceptionGroup) as caught:
        await ask()
    assert caught.group_contains(ZeroDivisionError)


async def test_descriptors_that_come_with_a_request_are_dropped(short: str) -> None:
    reader, writer = os.pipe()
    try:
        async with serving(short, echo) as listener:
            with raw(listener) as (client,):
                gifts = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [writer] * 8))]
                client.plain.sendmsg([Request(b"a").encode()], gifts, 0, listener.path)
                os.close(writer)
                assert (await client.outcome()).data == b"a"
                os.set_blocking(reader, False)
                assert os.read(reader, 1) == b"", "nobody holds the other end any more"
    finally:
        os.close(reader)


# Floods and rubbish


async def test_flood_of_one_client_is_bounded_and_what_was_taken_is_answered(short: str) -> None:
    release = trio.Event()

    async def handle(call: Call) -> None:
        await release.wait()
        await call.answer(call.data)

    async with serving(short, handle) as listener:
        with raw(listener) as (client,), Client(listener.path) as other:
            await client.send(b"0")
            await trio.testing.wait_all_tasks_blocked()
            for number in range(1, 200):
                await client.send(b"%d" % number)
            await trio.testing.wait_all_tasks_blocked()
            release.set()
            taken = 1 + SOCKET_BOUNDS.waiting
            for number in range(taken):
                assert (await client.outcome()).data == b"%d" % number
            assert (await other.request("version")).ok
            await listener.idle()
            assert client.queue_is_empty()


async def test_request_too_many_is_refused_as_busy(
    short: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PROCESS_BOUNDS", PROCESS_BOUNDS._replace(waiting=4))
    release = trio.Event()

    async def handle(call: Call) -> None:
        await release.wait()
        await call.answer(call.data)

    async with serving(short, handle) as listener:
        with raw(listener, 2) as (flood, other):
            await flood.send(b"0")
            await trio.testing.wait_all_tasks_blocked()
            for number in range(1, 5):
                await flood.send(b"%d" % number)
            await trio.testing.wait_all_tasks_blocked()
            await other.send(b"version")
            refused = await other.outcome()
            assert (refused.error, refused.text) == (
                -errno.EBUSY,
                "too many requests are waiting; try again",
            )
            release.set()
            for number in range(5):
                assert (await flood.outcome()).data == b"%d" % number
            await other.send(b"version")
            assert (await other.outcome()).ok


async def test_a_thousand_clients_at_once_get_one_answer_each(short: str) -> None:
    seen: list[bytes] = []

    async def handle(call: Call) -> None:
        seen.append(call.data)
        await trio.lowlevel.checkpoint()
        await call.answer(call.data)

    async with serving(short, handle) as listener:
        with raw(listener, 1000) as clients:
            for number, client in enumerate(clients):
                await client.send(b"%d" % number)
            for number, client in enumerate(clients):
                assert (await client.receive()).data == b"%d" % number
            await listener.idle()
            assert all(client.queue_is_empty() for client in clients)
    assert sorted(seen, key=int) == [b"%d" % number for number in range(1000)]


async def test_quiet_process_waits_for_no_more_than_what_is_under_way(
    short: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process has many sockets, and much on each."""
    order: list[bytes] = []
    release = trio.Event()
    processes = iter([*[1] * 60, *[2] * 60])
    monkeypatch.setattr(module, "sender", lambda _: (next(processes), os.geteuid(), 0))

    async def handle(call: Call) -> None:
        await release.wait()
        order.append(call.data)
        await call.answer(call.data)

    async with serving(short, handle) as listener:
        with raw(listener, 20) as flood, raw(listener) as (quiet,):
            for number in range(60):
                await flood[number % 20].send(b"flood")
            await trio.testing.wait_all_tasks_blocked()
            await quiet.send(b"quiet")
            await trio.testing.wait_all_tasks_blocked()
            release.set()
            assert (await quiet.outcome()).data == b"quiet"
            await listener.idle()
    assert len(order) == 61
    assert order.index(b"quiet") <= PROCESS_BOUNDS.working


async def test_call_that_steps_aside_gives_its_turn_to_others_of_its_process(short: str) -> None:
    release = trio.Event()

    async def handle(call: Call) -> None:
        if call.data == b"wait":
            call.step_aside()
            await release.wait()
        await call.answer(call.data)

    async with serving(short, handle) as listener:
        with raw(listener, 3 * PROCESS_BOUNDS.working) as waiting, Client(listener.path) as other:
            for client in waiting:
                await client.send(b"wait")
                await client.send(b"after it")
            await trio.testing.wait_all_tasks_blocked()
            assert (await other.request("version")).data == b"version"
            assert all(client.queue_is_empty() for client in waiting)
            release.set()
            for client in waiting:
                assert (await client.outcome()).data == b"wait"
                assert (await client.outcome()).data == b"after it"


async def test_no_more_answers_are_begun_for_a_process_that_takes_none(
    short: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each keeps a socket; those that wait keep nothing, and come when there is room again."""
    monkeypatch.setattr(module, "PROCESS_BOUNDS", PROCESS_BOUNDS._replace(stuck=3))
    begun = 0

    async def handle(call: Call) -> None:
        nonlocal begun
        begun += 1
        await call.answer(LONG[:20_000])

    async with serving(short, handle) as listener:
        with raw(listener, 12) as clients:
            for client in clients:
                await client.send(b"long")
            await trio.testing.wait_all_tasks_blocked()
            assert 3 <= begun <= 3 + PROCESS_BOUNDS.working
            for client in clients:
                assert len((await client.outcome()).data) == 20_000
            assert begun == 12


def request(length: int, data: bytes, magic: int = MAGIC, version: int = 2) -> bytes:
    return pack("=III", magic, version, length) + data


@pytest.mark.parametrize(
    ("datagram", "said"),
    [
        (b"", "a request has at least 12 bytes, not 0"),
        (b"version", "a request has at least 12 bytes, not 7"),
        (request(7, b"version", magic=1), "this is not an mconsole request: wrong magic number"),
        (request(7, b"version", version=3), "This driver only supports version 2 clients"),
        (request(512, b"x" * 512), "Request too large"),
        (request(0xFFFFFFFF, b"x" * 512), "Request too large"),
        (request(100, b"version"), "the request says 100 bytes and has 7"),
    ],
)
async def test_rubbish_is_refused_and_never_handled(short: str, datagram: bytes, said: str) -> None:
    handled: list[bytes] = []

    async def handle(call: Call) -> None:
        handled.append(call.data)
        await call.answer(b"")

    async with serving(short, handle) as listener:
        with raw(listener) as (client,):
            await client.send_raw(datagram)
            refused = await client.outcome()
            assert (refused.error, refused.text) == (1, said)
            await client.send(b"good")
            assert (await client.outcome()).ok
    assert handled == [b"good"]


async def test_request_longer_than_any_is_cut_as_the_kernel_cuts_it(short: str) -> None:
    async with serving(short, echo) as listener:
        with raw(listener) as (client,):
            await client.send_raw(request(7, b"version" + b"x" * 5000))
            assert (await client.outcome()).data == b"version"


async def test_rubbish_amid_an_exchange_does_not_spoil_its_answer(short: str) -> None:
    release = trio.Event()

    async def handle(call: Call) -> None:
        await release.wait()
        await call.answer(call.data)

    async with serving(short, handle) as listener:
        with raw(listener) as (client,):
            await client.send(b"version")
            await client.send_raw(b"rubbish")
            await trio.testing.wait_all_tasks_blocked()
            release.set()
            assert (await client.outcome()).data == b"version"
            await listener.idle()
            assert client.queue_is_empty()


async def test_rubbish_of_a_client_that_left_harms_nobody(short: str) -> None:
    async with serving(short, echo) as listener:
        for connect in (False, True):
            with raw(listener, connect=connect) as (client,):
                await client.send_raw(b"rubbish")
        with Client(listener.path) as client:
            assert (await client.request("version")).ok


@given(st.lists(st.binary(max_size=540), max_size=30))
def test_any_datagrams_leave_the_listener_answering(datagrams: list[bytes]) -> None:
    handled: list[bytes] = []

    async def handle(call: Call) -> None:
        handled.append(call.data)
        await call.answer(b"")

    async def flood(directory: str) -> None:
        async with serving(directory, handle) as listener:
            with raw(listener) as (client,), Client(listener.path) as other:
                for datagram in datagrams:
                    await client.send_raw(datagram)
                assert (await other.request("good")).ok

    with TemporaryDirectory(prefix="u-", dir="/tmp") as directory:
        trio.run(flood, directory)
    assert set(handled) <= {b"good"} | {request_in(datagram) for datagram in datagrams}


def request_in(datagram: bytes) -> bytes | None:
    try:
        return Request.decode(datagram).data
    except RequestError:
        return None
