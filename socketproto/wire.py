"""Request, reply and notification to and from bytes.

The three datagrams of mconsole version 2, as the kernel really reads and writes them
(arch/um/drivers/mconsole.h, mconsole_user.c). All integers are 32 bits in host byte order:

    request       magic, version, len (without the NUL),  data[512]
    reply         err (signed), more, len (with the NUL), data[512]
    notification  magic, version, type, len,              data[512]

No I/O, and no import that costs a one-shot command anything: no dataclasses, enum, struct or
typing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

MAGIC: Final = 0xCAFEBABE
VERSION: Final = 2
MAX_DATA_BYTES: Final = 512
"""Size of the data field of every datagram, bytes."""
MAX_TEXT_BYTES: Final = MAX_DATA_BYTES - 1
"""The longest command and the longest piece of an answer, bytes: one goes to the NUL."""

SOCKET: Final = 0
PANIC: Final = 1
HANG: Final = 2
USER: Final = 3

_REQUEST_HEADER_BYTES: Final = 12
_REPLY_HEADER_BYTES: Final = 12
_NOTIFICATION_HEADER_BYTES: Final = 16
"""Sizes of what stands before the data, bytes."""

REQUEST_BYTES: Final = _REQUEST_HEADER_BYTES + MAX_DATA_BYTES
REPLY_BYTES: Final = _REPLY_HEADER_BYTES + MAX_DATA_BYTES
NOTIFICATION_BYTES: Final = _NOTIFICATION_HEADER_BYTES + MAX_DATA_BYTES


class WireError(ValueError):
    """A datagram that is not what it should be."""


class RequestError(WireError):
    """A request that cannot be served; `error` and the message are the answer to its client."""

    def __init__(self, message: str, error: int = 1) -> None:
        super().__init__(message)
        self.error = error


class _Record:
    """Frozen data by slots: `dataclasses` alone would double the start of a one-shot command."""

    __slots__: tuple[str, ...] = ()

    def _values(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash((type(self), self._values()))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"{type(self).__name__}({fields})"

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen")


_put = object.__setattr__


_ORDER: Final = "little" if memoryview(b"\1\0\0\0").cast("I")[0] == 1 else "big"


def packed(*values: int) -> bytes:
    """Integers of 32 bits in host byte order, one after the other."""
    return b"".join([(value & 0xFFFFFFFF).to_bytes(4, _ORDER) for value in values])


def integers(data: bytes, count: int, signed: int = -1) -> list[int]:
    """The integers of 32 bits in host byte order that data begins with.

    count: how many
    signed: which of them has a sign, counted from 0
    """
    found = memoryview(data[: 4 * count]).cast("I").tolist()
    if signed >= 0 and found[signed] >= 1 << 31:
        found[signed] -= 1 << 32
    return found


_BEGINNING: Final = packed(MAGIC, VERSION)
"""Of a request."""


class Request(_Record):
    """One command to a server.

    Fields:
        data: the command, up to 511 bytes, without a NUL
    """

    __slots__ = ("data",)
    data: bytes

    def __init__(self, data: bytes) -> None:
        if len(data) > MAX_TEXT_BYTES:
            raise WireError(f"a command has at most {MAX_TEXT_BYTES} bytes, this one {len(data)}")
        if b"\0" in data:
            raise WireError("a command cannot hold a NUL byte")
        _put(self, "data", data)

    def encode(self) -> bytes:
        """The datagram, padded to its full size.

        The kernel receives into one static buffer. What an unpadded datagram leaves out, the kernel
        reads from the request before it (`log` alone would log another client's words).
        """
        length = len(self.data).to_bytes(4, _ORDER)
        return _BEGINNING + length + self.data.ljust(MAX_DATA_BYTES, b"\0")

    @classmethod
    def decode(cls, datagram: bytes) -> Request:
        """Read what a client sent.

        Raises: RequestError, which carries the answer the client should get.
        """
        if len(datagram) < _REQUEST_HEADER_BYTES:
            raise RequestError(
                f"a request has at least {_REQUEST_HEADER_BYTES} bytes, not {len(datagram)}"
            )
        magic, version, length = integers(datagram, 3)
        if magic != MAGIC:
            raise RequestError("this is not an mconsole request: wrong magic number")
        if version != VERSION:
            raise RequestError(f"This driver only supports version {VERSION} clients")
        if length > MAX_TEXT_BYTES:
            raise RequestError("Request too large")
        data = datagram[_REQUEST_HEADER_BYTES : _REQUEST_HEADER_BYTES + length]
        if len(data) < length:
            raise RequestError(f"the request says {length} bytes and has {len(data)}")
        return cls(data.partition(b"\0")[0])


class Reply(_Record):
    """One piece of an answer.

    Fields:
        error: 0, 1 (said without a number) or -errno; a kernel sets it in the first piece only
        more: another piece follows
        data: up to 511 bytes
    """

    __slots__ = ("data", "error", "more")
    error: int
    more: bool
    data: bytes

    def __init__(self, error: int, more: bool, data: bytes) -> None:
        if len(data) > MAX_TEXT_BYTES:
            raise WireError(f"a reply carries at most {MAX_TEXT_BYTES} bytes, not {len(data)}")
        if b"\0" in data:
            raise WireError("a reply cannot hold a NUL byte")
        if not -(2**31) <= error < 2**31:
            raise WireError(f"error {error} does not fit 32 bits")
        _put(self, "error", error)
        _put(self, "more", more)
        _put(self, "data", data)

    def encode(self) -> bytes:
        return packed(self.error, self.more, len(self.data) + 1) + self.data + b"\0"

    @classmethod
    def decode(cls, datagram: bytes) -> Reply:
        """Read what a server sent.

        Raises: WireError: a length that cannot be, or text without a header, as the kernel
            sends to clients whose magic number it does not know.
        """
        if len(datagram) < _REPLY_HEADER_BYTES:
            raise WireError(
                f"a reply has at least {_REPLY_HEADER_BYTES} bytes, not {len(datagram)}"
            )
        error, more, length = integers(datagram, 3, signed=0)
        if length > MAX_DATA_BYTES or length > len(datagram) - _REPLY_HEADER_BYTES:
            if datagram.startswith(b"ERR "):
                said = datagram.decode("utf-8", "replace").rstrip("\0")
                raise WireError(f"the server does not know our requests: {said}")
            room = len(datagram) - _REPLY_HEADER_BYTES
            raise WireError(f"the reply says {length} bytes and has {room}")
        data = datagram[_REPLY_HEADER_BYTES : _REPLY_HEADER_BYTES + length]
        return cls(error, more != 0, data.partition(b"\0")[0])


class Notification(_Record):
    """Something that the guest said unasked.

    Fields:
        kind: SOCKET, PANIC, HANG, USER, or an unknown number
        data: SOCKET: path of the new socket; PANIC: the message; USER: any bytes; HANG: nothing
    """

    __slots__ = ("data", "kind")
    kind: int
    data: bytes

    def __init__(self, kind: int, data: bytes) -> None:
        if len(data) > MAX_DATA_BYTES:
            raise WireError(
                f"a notification carries at most {MAX_DATA_BYTES} bytes, not {len(data)}"
            )
        _put(self, "kind", kind)
        _put(self, "data", data)

    def encode(self) -> bytes:
        return packed(MAGIC, VERSION, self.kind, len(self.data)) + self.data

    @classmethod
    def decode(cls, datagram: bytes) -> Notification:
        """Read what came in on the notify socket.

        HANG comes from uml_watchdog with version 0, a length that is wrong and garbage for
        data, so version and length are not insisted on. The kernel's own strings end in a
        NUL that counts; USER data is raw.

        Raises: WireError
        """
        if len(datagram) < 12:
            raise WireError(f"a notification has at least 12 bytes, not {len(datagram)}")
        magic, _version, kind = integers(datagram, 3, signed=2)
        if magic != MAGIC:
            raise WireError("this is not an mconsole notification: wrong magic number")
        if kind == HANG:
            return cls(kind, b"")
        if len(datagram) < _NOTIFICATION_HEADER_BYTES:
            raise WireError(
                f"a notification has {_NOTIFICATION_HEADER_BYTES} bytes before its data"
            )
        length = integers(datagram, 4)[3]
        data = datagram[_NOTIFICATION_HEADER_BYTES:][: min(length, MAX_DATA_BYTES)]
        if kind in (SOCKET, PANIC):
            data = data.partition(b"\0")[0]
        return cls(kind, data)
