"""How much of each thing one client, one user or one guest may have, in one place.

Other bounds stand elsewhere: requests that wait for their turn in `socketproto.fair_queue`, the
length of an answer in `socketproto.exchange` (BYTE_CAP), of a console's log in
`umlctl.state.console_log`.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Hashable

    from umlctl.supervisor.history import History

MAX_SUBSCRIPTIONS: Final = (64, 256, 1024)
"""How many `events` and `wait` of a guest may be open: for one process, for one user, in all."""
PRINTS_AT_ONCE: Final = 200
PRINTS_A_SECOND: Final = 100.0
PRINT_TIMEOUT: Final = 5.0
"""How many requests of one user may have the kernel print: how many at once, then how many a
second. More requests wait. One that would wait longer than the last number, seconds, is refused."""
NOTIFICATIONS_AT_ONCE: Final = 100
NOTIFICATIONS_A_SECOND: Final = 1000.0
"""How many notifications are taken from one guest, whatever they say: how many at once, then how
many a second. The guest waits with the rest."""
REBOOT_COST: Final = 100
"""How many others a notification counts for that says that the kernel has rebooted: it causes much
work."""
EVENTS_AT_ONCE: Final = 20
FIRST_EVENT_INTERVAL: Final = 5.0
MAX_EVENT_INTERVAL: Final = 600.0
"""How many events of one kind go to the history, where others can cause them without end: how many
at once, then one in how many seconds, and one in how many seconds at last, while more come."""
QUIET_SECONDS: Final = 60.0
"""How long without an event of the kind until all is as at first, seconds."""


class KeyedCounter:
    """Counts something under several keys, each with a bound of its own."""

    def __init__(self, *bounds: int) -> None:
        self._bounds = bounds
        self._count: Counter[Hashable] = Counter()

    def take(self, keys: tuple[Hashable, ...]) -> bool:
        """Count one more under each key; False if one of them has reached its bound."""
        if any(self._count[key] >= most for key, most in zip(keys, self._bounds, strict=True)):
            return False
        self._count.update(keys)
        return True

    def give_back(self, keys: tuple[Hashable, ...]) -> None:
        self._count.subtract(keys)
        for key in keys:
            if not self._count[key]:
                del self._count[key]


class TokenBucket:
    """A token bucket: it holds what may come at once, and is filled at a steady pace. It can be
    overdrawn."""

    def __init__(self, most: float, a_second: float, late: float) -> None:
        """late: the longest that a request may wait, seconds."""
        self._most = self._left = most
        self._a_second = a_second
        self._late = late
        self._seen = 0.0

    def take(self, now: float, count: int = 1) -> float | None:
        """Take out `count`. Returns: how long to wait, seconds; None: too long, and nothing is
        taken.

        now: seconds by a clock that never goes back
        """
        gained = (now - self._seen) * self._a_second if self._seen else 0.0
        self._seen = now
        self._left = min(self._most, self._left + gained)
        wait = max(0.0, (count - self._left) / self._a_second)
        if wait > self._late:
            return None
        self._left -= count
        return wait


class EventLimit:
    """Lets through what is rare. Of what comes without end it lets through ever less, with a count
    of the rest."""

    def __init__(self) -> None:
        self._left = EVENTS_AT_ONCE
        self._gap = FIRST_EVENT_INTERVAL
        self._next = 0.0
        self._seen = 0.0
        self._left_out = 0

    def take(self, now: float) -> int | None:
        """How many events were left out before this one; None if this one is to be left out too.

        now: seconds by a clock that never goes back
        """
        if now - self._seen > max(QUIET_SECONDS, self._gap):
            self._left, self._gap = EVENTS_AT_ONCE, FIRST_EVENT_INTERVAL
        self._seen = now
        if self._left < EVENTS_AT_ONCE and now >= self._next:
            self._left = min(EVENTS_AT_ONCE, self._left + 1 + int((now - self._next) / self._gap))
            self._next = now + self._gap
        if not self._left:
            self._left_out += 1
            return None
        if self._left == EVENTS_AT_ONCE:
            self._next = now + self._gap
        self._left -= 1
        if not self._left:
            self._gap = min(self._gap * 2, MAX_EVENT_INTERVAL)
            self._next = now + self._gap
        left_out, self._left_out = self._left_out, 0
        return left_out


class NotificationLimit:
    """What one guest's root says: it may be much, and of no use."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._pace = TokenBucket(
            NOTIFICATIONS_AT_ONCE, NOTIFICATIONS_A_SECOND, NOTIFICATIONS_AT_ONCE
        )
        self._sparing = EventLimit()

    def note(self, said: str, now: float) -> None:
        """Put into the history what the guest's root said, or count it as left out."""
        left_out = self._sparing.take(now)
        if left_out is not None:
            self._history.add("user", text=said, left_out=left_out or None)

    def wait(self, now: float, datagrams: int, reboots: int) -> float:
        """How long to wait before the next read, after so many datagrams were taken, seconds."""
        wait = self._pace.take(now, datagrams + reboots * REBOOT_COST)
        return NOTIFICATIONS_AT_ONCE if wait is None else wait
