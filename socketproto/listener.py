"""The trio end of a server: a socket that many clients can use, none of them at another's cost.

Three things about unix datagram sockets decide how this is written:

* What a client has not read counts against the send buffer of the socket it was sent from. Sent
  from the public socket, the replies to forty dead clients would silence it for all clients. So
  each client is answered from a socket of its own, connected to it.
* Only a connected socket can wait for room in its peer's queue, which holds ten datagrams.
* A client that has connected to the public socket hears that socket alone (others get EPERM). It
  has to be answered from there, within a bound on time. `socketproto`'s own clients do not connect
  to a listener.

`fair_queue` says how much there may be of one socket, one process, one user and in all.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import trio

from socketproto.blocking import CREDENTIALS_BYTES, SERVED_MODE, sender
from socketproto.exchange import pieces
from socketproto.fair_queue import ALL_BOUNDS, PROCESS_BOUNDS, SOCKET_BOUNDS, USER_BOUNDS, Node
from socketproto.spin import readable_soon
from socketproto.wire import REQUEST_BYTES, Reply, Request, RequestError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Answer = tuple[bytes, int]
    Handle = Callable[["Call"], Awaitable[None]]
    AtOnce = Callable[["Call"], Answer | None]
    _Ancillary = list[tuple[int, int, bytes]]

__all__ = ["Call", "ClientGone", "Listener"]

SEND_TIMEOUT: Final = 5.0
"""How long a client may take nothing before it is given up, seconds."""
SEND_BUFFER_BYTES: Final = 4 << 20
MAX_DATAGRAMS_IN_A_ROW: Final = 16
"""How many datagrams are received before other tasks get their turn."""
AT_ONCE_TURNS: Final = 2
"""What an answer at once counts for among those datagrams, beside its request."""
LINGER_TIMEOUT: Final = 0.0001
"""How long a client that was answered at once may take to ask again before other tasks get their
turn, seconds: to give way and be woken again costs as much."""
MAX_KEPT_SOCKETS: Final = 4
"""How many sockets stay connected to the clients that were answered last, who often ask again: to
make and connect a socket costs as much as an answer."""

RETRY_INTERVAL: Final = 0.1
"""The time between two tries to receive while this host lacks something for that, seconds."""

_Address = str | bytes


class ClientGone(ConnectionError):
    """The client has closed its socket, or takes nothing any more."""


class Call:
    """One request, and the means to answer it.

    Fields:
        client: gets the answer
        data: the command
        pid, uid, gid: of the sender, by the host's kernel; -1 if unknown
        aside: the request has no turn any more
        read: what the handler has read of the command, for itself; None: nothing yet
    """

    __slots__ = ("aside", "client", "data", "gid", "pid", "read", "uid")

    def __init__(self, client: _Client, data: bytes, who: tuple[int, int, int]) -> None:
        self.client = client
        self.aside = False
        self.data = data
        self.read: object = None
        self.pid, self.uid, self.gid = who

    def step_aside(self) -> None:
        """Let other requests of the process go on: this one takes long, and costs little
        meanwhile."""
        self.client.step_aside(self)

    async def part(self, data: bytes = b"") -> None:
        """Send a part of the answer; others follow. Without data: a sign of life.

        Raises: ClientGone
        """
        for reply in pieces(data, more=True):
            await self.client.send(reply.encode())

    async def answer(self, data: bytes | str, error: int = 0) -> None:
        """Send the answer, or its last part; `error` is 0, 1 or -errno.

        Raises: ClientGone
        """
        if isinstance(data, str):
            data = data.encode("utf-8", "surrogateescape")
        for reply in pieces(data, error):
            await self.client.send(reply.encode())


class _Client:
    """One client's address, its waiting requests, and the socket that answers it."""

    __slots__ = ("_kept", "_listener", "_socket", "address", "node", "unsent", "working")

    def __init__(self, listener: Listener, address: _Address) -> None:
        self.address = address
        self.node: Node[Call] | None = None
        self.working: Call | None = None
        self.unsent: list[bytes] = []
        self._kept = False
        self._listener = listener
        self._socket: socket.socket | None = None

    @property
    def full(self) -> bool:
        """Whether no more of the client's requests may wait."""
        return self.node is not None and self.node.full

    def step_aside(self, call: Call) -> None:
        if call is self.working and not call.aside:
            assert self.node is not None
            call.aside = True
            self.node.step_aside()
            self._listener.begin_waiting()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def keep(self) -> bool:
        """Whether the socket is kept for another request. Another client may have the address by
        then."""
        sock = self._socket
        self._kept = sock is not None and sock.fileno() < self._listener.most_kept
        return self._kept

    def _connected(self) -> socket.socket | None:
        """The client's own socket; None if there is no descriptor for one.

        Raises: OSError
        """
        if self._socket is None:
            try:
                sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            except OSError:
                return None
            if sock.fileno() >= self._listener.most:
                sock.close()
                return None
            try:
                sock.connect(self.address)
            except BaseException:
                sock.close()
                raise
            self._socket = sock
        return self._socket

    def try_send(self, datagram: bytes) -> bool:
        """Send a datagram if there is room; False if there is none.

        Raises: ClientGone
        """
        kept, self._kept = self._kept, False
        try:
            sock = self._connected()
            if sock is None:  # slow clients are then in each other's way, but they are answered
                return self._listener.send_from_public(self.address, datagram)
            sock.send(datagram)
        except BlockingIOError:
            return False
        except ClientGone:
            raise
        except PermissionError:
            self.close()
            return self._listener.send_from_public(self.address, datagram)
        except OSError as problem:
            if kept:
                self.close()
                return self.try_send(datagram)
            raise ClientGone(str(problem)) from problem
        return True

    def send_now(self, data: bytes, error: int) -> None:
        """Send as much of an answer as there is room for; the rest is `unsent`.

        Raises: ClientGone
        """
        datagrams = [reply.encode() for reply in pieces(data, error)]
        for index, datagram in enumerate(datagrams):
            if not self.try_send(datagram):
                self.unsent = datagrams[index:]
                return

    async def send(self, datagram: bytes) -> None:
        if self.try_send(datagram):
            return
        node = self.node
        assert node is not None
        assert self.working is not None
        self.step_aside(self.working)  # sending the rest is the client's own time
        node.count_unsent(+1)
        try:
            await self._send_patiently(datagram)
        finally:
            node.count_unsent(-1)
            self._listener.begin_waiting()

    async def _send_patiently(self, datagram: bytes) -> None:
        pause = 0.001
        with trio.move_on_after(SEND_TIMEOUT):
            while True:
                if self._socket is not None:
                    await trio.lowlevel.wait_writable(self._socket)
                else:
                    await trio.sleep(pause)
                    pause = min(pause * 2, 0.05)
                if self.try_send(datagram):
                    return
        raise ClientGone(f"the client took nothing for {SEND_TIMEOUT:g} seconds")


class Listener:
    """A bound mconsole socket. Call `bind`, then `serve`, then `close`.

    Fields:
        most: sockets for answers have lower descriptors; a client without one is answered from here
        most_kept: the same for sockets that are kept for another request
    """

    def __init__(self, path: str, sock: socket.socket, inode: int) -> None:
        self.path = path
        self.most = self.most_kept = sys.maxsize
        self._socket = sock
        self._inode = inode
        self._clients: dict[_Address, _Client] = {}
        self._kept: dict[_Address, _Client] = {}
        self._turns: Node[Call] = Node(ALL_BOUNDS)
        self._idle = trio.Event()
        self._handle: Handle
        self._at_once: AtOnce | None = None
        self._nursery: trio.Nursery

    async def idle(self) -> None:
        """Wait until every request that has been received is answered."""
        while self._clients:
            self._idle = trio.Event()
            await self._idle.wait()

    @classmethod
    def bind(cls, path: str, mode: int = SERVED_MODE) -> Listener:
        """Bind `path`, in place of whatever socket is there.

        The socket appears complete or not at all: it is bound beside the path, then renamed.

        mode: without execute bits, by which clients know a listener

        Raises: OSError
        """
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        beside = path + "~"
        try:
            # Before bind: a datagram that is queued earlier carries no credentials.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SEND_BUFFER_BYTES)
            try:
                os.unlink(beside)
            except FileNotFoundError:
                pass
            sock.bind(beside)
            try:
                os.chmod(beside, mode)
                os.rename(beside, path)
            except BaseException:
                os.unlink(beside)
                raise
            return cls(path, sock, os.stat(path).st_ino)
        except BaseException:
            sock.close()
            raise

    def is_in_place(self) -> bool:
        """Whether the socket is where clients look for it, neither removed nor replaced."""
        try:
            return os.stat(self.path).st_ino == self._inode
        except OSError:
            return False

    def close(self) -> None:
        """Close the socket and remove it, unless another stands in its place by now."""
        self._socket.close()
        for client in [*self._clients.values(), *self._kept.values()]:
            client.close()
        if self.is_in_place():
            with suppress(FileNotFoundError):
                os.unlink(self.path)

    def send_from_public(self, address: _Address, datagram: bytes) -> bool:
        """Send to a client that has connected to this socket; False if there is no room.

        Raises: ClientGone
        """
        try:
            self._socket.sendto(datagram, address)
        except BlockingIOError:
            return False
        except OSError as problem:
            raise ClientGone(str(problem)) from problem
        return True

    async def serve(self, handle: Handle, at_once: AtOnce | None = None) -> None:
        """Hand every request to `handle`: those of one client in order, clients side by side.

        at_once: asked first. If it has an answer (data and error), that is sent, and `handle` hears
            nothing of the request. All other tasks wait while it works.

        Never returns. An exception of `handle` ends it, but for ClientGone.
        """
        self._handle = handle
        self._at_once = at_once
        async with trio.open_nursery() as self._nursery:
            while True:
                turns = MAX_DATAGRAMS_IN_A_ROW
                while turns > 0:
                    try:
                        datagram, ancillary, _flags, address = self._socket.recvmsg(
                            REQUEST_BYTES, CREDENTIALS_BYTES
                        )
                    except BlockingIOError:
                        await self._wait_readable()
                        continue
                    except OSError:
                        await trio.sleep(RETRY_INTERVAL)
                        continue
                    turns -= 1
                    if not address:
                        continue  # the client is not bound: there is nowhere to send an answer
                    turns -= self._take(datagram, ancillary, address)
                await trio.lowlevel.checkpoint()

    async def _wait_readable(self) -> None:
        """Wait for a datagram; what the host lacks for that, as memory, may be there again soon."""
        try:
            await trio.lowlevel.wait_readable(self._socket)
        except OSError:
            await trio.sleep(RETRY_INTERVAL)

    def _take(self, datagram: bytes, ancillary: _Ancillary, address: _Address) -> int:
        """See to one request. Returns: for how many more than one it counts.

        Requests of a client that floods the server are dropped before anything is done for them.
        The client keeps the queue full unless this empties it faster than the client fills it.
        """
        client = self._clients.get(address)
        if client is not None and client.full:
            return 0  # the client has answers coming, which a refusal would spoil
        who = pid, uid, _gid = sender(ancillary)
        user = self._turns.below.get(uid)
        process = user.below.get(pid) if user is not None else None
        there = process or user or self._turns
        try:
            data = Request.decode(datagram).data
            if client is None and there.full:
                raise RequestError("too many requests are waiting; try again", -errno.EBUSY)
        except RequestError as problem:
            if client is not None:
                return 0
            self._refuse(address, problem)
            return 0
        if client is None:
            client = self._kept.pop(address, None) or _Client(self, address)
            call = Call(client, data, who)
            if self._at_once is not None and (process is None or not process.waiting):
                answer = self._at_once(call)
                if answer is not None:
                    self._answer(call, answer)
                    readable_soon(self._socket, LINGER_TIMEOUT)
                    return AT_ONCE_TURNS
        else:
            call = Call(client, data, who)
        self._wait(client, call)
        return 0

    def _wait(self, client: _Client, call: Call) -> None:
        """Have a call wait for its turn."""
        if client.node is None:
            user = self._turns.child(call.uid, USER_BOUNDS)
            client.node = user.child(call.pid, PROCESS_BOUNDS).child(client.address, SOCKET_BOUNDS)
            self._clients[client.address] = client
        client.node.put(call)
        self.begin_waiting()

    def _answer(self, call: Call, answer: Answer) -> None:
        """Send an answer that was there at once."""
        client = call.client
        try:
            client.send_now(*answer)
        except ClientGone:
            client.close()
            return
        if client.unsent:
            self._wait(client, call)
        else:
            self._release_socket(client)

    def _release_socket(self, client: _Client) -> None:
        """Close the socket of a client that has its answers, or keep it: the client often asks
        again."""
        if not client.keep():
            client.close()
            return
        self._kept[client.address] = client
        if len(self._kept) > MAX_KEPT_SOCKETS:
            self._kept.pop(next(iter(self._kept))).close()

    def _refuse(self, address: _Address, problem: RequestError) -> None:
        """Tell the sender at once, or not at all: no client waits for one that sends rubbish."""
        client = _Client(self, address)
        try:
            client.try_send(Reply(problem.error, False, str(problem).encode()[:511]).encode())
        except ClientGone:
            pass
        finally:
            client.close()

    def begin_waiting(self) -> None:
        """Begin with every request whose turn it is."""
        while (turn := self._turns.take()) is not None:
            self._nursery.start_soon(self._work, *turn)

    async def _work(self, node: Node[Call], call: Call) -> None:
        """See to a request, and then to the next ones."""
        while True:
            await self._serve(node, call)
            turn = self._turns.take()
            if turn is None:
                return
            node, call = turn
            await trio.lowlevel.checkpoint()

    async def _serve(self, node: Node[Call], call: Call) -> None:
        client = call.client
        client.working = call
        whole = False
        try:
            if client.unsent:
                unsent, client.unsent = client.unsent, []
                for datagram in unsent:
                    await client.send(datagram)
            else:
                answer = None if self._at_once is None else self._at_once(call)
                if answer is None:
                    await self._handle(call)
                else:
                    await call.answer(*answer)
            whole = True
        except ClientGone:
            pass
        finally:
            client.working = None
            if not whole:
                node.drop()
            if not node.waiting:
                client.node = None
                del self._clients[client.address]
                if whole:
                    self._release_socket(client)
                else:
                    client.close()
            node.done(aside=call.aside)
            if not self._clients:
                self._idle.set()
