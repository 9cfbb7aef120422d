"""One request over a plain socket, as one-shot commands and scripts make it.

Standard library only, and as little of that as can be: `_socket` instead of `socket`, which brings
enum and selectors and doubles the start of the interpreter.

Two kinds of server answer on an mconsole socket, and they want different clients:

* A bare kernel sends its replies without waiting. For a client that has not connected, it drops
  what does not fit a queue of ten; a connected client has room for a few hundred. The kernel also
  misses wake-ups when it goes idle. So after a few milliseconds of silence the client kicks it, by
  an unknown command from another socket: it answers that at once, whatever it is doing.
* A `socketproto.listener` waits until its client can take more. It sends from a socket of its own
  per client, which a connected client could not hear. The client accepts replies from any socket of
  the owner of the server's socket or of root, by the credentials that the host's kernel attaches.

A client tells the two apart by the mode of the socket: a listener's has no execute bits
(SERVED_MODE).
"""

from __future__ import annotations

import _socket
import os
from errno import EADDRINUSE, ECONNREFUSED, EMFILE, ENFILE, ENOBUFS, ENOENT, ENOMEM
from sys import byteorder, maxsize
from time import monotonic

from socketproto.exchange import ANSWERED, GONE, REFUSED, WAITING, Exchange, Outcome
from socketproto.wire import REPLY_BYTES, Request, WireError, integers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Final, Self

SERVED_MODE: Final = 0o600
"""The mode of a listener's socket; the kernel's own has 0777 less its umask."""
DEFAULT_TIMEOUT: Final = 15.0
"""How long a whole exchange may take unless told otherwise, seconds."""
FIRST_KICK_INTERVAL: Final = 0.003
MAX_KICK_INTERVAL: Final = 1.0
"""How long a silence lasts before the first kick, seconds; then twice as long each time, up to the
ceiling."""
MAX_LATE_DATAGRAMS: Final = 16
"""How many datagrams a client takes after its deadline before it gives up a request of which
nothing was answered: they may have come before, while the client's process stood still."""
KICK: Final = Request(b"k").encode()
"""A command that no kernel knows. It is never `go`: that would resume a stopped guest."""

LACK_ERRORS: Final = (EMFILE, ENFILE, ENOMEM, ENOBUFS)
"""Errors for a lack of something in this process or its host; they say nothing of the server."""

NOT_SENT: Final = "the request could not be sent: the server takes no more"
NO_ANSWER: Final = "no answer within the deadline"

_LONG_BYTES: Final = (maxsize.bit_length() + 1) // 8
"""The size of a C long, bytes: that of a pointer, on Linux."""
MAX_NAMES: Final = 100
"""How many names are tried for one that is free."""
CREDENTIALS_BYTES: Final = _socket.CMSG_SPACE(12)
"""Room for a struct ucred: pid, uid and gid."""


class Unreachable(ConnectionError):
    """There is no server on a socket: it is missing, no process listens, or it is another
    user's."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path
        self.why = why

    @property
    def is_missing(self) -> bool:
        """Whether there is no file of that name."""
        return self.why == os.strerror(ENOENT)


class Link:
    """A client's socket to one server, and what can be done with it without waiting.

    `open` opens it, and opens it again when the server's socket was replaced, as a rebooting kernel
    does.

    Fields:
        address: leads to the very socket that was looked at
    """

    def __init__(self, path: str, owner: int | None = None, *, replies: str = "") -> None:
        """owner: the uid that must own the server's socket. A path through a directory of another
        user leads where that user likes, and may lead to what only this process can reach
        replies: a directory in which a kernel's replies come to a name, as one in another network
            namespace needs: it finds no abstract name of this one
        """
        self.path = self.address = path
        self._replies = replies
        self._own_name = ""
        self.served = False
        self.socket: _socket.socket | None = None
        self._wanted = owner
        self._door = -1
        self._owner = -1
        self._which: tuple[int, ...] = ()

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()
            self.socket = None
        if self._own_name:
            _unlink(self._own_name)
            self._own_name = ""
        if self._door >= 0:
            os.close(self._door)
            self._door = -1

    def redirect(self, path: str) -> None:
        """Lead to the server on another path, from the next request on."""
        if path != self.path:
            self.close()
            self.path = self.address = path

    def open(self) -> _socket.socket:
        """The client's socket, bound and ready.

        Raises: Unreachable; OSError: LACK_ERRORS; nothing is open then
        """
        try:
            return self._open()
        except OSError:
            self.close()
            raise

    def _open(self) -> _socket.socket:
        """Open the socket; on an error, something may stay open."""
        try:
            found = os.stat(self.path)
            which = _which(found)
            if self.socket is not None and which == self._which:
                return self.socket
            self.close()
            if self._wanted is not None:
                found = self._pin()
                which = _which(found)
        except OSError as problem:
            raise self._why(problem) from None
        if self._wanted not in (None, found.st_uid):
            raise Unreachable(self.path, f"it leads to what is uid {found.st_uid}'s")
        if found.st_mode & 0o170000 != 0o140000:
            raise Unreachable(self.path, "this is not a socket")
        self._which = which
        self._owner = found.st_uid
        self.served = not found.st_mode & 0o111
        try:
            sock = _datagram_socket()
        except OSError as problem:
            raise self._why(problem) from None
        try:
            if self.served:
                sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_PASSCRED, 1)
            self._bind(sock)
            if not self.served:
                sock.connect(self.address)
        except OSError as problem:
            sock.close()
            raise self._why(problem) from None
        self.socket = sock
        return sock

    def _bind(self, sock: _socket.socket) -> None:
        if self._replies and not self.served:
            self._own_name = _bind_in(sock, self._replies)
        else:
            sock.bind(b"")

    def _pin(self) -> os.stat_result:
        """Hold the file that the path leads to, whatever is put in its place meanwhile.

        Raises: OSError
        """
        self._door = os.open(self.path, os.O_PATH | os.O_CLOEXEC)
        self.address = f"/proc/self/fd/{self._door}"
        return os.fstat(self._door)

    def send(self, datagram: bytes, *, look: bool = True) -> bool:
        """Send a datagram; False if the server's queue is full.

        look: see first whether the socket has been replaced; without, an open one is used as it is

        Raises: Unreachable; OSError: LACK_ERRORS
        """
        kept = self.socket
        sock = self.open() if look or kept is None else kept
        try:
            if self.served:
                sock.sendto(datagram, _socket.MSG_DONTWAIT, self.address)
            else:
                sock.send(datagram, _socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError as problem:
            if problem.errno == ECONNREFUSED and sock is kept:
                self.close()  # the server is gone; there may be another by now
                return self.send(datagram)
            raise self._why(problem) from None
        return True

    def send_patiently(self, datagram: bytes, seconds: float) -> bool:
        """Send a datagram; wait for room for so many seconds. A client that floods the server must
        not come first.

        Only the call that sends can wait for a socket that has not connected.

        Raises: Unreachable; OSError: LACK_ERRORS
        """
        kept = self.socket
        sock = self.open()
        timeval = b"".join(
            part.to_bytes(_LONG_BYTES, byteorder)
            for part in divmod(max(1, int(seconds * 1e6)), 1_000_000)
        )
        sock.settimeout(None)
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, timeval)
        try:
            if self.served:
                sock.sendto(datagram, self.address)
            else:
                sock.send(datagram)
        except BlockingIOError:
            return False
        except OSError as problem:
            if problem.errno == ECONNREFUSED and sock is kept:
                self.close()
                return self.send_patiently(datagram, seconds)
            raise self._why(problem) from None
        return True

    def receive(self) -> bytes | None:
        """Receive one datagram; None if it is not from the server.

        Raises: what the socket raises when there is nothing to read
        """
        assert self.socket is not None
        if not self.served:
            return self.socket.recv(REPLY_BYTES)
        # The room is for credentials exactly: the host drops descriptors that are sent along.
        datagram, ancillary, _flags, _from = self.socket.recvmsg(REPLY_BYTES, CREDENTIALS_BYTES)
        return datagram if sender(ancillary)[1] in (0, self._owner) else None

    def kick(self) -> str:
        """Wake a kernel that missed its wake-up. Returns: why the server is gone; empty if it is
        not."""
        try:
            if _which(os.stat(self.path)) != self._which:
                return "it restarted before it answered"
            if self.served:
                other = _datagram_socket()
                try:
                    other.connect(self.address)
                finally:
                    other.close()
            else:
                kicker().sendto(KICK, _socket.MSG_DONTWAIT, self.address)
        except OSError as problem:
            if problem.errno in (ECONNREFUSED, ENOENT):
                return "it ended before it answered"
        return ""

    def _why(self, problem: OSError) -> OSError:
        """The error to raise: Unreachable, unless the lack is this host's and not the server's."""
        if problem.errno in LACK_ERRORS:
            return problem
        if problem.errno == ECONNREFUSED:
            return Unreachable(self.path, "nobody listens on this socket: its guest is gone")
        return Unreachable(self.path, problem.strerror or str(problem))


class Connection:
    """A client of an mconsole server, for one request at a time.

    Replies carry no request id. So after an exchange that did not end well, the socket is thrown
    away, and the next request gets a fresh one.
    """

    def __init__(self, path: str, *, replies: str = "") -> None:
        """replies: see `Link`"""
        self.link = Link(path, replies=replies)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self.link.close()

    def request(
        self,
        command: str | bytes,
        timeout: float = DEFAULT_TIMEOUT,
        *,
        renew: float = 0.0,
        each: Callable[[bytes], None] | None = None,
        idle: Callable[[], object] | None = None,
    ) -> Outcome:
        """Send one command and wait for its outcome.

        timeout: seconds for the whole exchange
        renew: if not 0, each reply puts the deadline this many seconds ahead
        each: called with the data of every reply as it comes, instead of keeping it
        idle: called once a second or more often while nothing comes; what it raises ends this

        Raises:
            Unreachable
            OSError: LACK_ERRORS
            WireError: the command cannot be sent (length, NUL)
        """
        datagram = encode(command)
        deadline = monotonic() + timeout
        exchange = Exchange()
        try:
            if self._send(datagram, deadline):
                self._collect(exchange, deadline, renew, each, idle or _nothing)
            else:
                exchange.silence(NOT_SENT)
        finally:
            outcome = exchange.outcome
            if outcome is None or outcome.kind not in (ANSWERED, REFUSED):
                self.close()
        assert outcome is not None
        return outcome

    def _send(self, datagram: bytes, deadline: float) -> bool:
        # The server may be stuck, or there may be many clients.
        return self.link.send(datagram) or self.link.send_patiently(
            datagram, deadline - monotonic()
        )

    def _collect(
        self,
        exchange: Exchange,
        deadline: float,
        renew: float,
        each: Callable[[bytes], None] | None,
        idle: Callable[[], object],
    ) -> None:
        link = self.link
        assert link.socket is not None
        pause = MAX_KICK_INTERVAL if link.served else FIRST_KICK_INTERVAL
        gone = ""
        late = 0
        while exchange.outcome is None:
            left = deadline - monotonic()
            if left <= 0:
                late += 1
                if late > MAX_LATE_DATAGRAMS or exchange.state != WAITING:
                    give_up(exchange, gone)
                    return
            link.socket.settimeout(0.0 if gone or late else min(left, pause))
            try:
                datagram = link.receive()
            except (TimeoutError, BlockingIOError):
                if gone or late:
                    give_up(exchange, gone)
                    return
                idle()
                # The server's last reply may have come since.
                gone = link.kick()
                pause = min(pause * 2, MAX_KICK_INTERVAL)
                continue
            if datagram is None:
                continue
            try:
                reply = exchange.receive(datagram, keep=each is None)
            except WireError:
                continue
            if renew:
                deadline, late = monotonic() + renew, 0
            if each is not None and reply.data:
                each(reply.data)


def _nothing() -> None:
    pass


def give_up(exchange: Exchange, gone: str) -> None:
    """Nothing more comes.

    gone: why the server is; empty if it is not
    """
    exchange.closed(gone) if gone else exchange.silence(NO_ANSWER)


_kickers: list[_socket.socket] = []


def kicker() -> _socket.socket:
    """The one socket of this process that kicks kernels; it is never read.

    A process that must be able to kick without free descriptors opens it before it runs out.

    Raises: OSError
    """
    if not _kickers:
        _kickers.append(_datagram_socket())
    return _kickers[0]


def _datagram_socket() -> _socket.socket:
    return _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)


def _bind_in(sock: _socket.socket, directory: str) -> str:
    """Bind to a name in a directory that nobody has; that name, of six characters.

    Raises: OSError
    """
    for _ in range(MAX_NAMES):
        name = f"{directory}/r{int.from_bytes(os.urandom(3), byteorder) & 0xFFFFF:05x}"
        try:
            sock.bind(name)
        except OSError as problem:
            if problem.errno != EADDRINUSE:
                raise
        else:
            return name
    raise OSError(EADDRINUSE, os.strerror(EADDRINUSE))


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass  # somebody has cleaned up


def _which(found: os.stat_result) -> tuple[int, ...]:
    """A value that tells a socket from the one that replaces it, which often has its inode
    number."""
    return found.st_ino, found.st_mtime_ns, found.st_mode, found.st_uid


def encode(command: str | bytes) -> bytes:
    """A command as a request's datagram.

    Raises: WireError
    """
    data = command.encode("utf-8", "surrogateescape") if isinstance(command, str) else command
    return Request(data).encode()


def sender(ancillary: list[tuple[int, int, bytes]]) -> tuple[int, int, int]:
    """Pid, uid and gid of a datagram's sender, by what SO_PASSCRED attached; -1 where it attached
    nothing."""
    for level, kind, data in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_CREDENTIALS:
            pid, uid, gid = integers(data, 3, signed=0)
            return pid, uid, gid
    return -1, -1, -1


def request(path: str, command: str | bytes, timeout: float = DEFAULT_TIMEOUT) -> Outcome:
    """Send one command to the server at `path` and wait for its outcome.

    A server that is not there is an outcome too: GONE, with the reason.

    timeout: seconds for the whole exchange

    Raises: OSError: LACK_ERRORS; WireError
    """
    with Connection(path) as connection:
        try:
            return connection.request(command, timeout)
        except Unreachable as problem:
            return Outcome(GONE, reason=str(problem))
