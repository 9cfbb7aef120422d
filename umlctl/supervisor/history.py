"""A guest's ordered history: what happened to it, kept in a ring and told to subscribers."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEPT: Final = 1000
BEHIND: Final = 256
"""Events that a slow subscriber may be behind before it misses some."""

Event = dict[str, Any]


class Subscription:
    """What one reader has yet to see."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._missed = 0
        self._send, self._receive = trio.open_memory_channel[Event](BEHIND)

    def put(self, event: Event) -> None:
        if not self._missed:
            try:
                self._send.send_nowait(event)
            except trio.WouldBlock:
                self._missed = 1
        else:  # nothing later before it is told how many were missed
            self._missed += 1

    async def get(self) -> Event:
        """The next event; after a gap, one that says how many were missed."""
        if self._missed and not self._receive.statistics().current_buffer_used:
            missed, self._missed = self._missed, 0
            return {"time": time.time(), "event": "missed", "count": missed}
        return await self._receive.receive()

    def close(self) -> None:
        self._history.subscriptions.discard(self)


class History:
    """Events of one guest. Each has at least `time` (seconds since 1970), `umid` and `event`."""

    def __init__(self, umid: str, tell: Callable[[Event], None] | None = None) -> None:
        self.umid = umid
        self.subscriptions: set[Subscription] = set()
        self._ring: deque[Event] = deque(maxlen=KEPT)
        self._tell = tell

    def add(self, event: str, **facts: object) -> None:
        """Something has happened; facts that are None or empty are left out."""
        known = {key: _clean(value) for key, value in facts.items() if value not in (None, "")}
        entry: Event = {"time": round(time.time(), 3), "umid": self.umid, "event": event, **known}
        self._ring.append(entry)
        for subscription in self.subscriptions:
            subscription.put(entry)
        if self._tell is not None:
            self._tell(entry)

    @property
    def last(self) -> Event | None:
        return self._ring[-1] if self._ring else None

    def subscribe(self) -> tuple[list[Event], Subscription]:
        """What has been, and what is to come, with nothing lost or doubled between them."""
        subscription = Subscription(self)
        self.subscriptions.add(subscription)
        return list(self._ring), subscription

    def __iter__(self) -> Iterator[Event]:
        return iter(self._ring)


def _clean(value: object) -> object:
    """Text from clients and guests may hold bytes that are no UTF-8, and JSON cannot."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return value


def line(event: Event) -> bytes:
    """An event as one line of JSON."""
    return msgspec.json.encode(event) + b"\n"
