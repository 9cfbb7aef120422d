"""The trio end of a server: a socket that many clients can use, none of them at another's cost.

Three things about unix datagram sockets decide how this is written:

* What a client has not read counts against the send buffer of the socket it was sent from. Sent
  from the public socket, the replies to forty dead clients would silence it for everybody. So
  each client is answered from a socket of its own, connected to it.
* Only a connected socket can wait for room in its peer's queue, which holds ten datagrams.
* A client that has connected to the public socket hears that one alone (the others get EPERM).
  It has to be answered from there, within a bound on time. `socketproto`'s own clients do not
  connect to a listener.
"""

from __future__ import annotations

import errno
import os
import socket
from collections import deque
from typing import TYPE_CHECKING, Final

import trio

from socketproto.blocking import CREDENTIALS_ROOM, SERVED_MODE, sender
from socketproto.exchange import pieces
from socketproto.soon import readable_soon
from socketproto.wire import REQUEST_SIZE, Reply, Request, RequestError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Answer = tuple[bytes, int]
    Handle = Callable[["Call"], Awaitable[None]]
    AtOnce = Callable[["Call"], Answer | None]

__all__ = ["Call", "ClientGone", "Listener"]

PATIENCE: Final = 5.0
"""A client that takes nothing for this long is given up, seconds."""
WAITING_PER_CLIENT: Final = 64
WAITING: Final = 1024
"""Requests that may wait, from one client and in all; more are refused."""
SEND_BUFFER: Final = 4 << 20
DRAIN: Final = 64
"""Datagrams received before others get their turn."""
AT_ONCE_TURNS: Final = 8
"""What an answer at once counts for among them."""
LINGER: Final = 0.0001
"""How long its client may take to ask again before others get their turn, seconds: to give way
and be woken again costs as much."""
KEPT: Final = 4
"""Sockets kept connected to the clients answered last, who often ask again: to make one and
connect it costs as much as to answer."""

_Address = str | bytes


class ClientGone(ConnectionError):
    """The client has closed its socket, or takes nothing any more."""


class Call:
    """One request, and the means to answer it.

    Fields:
        client: who gets the answer
        data: the command
        pid, uid: who sent it, by the host's kernel; -1 if unknown
    """

    __slots__ = ("_started", "client", "data", "pid", "uid")

    def __init__(self, client: _Client, data: bytes, pid: int, uid: int) -> None:
        self.client = client
        self._started = False
        self.data = data
        self.pid = pid
        self.uid = uid

    async def part(self, data: bytes = b"") -> None:
        """Send a part of the answer; others follow. Without data: a sign of life.

        Raises: ClientGone
        """
        for reply in pieces(data, more=True):
            await self.client.send(reply.encode())
        self._started = True

    async def answer(self, data: bytes | str, error: int = 0) -> None:
        """Send the answer, or its last part; `error` is 0, 1 or -errno.

        Only the first reply of an exchange can carry an error, so one that comes after a part
        was sent is marked in the text.

        Raises: ClientGone
        """
        if isinstance(data, str):
            data = data.encode("utf-8", "surrogateescape")
        if error and self._started:
            data = b"ERR " + data
        for reply in pieces(data, error):
            await self.client.send(reply.encode())


class _Client:
    """One client's address: its waiting requests and the socket that answers it."""

    __slots__ = ("_kept", "_listener", "_socket", "address", "calls", "unsent")

    def __init__(self, listener: Listener, address: _Address) -> None:
        self.address = address
        self.calls: deque[Call] = deque()
        self.unsent: list[bytes] = []
        self._kept = False
        self._listener = listener
        self._socket: socket.socket | None = None

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def keep(self) -> bool:
        """There is a socket to be kept for another request; whoever has the address then may
        be another client."""
        self._kept = self._socket is not None
        return self._kept

    def _connected(self) -> socket.socket:
        if self._socket is None:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            try:
                sock.connect(self.address)
            except BaseException:
                sock.close()
                raise
            self._socket = sock
        return self._socket

    def try_send(self, datagram: bytes) -> bool:
        """Send if there is room.

        Raises: ClientGone
        """
        kept, self._kept = self._kept, False
        try:
            self._connected().send(datagram)
        except BlockingIOError:
            return False
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
        """Send of an answer what there is room for; the rest is `unsent`.

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
        pause = 0.001
        with trio.move_on_after(PATIENCE):
            while True:
                if self._socket is not None:
                    await trio.lowlevel.wait_writable(self._socket)
                else:
                    await trio.sleep(pause)
                    pause = min(pause * 2, 0.05)
                if self.try_send(datagram):
                    return
        raise ClientGone(f"the client took nothing for {PATIENCE:g} seconds")


class Listener:
    """A bound mconsole socket. Use `bind`, then `serve`, then `close`."""

    def __init__(self, path: str, sock: socket.socket, inode: int) -> None:
        self.path = path
        self._socket = sock
        self._inode = inode
        self._clients: dict[_Address, _Client] = {}
        self._kept: dict[_Address, _Client] = {}
        self._waiting = 0
        self._idle = trio.Event()

    async def idle(self) -> None:
        """Until every request that has been received is answered."""
        while self._clients:
            self._idle = trio.Event()
            await self._idle.wait()

    @classmethod
    def bind(cls, path: str) -> Listener:
        """Bind `path`, in place of whatever socket is there.

        It appears complete or not at all: bound beside it, then renamed.

        Raises: OSError
        """
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        beside = path + "~"
        try:
            # Before bind: a datagram that is queued earlier carries no credentials.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SEND_BUFFER)
            try:
                os.unlink(beside)
            except FileNotFoundError:
                pass
            sock.bind(beside)
            try:
                os.chmod(beside, SERVED_MODE)
                os.rename(beside, path)
            except BaseException:
                os.unlink(beside)
                raise
            return cls(path, sock, os.stat(path).st_ino)
        except BaseException:
            sock.close()
            raise

    def close(self) -> None:
        """Close the socket and remove it, unless another stands in its place by now."""
        self._socket.close()
        for client in [*self._clients.values(), *self._kept.values()]:
            client.close()
        try:
            if os.stat(self.path).st_ino == self._inode:
                os.unlink(self.path)
        except FileNotFoundError:
            pass

    def send_from_public(self, address: _Address, datagram: bytes) -> bool:
        """Send to a client that has connected to us, if there is room.

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

        at_once: asked first; an answer that it has (data and error) is sent, and `handle` hears
            nothing of the request. Everything else waits while it works.

        Never returns. An exception of `handle` ends it, but for ClientGone.
        """
        async with trio.open_nursery() as nursery:
            while True:
                turns = DRAIN
                while turns > 0:
                    try:
                        datagram, ancillary, _flags, address = self._socket.recvmsg(
                            REQUEST_SIZE, CREDENTIALS_ROOM
                        )
                    except BlockingIOError:
                        await trio.lowlevel.wait_readable(self._socket)
                        continue
                    turns -= 1
                    if not address:
                        continue  # not bound: there is nowhere to send an answer
                    call = self._take(datagram, sender(ancillary), address)
                    if call is None:
                        continue
                    answer = None if at_once is None else at_once(call)
                    self._start(nursery, handle, call, answer)
                    if answer is not None:
                        turns -= AT_ONCE_TURNS
                        readable_soon(self._socket, LINGER)
                await trio.lowlevel.checkpoint()

    def _take(self, datagram: bytes, who: tuple[int, int], address: _Address) -> Call | None:
        """Read one request; the call if its client has nothing under way, else it waits."""
        client = self._clients.get(address)
        try:
            request = Request.decode(datagram)
            waiting = len(client.calls) if client else 0
            if waiting >= WAITING_PER_CLIENT or self._waiting >= WAITING:
                raise RequestError("too many requests are waiting; try again", -errno.EBUSY)
        except RequestError as problem:
            self._refuse(client, address, problem)
            return None
        if client is None:
            client = self._kept.pop(address, None) or _Client(self, address)
            return Call(client, request.data, *who)
        client.calls.append(Call(client, request.data, *who))
        self._waiting += 1
        return None

    def _start(
        self, nursery: trio.Nursery, handle: Handle, call: Call, answer: Answer | None
    ) -> None:
        """See to the first call of a client: send the answer, or have one made."""
        client = call.client
        if answer is not None:
            try:
                client.send_now(*answer)
            except ClientGone:
                client.close()
                return
            if not client.unsent:
                self._let_go(client)
                return
        else:
            client.calls.append(call)
            self._waiting += 1
        self._clients[client.address] = client
        nursery.start_soon(self._work, client, handle)

    def _let_go(self, client: _Client) -> None:
        """A client has its answers; it often asks again."""
        if client.keep():
            self._kept[client.address] = client
            if len(self._kept) > KEPT:
                self._kept.pop(next(iter(self._kept))).close()

    def _refuse(self, client: _Client | None, address: _Address, problem: RequestError) -> None:
        """Tell the sender at once, or not at all: nobody waits for one that sends rubbish."""
        if client is not None:
            return  # an exchange of its own is under way, whose answer this would spoil
        client = _Client(self, address)
        try:
            client.try_send(Reply(problem.error, False, str(problem).encode()[:511]).encode())
        except ClientGone:
            pass
        finally:
            client.close()

    async def _work(self, client: _Client, handle: Handle) -> None:
        whole = False
        try:
            for datagram in client.unsent:
                await client.send(datagram)
            client.unsent = []
            while client.calls:
                call = client.calls.popleft()
                self._waiting -= 1
                await handle(call)
            whole = True
        except ClientGone:
            pass
        finally:
            self._waiting -= len(client.calls)
            del self._clients[client.address]
            if whole:
                self._let_go(client)
            else:
                client.close()
            if not self._clients:
                self._idle.set()
