"""A guest's ordered history: what happened to it, written to disk and told to subscribers.

The last events are kept in memory, so that `events` costs no look at the disk.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Final

import trio

from umlctl.protocol import events
from umlctl.state import event_log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from socketproto.listener import Call
    from umlctl.protocol.events import Event, EventName

MAX_EVENTS: Final = 1000
MAX_EVENTS_BEHIND: Final = 256
"""How many events a slow subscriber may be behind before it misses some."""

By = dict[str, int]
"""The client that caused an event: its uid and pid."""


def by(call: Call) -> By:
    """The client of a call, as the history names it."""
    return {"uid": call.uid, "pid": call.pid}


class Subscription:
    """What one subscriber has yet to see."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._missed = 0
        self._send, self._receive = trio.open_memory_channel[events.Event](MAX_EVENTS_BEHIND)

    def put(self, event: Event) -> None:
        if not self._missed:
            try:
                self._send.send_nowait(event)
            except trio.WouldBlock:
                self._missed = 1
        else:  # nothing later is queued before the subscriber is told how many it has missed
            self._missed += 1

    async def get(self) -> Event | None:
        """The next event; after a gap, one that says how many were missed; None if there are no
        more."""
        if self._missed and not self._receive.statistics().current_buffer_used:
            missed, self._missed = self._missed, 0
            return events.event("missed", self._history.umid, time.time(), count=missed)
        try:
            return await self._receive.receive()
        except trio.EndOfChannel:
            return None

    def end(self) -> None:
        """Say that no more events will come."""
        self._send.close()

    def close(self) -> None:
        self._history.subscriptions.discard(self)


class History:
    """Events of one guest. Each has at least `time` (seconds since 1970), `umid` and `event`.

    Fields:
        ended: nothing more will happen to the guest
    """

    def __init__(
        self, umid: str, tell: Callable[[Event], None] | None = None, *, on_disk: bool = False
    ) -> None:
        """tell: called with every event

        on_disk: events are written down, and those written in this life of the guest are known
        """
        self.umid = umid
        self.ended = False
        self.subscriptions: set[Subscription] = set()
        self._ring: deque[Event] = deque(maxlen=MAX_EVENTS)
        self._tell = tell
        self._on_disk = on_disk
        self._unwritten: deque[Event] = deque(maxlen=MAX_EVENTS)
        self._missed = 0

    def load(self) -> None:
        """Read what was written down of a guest that goes on."""
        try:
            for event in event_log.Reader(self.umid).read():
                if event["event"] == "started":
                    self._ring.clear()
                self._ring.append(event)
        except OSError:
            pass  # then its history begins here

    def add(self, event: EventName, **facts: object) -> None:
        """Add an event; facts that are None or empty are left out."""
        known = {key: _clean(value) for key, value in facts.items() if value not in (None, "", [])}
        entry = events.event(event, self.umid, time.time(), **known)
        self._ring.append(entry)
        if self._on_disk:
            self._write(entry)
        for subscription in self.subscriptions:
            subscription.put(entry)
        if self._tell is not None:
            self._tell(entry)

    def _write(self, entry: Event) -> None:
        """Write an event down. A full disk takes none, and the guest goes on; it is written once
        there is room."""
        if len(self._unwritten) == MAX_EVENTS:
            self._missed += 1
        self._unwritten.append(entry)
        self.flush()

    def flush(self) -> bool:
        """Write what could not be written yet; True if nothing is left of it."""
        if not self._unwritten:
            return True
        lines = [event_log.encode(entry) for entry in self._unwritten]
        if self._missed:
            moment = self._unwritten[0]["time"]
            gap = events.event("missed", self.umid, moment, count=self._missed)
            lines.insert(0, event_log.encode(gap))
        try:
            event_log.append(self.umid, b"".join(lines))
        except OSError:
            return False
        self._unwritten.clear()
        self._missed = 0
        return True

    @property
    def last(self) -> Event | None:
        return self._ring[-1] if self._ring else None

    def subscribe(self) -> tuple[list[Event], Subscription]:
        """Past events, and those to come, with nothing lost or doubled between them."""
        subscription = Subscription(self)
        self.subscriptions.add(subscription)
        if self.ended:
            subscription.end()
        return list(self._ring), subscription

    def end(self) -> None:
        """End the history: subscribers hear the rest, and that this is all."""
        self.ended = True
        for subscription in self.subscriptions:
            subscription.end()

    def __iter__(self) -> Iterator[Event]:
        return iter(self._ring)


def _clean(value: object) -> object:
    """Make text valid UTF-8, as JSON must be: text from clients and guests may hold other bytes."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, list):
        return [_clean(each) for each in value]
    return value


def brief(event: Event | None) -> Event | None:
    """An event without the console's text."""
    return None if event is None else {key: event[key] for key in event if key != "console"}
