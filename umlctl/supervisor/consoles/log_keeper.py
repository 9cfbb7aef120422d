"""Keeps the logs of a guest's consoles within bounds, and wakes viewers as the logs grow."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import trio

from umlctl.host import limits
from umlctl.host.inotify import Watch
from umlctl.supervisor.endurance import endure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from umlctl.supervisor.consoles.console import ServedConsole
    from umlctl.supervisor.history import History

KEEP_INTERVAL: Final = 0.25
"""The time between two looks at the size of the logs, seconds."""
FAST_KEEP_INTERVAL: Final = 0.02
"""The same while a log grows fast, seconds."""
GATHER_INTERVAL: Final = 0.002
"""How long output is gathered before its viewers are woken again, seconds."""
UNWATCHED_INTERVAL: Final = 0.02
"""The time between two wakings of viewers where the host has no more inotify, seconds."""


class LogKeeper:
    """Keeps the logs of a guest's consoles as long as it runs."""

    def __init__(self, consoles: dict[str, ServedConsole], history: History) -> None:
        """consoles: by name; more may come later"""
        self._consoles = consoles
        self._history = history
        self._watch: Watch | None = None
        self._unwatched = False
        self._watching = trio.Event()
        self._complained: set[str] = set()

    def begin(self, nursery: trio.Nursery) -> None:
        """Keep the logs and wake viewers until the nursery is cancelled."""
        nursery.start_soon(endure, self._history, "logs", self._keep)
        nursery.start_soon(endure, self._history, "viewers", self._wake)

    def close(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def note_boot(self) -> None:
        """Note that the guest boots again: its system console has begun to say so."""
        for console in self._consoles.values():
            with self._quietly(console.name):
                console.note_boot()

    def note_launch(self, console: ServedConsole) -> None:
        """Note that a console may be there for the first time."""
        with self._quietly(console.name):
            console.note_launch()

    async def _keep(self) -> None:
        while True:
            fast = False
            for console in list(self._consoles.values()):
                with self._quietly(console.name):
                    fast |= console.keep()
            await trio.sleep(FAST_KEEP_INTERVAL if fast else KEEP_INTERVAL)

    @contextmanager
    def _quietly(self, name: str) -> Iterator[None]:
        """Tell once of a log that cannot be kept, and go on."""
        try:
            yield
        except OSError as problem:
            if name not in self._complained and problem.errno != errno.ENOENT:
                self._complained.add(name)
                self._history.add("log not kept", console=name, text=str(problem))

    async def _wake(self) -> None:
        """Wake the viewers of a console whenever its log grows."""
        while True:
            if not any(console.viewers for console in self._consoles.values()):
                self._watching = trio.Event()
                await self._watching.wait()
            if self._watch is None:
                await trio.sleep(UNWATCHED_INTERVAL)
            else:
                try:
                    await trio.lowlevel.wait_readable(self._watch)
                except trio.ClosedResourceError:
                    continue
                self._watch.clear()
            for console in self._consoles.values():
                console.wake()
            await trio.sleep(GATHER_INTERVAL)

    def look_at(self, console: ServedConsole) -> None:
        """Have viewers of a console woken from now on."""
        self._watching.set()
        try:
            if self._watch is None and not self._unwatched:
                self._watch = Watch()
                if self._watch.fileno() >= limits.most_for_clients():
                    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            if self._watch is not None:
                self._watch.add(console.log)
        except OSError:
            self._unwatched = True  # waking all viewers often will do
            if self._watch is not None:
                trio.lowlevel.notify_closing(self._watch)
                self._watch.close()
                self._watch = None
