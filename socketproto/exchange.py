"""One request with all its replies: the client's side and the server's.

The client feeds what it receives to an `Exchange` and gets an `Outcome`; the server turns an
answer into replies with `pieces`. Both are pure, so that every split, order and loss can be
tried without a socket.

An exchange moves through these states, and through no others:

    state      event       next       outcome
    WAITING    life        WAITING
    WAITING    more        RECEIVING
    WAITING    last        DONE       answered, or refused if the error is not 0
    WAITING    silence     DONE       timed out
    WAITING    closed      DONE       guest gone
    RECEIVING  life        RECEIVING
    RECEIVING  more        RECEIVING
    RECEIVING  last        DONE       answered, or refused
    RECEIVING  silence     DONE       truncated
    RECEIVING  closed      DONE       guest gone
    either     too much    DONE       truncated

`life` is a reply without data, with others to follow: the server sends it where an answer takes
long. A refusal is an answer whose replies carry an error. A kernel sets it in the first reply only.
A `listener` sets it in every reply, as the stock client looks at the last.

A datagram that is no reply at all leaves the state as it is: replies carry no request id, and any
process that can reach the socket may send anything.
"""

from __future__ import annotations

from socketproto.wire import MAX_TEXT_BYTES, Reply, WireError, _put, _Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final, Literal

    Kind = Literal["answered", "refused", "truncated", "timed out", "guest gone"]
    State = Literal["waiting", "receiving", "done"]
    Event = Literal["life", "more", "last", "silence", "closed", "too much"]

ANSWERED: Final = "answered"
REFUSED: Final = "refused"
TRUNCATED: Final = "truncated"
TIMED_OUT: Final = "timed out"
GONE: Final = "guest gone"

WAITING: Final = "waiting"
RECEIVING: Final = "receiving"
DONE: Final = "done"

TRANSITIONS: Final[dict[State, dict[Event, tuple[State, Kind | None]]]] = {
    WAITING: {
        "life": (WAITING, None),
        "more": (RECEIVING, None),
        "last": (DONE, ANSWERED),
        "silence": (DONE, TIMED_OUT),
        "closed": (DONE, GONE),
        "too much": (DONE, TRUNCATED),
    },
    RECEIVING: {
        "life": (RECEIVING, None),
        "more": (RECEIVING, None),
        "last": (DONE, ANSWERED),
        "silence": (DONE, TRUNCATED),
        "closed": (DONE, GONE),
        "too much": (DONE, TRUNCATED),
    },
}

MAX_ANSWER_BYTES: Final = 32 << 20
"""The most text of one answer, bytes. More is taken for an endless answer."""


class Outcome(_Record):
    """How an exchange ended.

    Fields:
        kind: one of ANSWERED, REFUSED, TRUNCATED, TIMED_OUT, GONE
        error: what the server said: 0, 1 or -errno; 0 where it said nothing
        data: the text received, whole or not, bytes
        reason: what happened, for kinds in which the server did not say it
        pieces: replies received
    """

    __slots__ = ("data", "error", "kind", "pieces", "reason")
    kind: Kind
    error: int
    data: bytes
    reason: str
    pieces: int

    def __init__(
        self, kind: Kind, error: int = 0, data: bytes = b"", reason: str = "", pieces: int = 0
    ) -> None:
        _put(self, "kind", kind)
        _put(self, "error", error)
        _put(self, "data", data)
        _put(self, "reason", reason)
        _put(self, "pieces", pieces)

    @property
    def ok(self) -> bool:
        return self.kind == ANSWERED

    @property
    def text(self) -> str:
        """The answer as text; bytes that are no UTF-8 survive a round trip as surrogates."""
        return self.data.decode("utf-8", "surrogateescape")

    def __str__(self) -> str:
        """The text for a person: the answer, or what went wrong."""
        if self.kind in (ANSWERED, REFUSED):
            return self.text
        return f"{self.kind}: {self.reason}" if self.reason else self.kind


class Exchange:
    """The client's side of one exchange: feed it datagrams until `outcome` is set."""

    __slots__ = ("_cap", "_error", "_parts", "_pieces", "_size", "outcome", "state")

    def __init__(self, cap: int = MAX_ANSWER_BYTES) -> None:
        self.state: State = WAITING
        self.outcome: Outcome | None = None
        self._cap = cap
        self._error = 0
        self._parts: list[bytes] = []
        self._pieces = 0
        self._size = 0

    def receive(self, datagram: bytes, *, keep: bool = True) -> Reply:
        """Take one datagram; `outcome` is set once it was the last.

        keep: collect the data for the outcome; False for a subscription, whose reader takes
            each reply as it comes.

        Raises: WireError: this is no reply; the exchange goes on as if it had not come.
        """
        reply = Reply.decode(datagram)
        self._error = self._error or reply.error
        self._pieces += 1
        if keep:
            self._parts.append(reply.data)
            self._size += len(reply.data)
        if not reply.more:
            self._move("last")
        elif self._size > self._cap:
            self._move("too much", f"more than {self._cap} bytes")
        else:
            self._move("more" if reply.data else "life")
        return reply

    def silence(self, reason: str) -> Outcome:
        """End the exchange: the deadline has passed, or the rest of the answer is known to be
        lost."""
        self._move("silence", reason)
        return self._result()

    def closed(self, reason: str) -> Outcome:
        """The server is gone: end the exchange."""
        self._move("closed", reason)
        return self._result()

    def _move(self, event: Event, reason: str = "") -> None:
        if self.state == DONE:
            raise WireError("this exchange is over")
        self.state, kind = TRANSITIONS[self.state][event]
        if kind is not None:
            if kind == ANSWERED and self._error:
                kind = REFUSED
            data = b"".join(self._parts)
            self.outcome = Outcome(kind, self._error, data, reason, self._pieces)

    def _result(self) -> Outcome:
        assert self.outcome is not None
        return self.outcome


def pieces(data: bytes, error: int = 0, *, more: bool = False) -> Iterator[Reply]:
    """The server's side: an answer as replies, the last without `more` unless told otherwise.

    NUL bytes end a C string, so they are left out. Each reply carries the error: some of the
    kernel's clients look at the first reply, others at the last.
    """
    if b"\0" in data:
        data = data.replace(b"\0", b"")
    last = max(0, (len(data) - 1) // MAX_TEXT_BYTES)
    for index in range(last + 1):
        piece = data[index * MAX_TEXT_BYTES : (index + 1) * MAX_TEXT_BYTES]
        yield Reply(error, more or index < last, piece)
