from __future__ import annotations

import array
import os
import select
import socket
import threading
from contextlib import contextmanager
from functools import partial
from struct import pack
from typing import TYPE_CHECKING, Any, Self

import pytest
import trio

from socketproto import blocking
from socketproto.blocking import (
    KICK,
    MAX_LATE_DATAGRAMS,
    NO_ANSWER,
    NOT_SENT,
    Connection,
    Link,
    Unreachable,
    request,
)
from socketproto.exchange import ANSWERED, GONE, REFUSED, TIMED_OUT, TRUNCATED, Outcome, pieces
from socketproto.listener import Call, Listener
from socketproto.wire import Reply, Request, WireError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Address, Bare

    MakeBare = Callable[..., Bare]

SOON = 0.05
"""A deadline that is meant to pass, seconds."""


def whole(data: bytes, error: int = 0) -> list[bytes]:
    return [reply.encode() for reply in pieces(data, error)]


def silent(_server: Bare, _data: bytes, _address: Address) -> list[bytes]:
    return []


def end(server: Bare, _data: bytes, _address: Address, *, remove: bool) -> list[bytes]:
    server.unbind(remove=remove)
    return []


def reboot(server: Bare, _data: bytes, _address: Address) -> list[bytes]:
    server.unbind()
    server.bind()
    return []


@pytest.fixture
def kicks_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """To a listener too, where the first look would come after a second."""
    monkeypatch.setattr(blocking, "MAX_KICK_INTERVAL", 0.01)


# A bare kernel


def test_command_is_answered(bare: MakeBare) -> None:
    server = bare()
    with Connection(server.path) as connection:
        assert connection.request("version") == Outcome(ANSWERED, data=b"version", pieces=1)
        assert connection.request(b"\xff\xfe").data == b"\xff\xfe"
        assert connection.request("\udcff").data == b"\xff"


def test_socket_of_somebody_else_is_not_asked(bare: MakeBare) -> None:
    """Where its owner must be somebody: the path may lead through a directory of theirs."""
    server = bare()
    other = os.getuid() + 1
    with pytest.raises(Unreachable, match=rf"it leads to what is uid {os.getuid()}'s"):
        Link(server.path, other).open()
    mine = Link(server.path, os.getuid())
    assert mine.send(blocking.encode("version"))
    assert mine.socket is not None
    mine.socket.settimeout(None)
    assert Reply.decode(mine.receive() or b"").data == b"version"
    mine.close()


def test_socket_that_was_looked_at_is_the_one_that_is_asked(bare: MakeBare) -> None:
    server, other = bare(), bare(name="other")
    with Connection(server.path) as connection:
        connection.link = Link(server.path, os.getuid())
        connection.link.open()
        os.rename(server.path, f"{server.path}~")
        os.symlink(other.path, server.path)
        assert connection.link.send(blocking.encode("version"), look=False)
        server.wait_seen(1)
        assert other.seen == []
        assert connection.request("version").ok
        other.wait_seen(1)


def test_err_is_a_refusal_with_its_number(bare: MakeBare) -> None:
    server = bare(lambda *_: whole(b"Device number out of range", -22))
    with Connection(server.path) as connection:
        outcome = connection.request("config ubd99")
    assert outcome == Outcome(REFUSED, -22, b"Device number out of range", "", 1)


def test_connected_client_gets_more_than_a_queue_of_ten(bare: MakeBare) -> None:
    """A kernel does not wait: to a client that had not connected, all but eleven would be lost."""
    text = b"x" * 511 * 60
    server = bare(lambda *_: whole(text))
    with Connection(server.path) as connection:
        assert connection.request("proc meminfo") == Outcome(ANSWERED, data=text, pieces=60)


def test_requests_of_one_connection_come_from_one_socket(bare: MakeBare) -> None:
    server = bare()
    with Connection(server.path) as connection:
        for _ in range(3):
            assert connection.request("version").ok
    assert len(set(server.clients)) == 1
    assert all(server.clients)


def test_each_piece_is_handed_on_instead_of_kept(bare: MakeBare) -> None:
    server = bare(lambda *_: whole(b"a" * 511 + b"b" * 511 + b"c"))
    got: list[bytes] = []
    with Connection(server.path) as connection:
        outcome = connection.request("proc stat", each=got.append)
    assert outcome == Outcome(ANSWERED, pieces=3)
    assert got == [b"a" * 511, b"b" * 511, b"c"]


def test_error_in_a_reader_of_pieces_throws_the_socket_away(bare: MakeBare) -> None:
    server = bare(lambda _server, data, _address: whole(data * 200))

    def fail(_data: bytes) -> None:
        raise BrokenPipeError

    with Connection(server.path) as connection:
        with pytest.raises(BrokenPipeError):
            connection.request("first", each=fail)
        assert connection.link.socket is None
        assert connection.request("second").data == b"second" * 200


def test_kernel_that_missed_its_wake_up_is_kicked_by_an_unknown_command(bare: MakeBare) -> None:
    server = bare()
    server.asleep = 1
    with Connection(server.path) as connection:
        assert connection.request("version").data == b"version"
    server.wait_seen(2)
    assert server.seen[:2] == [b"version", b"k"]
    assert Request(b"k").encode() == KICK
    assert b"go" not in server.seen
    assert not server.senders[1]


def test_kernel_is_kicked_again_until_it_wakes(bare: MakeBare) -> None:
    server = bare()
    server.asleep = 4
    with Connection(server.path) as connection:
        assert connection.request("version").data == b"version"
    server.wait_seen(5)
    assert server.seen[:5] == [b"version", *[b"k"] * 4]


def test_silence_is_a_timeout_and_the_late_reply_is_nobodys(bare: MakeBare) -> None:
    server = bare(silent)
    with Connection(server.path) as connection:
        outcome = connection.request("version", SOON)
        assert outcome == Outcome(TIMED_OUT, reason=NO_ANSWER)
        server.wait_seen(1)
        late = server.clients[0]
        assert late

        def answer(server: Bare, data: bytes, _address: Address) -> list[bytes]:
            with pytest.raises(ConnectionRefusedError):
                server.open_socket.sendto(b"late", late)
            return whole(b"in time: " + data)

        server.answer = answer
        assert connection.request("help").data == b"in time: help"


def test_answer_that_came_while_nobody_looked_is_taken_after_the_deadline(
    bare: MakeBare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where this process stood still. But what never ends is given up."""
    server = bare(lambda *_: whole(b"in time"))
    now = 0.0
    monkeypatch.setattr(blocking, "monotonic", lambda: now)
    with Connection(server.path) as connection:
        send = connection._send

        def send_and_stand_still(datagram: bytes, deadline: float) -> bool:
            nonlocal now
            sent = send(datagram, deadline)
            assert connection.link.socket is not None
            select.select([connection.link.socket.fileno()], [], [], 30)
            now += 20
            return sent

        monkeypatch.setattr(connection, "_send", send_and_stand_still)
        assert connection.request("version", 10).data == b"in time"
        server.answer = lambda *_: [Reply(0, True, b"").encode()] * 2 * MAX_LATE_DATAGRAMS
        assert connection.request("version", 10).kind == TIMED_OUT


def test_answer_that_lacks_its_end_is_truncated(
    bare: MakeBare, time_up_after: Callable[[int], None]
) -> None:
    time_up_after(2)
    server = bare(lambda _server, data, _address: whole(b"x" * 1200)[:-1] if data != b"k" else [])
    with Connection(server.path) as connection:
        outcome = connection.request("stack 1")
    assert outcome == Outcome(TRUNCATED, 0, b"x" * 1022, NO_ANSWER, 2)


def test_sign_of_life_renews_the_deadline(bare: MakeBare, monkeypatch: pytest.MonkeyPatch) -> None:
    server = bare(lambda *_: [*[Reply(0, True, b".").encode()] * 9, *whole(b"end")])
    now = 0.0
    monkeypatch.setattr(blocking, "monotonic", lambda: now)

    def later(_data: bytes) -> None:
        nonlocal now
        now += 9

    with Connection(server.path) as connection:
        assert connection.request("wait", 10, renew=10, each=later).ok
        assert now == 90
        assert connection.request("wait", 10, each=later) == Outcome(
            TRUNCATED, reason=NO_ANSWER, pieces=2
        )


def test_rubbish_is_passed_over(bare: MakeBare) -> None:
    server = bare(lambda *_: [b"", b"short", pack("=iII", 0, 0, 500) + b"x", *whole(b"right")])
    with Connection(server.path) as connection:
        assert connection.request("version").data == b"right"


def test_stranger_cannot_send_to_a_connected_client(bare: MakeBare) -> None:
    server = bare(silent)
    with Connection(server.path) as connection, dgram() as stranger:
        connection.request("version", SOON)
        client = connection.link.open()
        with pytest.raises(PermissionError):
            stranger.sendto(whole(b"spoofed")[0], client.getsockname())


@pytest.mark.parametrize("remove", [True, False])
def test_kernel_that_ends_before_it_answers_is_gone(bare: MakeBare, remove: bool) -> None:
    server = bare(partial(end, remove=remove))
    with Connection(server.path) as connection:
        outcome = connection.request("halt")
    assert outcome == Outcome(GONE, reason="it ended before it answered")


def test_kernel_that_reboots_before_it_answers_is_gone(bare: MakeBare) -> None:
    server = bare(reboot)
    with Connection(server.path) as connection:
        outcome = connection.request("reboot")
    # Whether it is back already when it is looked for is a matter of moments.
    assert outcome.kind == GONE
    assert outcome.reason in ("it restarted before it answered", "it ended before it answered")


def test_next_request_finds_the_socket_of_a_restarted_kernel(bare: MakeBare) -> None:
    server = bare()
    with Connection(server.path) as connection:
        for _ in range(5):
            assert connection.request("version").ok
            server.restart()
    assert server.commands == [b"version"] * 5


def test_answer_that_came_while_the_server_ended_is_not_lost(
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
    with Connection(server.path) as connection:
        assert connection.request("halt") == Outcome(ANSWERED, data=b"y" * 600, pieces=2)


def test_full_queue_is_waited_for_until_the_deadline(bare: MakeBare) -> None:
    server = bare(start=False)
    with full(server.path), Connection(server.path) as connection:
        assert connection.request("version", SOON) == Outcome(TIMED_OUT, reason=NOT_SENT)


@contextmanager
def soon(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], None]) -> Iterator[None]:
    """While a request waits for room, something happens."""
    real = Link.send_patiently
    timer = threading.Timer(SOON, happens)

    def send(link: Link, datagram: bytes, seconds: float) -> bool:
        assert 0 < seconds <= blocking.DEFAULT_TIMEOUT
        if timer.ident is None:
            timer.start()
        return real(link, datagram, seconds)

    monkeypatch.setattr(Link, "send_patiently", send)
    yield
    timer.join()


@pytest.mark.parametrize("mode", [0o755, 0o600])
def test_full_queue_is_waited_for_until_there_is_room(
    bare: MakeBare, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    server = bare(start=False, mode=mode)
    with (
        full(server.path),
        Connection(server.path) as connection,
        soon(monkeypatch, server.start),
    ):
        assert connection.request("version").data == b"version"


def test_server_that_goes_while_its_queue_is_full_is_noticed(
    bare: MakeBare, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = bare(start=False, mode=0o600)
    with (
        full(server.path),
        Connection(server.path) as connection,
        soon(monkeypatch, server.unbind),
        pytest.raises(Unreachable),
    ):
        connection.request("version")


# A listener


async def answer_words(call: Call) -> None:
    await call.answer(b"you said " + call.data)


async def ask(connection: Connection, command: str, timeout: float = 20, **how: Any) -> Outcome:
    return await trio.to_thread.run_sync(
        partial(connection.request, command, timeout, **how), abandon_on_cancel=True
    )


async def test_listener_answers_from_another_socket(short: str, nursery: trio.Nursery) -> None:
    listener = Listener.bind(f"{short}/mconsole")
    nursery.start_soon(listener.serve, answer_words)
    with Connection(listener.path) as connection:
        assert (await ask(connection, "version")).data == b"you said version"
        assert connection.link.served
    nursery.cancel_scope.cancel()
    listener.close()


async def test_long_answer_of_a_listener_is_whole(short: str, nursery: trio.Nursery) -> None:
    text = os.urandom(60_000).hex().encode()
    listener = Listener.bind(f"{short}/mconsole")
    nursery.start_soon(listener.serve, lambda call: call.answer(text))
    with Connection(listener.path) as connection:
        assert (await ask(connection, "proc kallsyms")).data == text
    nursery.cancel_scope.cancel()
    listener.close()


def test_listener_is_never_sent_a_kick(bare: MakeBare, kicks_early: None) -> None:
    server = bare(silent, mode=0o600)
    with Connection(server.path) as connection:
        assert connection.request("version", 2 * SOON).kind == TIMED_OUT
    server.wait_seen(1)
    assert server.seen == [b"version"]


@pytest.mark.parametrize("remove", [True, False])
def test_listener_that_ends_before_it_answers_is_gone(
    bare: MakeBare, kicks_early: None, remove: bool
) -> None:
    server = bare(partial(end, remove=remove), mode=0o600)
    with Connection(server.path) as connection:
        assert connection.request("kill") == Outcome(GONE, reason="it ended before it answered")


def test_listener_that_came_back_is_found(bare: MakeBare) -> None:
    server = bare(mode=0o600)
    with Connection(server.path) as connection:
        for _ in range(5):
            assert connection.request("version").ok
            server.restart()


def test_kernel_in_place_of_a_listener_is_spoken_to_as_a_kernel(bare: MakeBare) -> None:
    server = bare(mode=0o600)
    with Connection(server.path) as connection:
        assert connection.request("version").ok
        assert connection.link.served
        server.mode = 0o700
        server.restart()
        assert connection.request("version").ok
        assert not connection.link.served


def test_reply_of_another_user_is_not_believed(
    bare: MakeBare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody can send to an autobound address; the host's kernel says who did."""

    def answer(_server: Bare, data: bytes, address: Address) -> list[bytes]:
        with dgram() as other:
            as_another_user(other, whole(b"spoofed " + data)[0], address)
        return whole(b"genuine")

    server = bare(answer, mode=0o600)
    if os.geteuid():
        make_replies_foreign(server, monkeypatch)
    with Connection(server.path) as connection:
        assert connection.request("version").data == b"genuine"


def as_another_user(sock: socket.socket, datagram: bytes, address: Address) -> None:
    """Send with the credentials of nobody; an ordinary user sends with its own."""
    uid = 65534 if os.geteuid() == 0 else os.geteuid()
    credentials = pack("=iII", os.getpid(), uid, os.getgid())
    ancillary = [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, credentials)]
    sock.sendmsg([datagram], ancillary, 0, address)


def make_replies_foreign(server: Bare, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where we are nobody but ourselves: the first reply counts as another user's."""
    senders = iter([(1, os.geteuid() + 1, 1)])
    monkeypatch.setattr(blocking, "sender", lambda _: next(senders, (1, os.geteuid(), 1)))


def test_reply_without_credentials_is_not_believed() -> None:
    assert blocking.sender([]) == (-1, -1, -1)
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, pack("=i", 0))
    credentials = (socket.SOL_SOCKET, socket.SCM_CREDENTIALS, pack("=iII", 12, 34, 56))
    assert blocking.sender([rights]) == (-1, -1, -1)
    assert blocking.sender([rights, credentials]) == (12, 34, 56)


@pytest.mark.parametrize("mode", [0o600, 0o755])
def test_descriptors_that_come_with_a_reply_are_dropped(bare: MakeBare, mode: int) -> None:
    reader, writer = os.pipe()
    try:

        def answer(server: Bare, data: bytes, address: Address) -> list[bytes]:
            if data == b"k":
                return []
            rights = array.array("i", [writer] * 8)
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]
            server.open_socket.sendmsg(whole(b"with gifts"), ancillary, 0, address)
            os.close(writer)
            return []

        server = bare(answer, mode=mode)
        with Connection(server.path) as connection:
            assert connection.request("version").data == b"with gifts"
            server.stop()
            os.set_blocking(reader, False)
            assert os.read(reader, 1) == b"", "nobody holds the other end any more"
    finally:
        os.close(reader)


# Nobody there


def test_missing_socket_is_unreachable(short: str) -> None:
    with Connection(f"{short}/none") as connection:
        with pytest.raises(Unreachable, match="No such file") as caught:
            connection.request("version")
        assert (caught.value.path, caught.value.why) == (
            f"{short}/none",
            "No such file or directory",
        )


@pytest.mark.parametrize("mode", [0o600, 0o755])
def test_socket_that_nobody_listens_on_is_unreachable(bare: MakeBare, mode: int) -> None:
    server = bare(start=False, mode=mode)
    server.unbind(remove=False)
    with Connection(server.path) as connection, pytest.raises(Unreachable, match="guest is gone"):
        connection.request("version")


def test_what_is_no_socket_is_unreachable(short: str) -> None:
    with Connection(short) as connection, pytest.raises(Unreachable, match="not a socket"):
        connection.request("version")


@pytest.mark.parametrize("mode", [0o600, 0o755])
def test_stream_socket_is_unreachable(short: str, mode: int) -> None:
    path = f"{short}/stream"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(path)
        other.listen()
        os.chmod(path, mode)
        with Connection(path) as connection, pytest.raises(Unreachable, match="wrong type"):
            connection.request("version")


@pytest.mark.parametrize("mode", [0o600, 0o755])
def test_path_too_long_for_a_socket_is_unreachable(
    bare: MakeBare, monkeypatch: pytest.MonkeyPatch, short: str, mode: int
) -> None:
    server = bare(mode=mode)
    directory = f"{short}/{'d' * 120}"
    os.mkdir(directory)
    os.link(server.path, f"{directory}/mconsole")
    with Connection(f"{directory}/mconsole") as connection, pytest.raises(Unreachable) as caught:
        connection.request("version")
    assert caught.value.why == "AF_UNIX path too long"


def test_request_on_its_own_makes_an_unreachable_server_an_outcome(
    bare: MakeBare, short: str
) -> None:
    assert request(bare().path, "version").data == b"version"
    outcome = request(f"{short}/none", "version")
    assert outcome == Outcome(GONE, reason=f"{short}/none: No such file or directory")


def test_command_that_cannot_be_sent_is_an_error_and_nothing_is_sent(bare: MakeBare) -> None:
    server = bare()
    with Connection(server.path) as connection:
        with pytest.raises(WireError, match="at most 511"):
            connection.request("x" * 512)
        with pytest.raises(WireError, match="NUL"):
            connection.request("a\0b")
        assert connection.request("x" * 511).data == b"x" * 511
    assert len(server.commands) == 1


def test_closed_connection_leaves_no_socket(bare: MakeBare) -> None:
    server = bare()
    before = descriptors()
    with Connection(server.path) as connection:
        assert connection.request("version").ok
        assert descriptors() != before
    connection.close()
    assert descriptors() == before


def descriptors() -> set[str]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:
            continue
    return {target for target in found if target.startswith("socket:")}


def dgram() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)


class full:  # noqa: N801 - reads as a function
    """A server's queue, full until the end of the block or until it is read.

    Fields:
        count: datagrams in it
    """

    def __init__(self, path: str) -> None:
        self.count = 0
        self._path = path
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Self:
        while self._fill():
            pass
        return self

    def _fill(self) -> int:
        """Send until no more is taken; one socket may be at its own limit before the server is."""
        before = self.count
        sock = dgram()
        self._sockets.append(sock)
        try:
            while True:
                sock.sendto(KICK, socket.MSG_DONTWAIT, self._path)
                self.count += 1
        except BlockingIOError:
            return self.count - before

    def __exit__(self, *_: object) -> None:
        for sock in self._sockets:
            sock.close()


def test_kernel_elsewhere_answers_to_a_name_in_a_directory(short: str) -> None:
    path = f"{short}/mconsole"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(path)
        os.chmod(path, 0o755)
        link = Link(path, replies=short)
        try:
            assert link.send(b"version")
            asked, address = server.recvfrom(100)
            assert asked == b"version"
            assert os.path.dirname(address) == short
            assert len(os.path.basename(address)) == 6
            server.sendto(b"answer", address)
            assert link.receive() == b"answer"
        finally:
            link.close()
        assert not os.path.exists(address)
        link.close()


def test_directory_for_replies_that_is_gone_makes_it_unreachable(short: str) -> None:
    path = f"{short}/mconsole"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(path)
        os.chmod(path, 0o755)
        with pytest.raises(Unreachable, match="No such file"):
            Link(path, replies=f"{short}/gone").open()
