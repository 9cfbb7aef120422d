"""The histories of guests, followed as they grow."""

from __future__ import annotations

import heapq
import os
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Final

from umlctl.host.inotify import Watch
from umlctl.recovery import cleanup
from umlctl.state import event_log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from umlctl.protocol.events import Event

LOOK_INTERVAL: Final = 0.25
"""The time between two looks for guests that are new, or gone, seconds."""


def merged(readers: Mapping[str, event_log.Reader]) -> Iterator[Event]:
    """What the histories have that was not read before, in its order."""
    return heapq.merge(*(reader.read() for reader in readers.values()), key=_time_of)


def following(
    readers: dict[str, event_log.Reader], guest: str | None, wait: Callable[[int, float], bool]
) -> Iterator[Event]:
    """New events: of one guest until it is gone, of all guests for ever.

    wait: waits until a descriptor can be read, -1 for none, or so many seconds; whether it can
    """
    with closing(_Watched()) as watch:
        while True:
            lives = guest is None or cleanup.is_there(guest)
            if guest is None:
                for name in set(event_log.guests()) - readers.keys():
                    readers[name] = event_log.Reader(name)
            for name in readers:
                watch.add(name)
            yield from merged(readers)
            if not lives:
                return
            watch.wait(wait)


def _time_of(event: Event) -> float:
    return float(event["time"])


class _Watched:
    """Histories that are watched for new events."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._watch: Watch | None = None
        with suppress(OSError):  # without a watch, looking now and then will do
            self._watch = Watch()

    def add(self, name: str) -> None:
        if self._watch is not None and name not in self._names:
            with suppress(OSError):
                self._watch.add(os.path.dirname(event_log.path_of(name)))
                self._names.add(name)

    def wait(self, wait: Callable[[int, float], bool]) -> None:
        """Wait until there may be new events."""
        watch = self._watch
        if wait(-1 if watch is None else watch.fileno(), LOOK_INTERVAL) and watch is not None:
            watch.clear()

    def close(self) -> None:
        if self._watch is not None:
            self._watch.close()
