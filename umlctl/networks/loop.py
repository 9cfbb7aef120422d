"""The event loop of a process that serves many descriptors: a bare epoll, and timers.

It bounds the throughput between two guests: what it does for an event is one look-up and one call.
"""

from __future__ import annotations

import heapq
import itertools
import select
import signal
import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Loop:
    """Calls the handlers of descriptors when something happens to these, and actions when their
    time comes.

    Fields:
        caught: the signal that ended it; 0 if none did
    """

    def __init__(self) -> None:
        self.caught = 0
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._timer_numbers = itertools.count()
        self._running = True
        self._signals = socket.socketpair()
        for each in self._signals:
            each.setblocking(False)
        self.watch(self._signals[0].fileno(), select.EPOLLIN, self._catch)

    def _catch(self, _events: int) -> None:
        self.caught = self._signals[0].recv(1)[0]
        self.end()

    def watch(self, fd: int, events: int, handler: Callable[[int], None]) -> None:
        """Have a handler called with the events of a descriptor.

        events: of epoll(7)
        """
        self._epoll.register(fd, events)
        self._handlers[fd] = handler

    def rearm(self, fd: int, events: int) -> None:
        """Wait for other events on a descriptor."""
        self._epoll.modify(fd, events)

    def unwatch(self, fd: int) -> None:
        """Stop watching a descriptor, before it is closed: a duplicate would keep it watched."""
        del self._handlers[fd]
        self._epoll.unregister(fd)

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Have an action called later, once."""
        entry = (time.monotonic() + seconds, next(self._timer_numbers), action)
        heapq.heappush(self._timers, entry)

    def run(self) -> None:
        """Serve until `end`, SIGTERM or SIGINT."""
        self._set_signals()
        handlers, timers = self._handlers, self._timers
        while self._running:
            wait = max(timers[0][0] - time.monotonic(), 0) if timers else None
            for fd, events in self._epoll.poll(wait):
                handler = handlers.get(fd)  # an earlier handler may have ended it
                if handler is not None:
                    handler(events)
            while timers and timers[0][0] <= time.monotonic():
                heapq.heappop(timers)[2]()

    def _set_signals(self) -> None:
        signal.set_wakeup_fd(self._signals[1].fileno())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)

    def end(self) -> None:
        """Have `run` return."""
        self._running = False

    def close(self) -> None:
        self._epoll.close()
        for each in self._signals:
            each.close()
