"""Signals to a process that stays with a command in a guest: they are the command's."""

from __future__ import annotations

import math
import signal
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from umlctl import streams

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

PASSED: Final = (
    *(signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP),
    *(signal.SIGUSR1, signal.SIGUSR2),
)
"""Signals that are the command's."""
ENDING: Final = PASSED[:4]
"""Those that somebody sends who wants it to end."""
UNHEARD_TIMEOUT: Final = 1.0
"""How long the guest may take to hear of a signal before one more gives up waiting, seconds."""
_NOT_HEARD: Final = "umlctl: the guest does not hear of it; once more gives up waiting for it"


@contextmanager
def heeded(handler: Callable[[int, FrameType | None], None], woken: int) -> Iterator[None]:
    """Have a handler take the signals that a command may be sent.

    woken: a descriptor that is written to then
    """
    before = {}
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    for number in (*PASSED, signal.SIGTSTP, signal.SIGWINCH, signal.SIGALRM):
        # What nohup(1), or a shell for a job in the background, has had ignored is left so.
        if signal.getsignal(number) != signal.SIG_IGN:
            before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.set_wakeup_fd(-1)
        for number, earlier in before.items():
            signal.signal(number, earlier)


class Unheard:
    """Signals that the guest has not heard of: it is paused, or hangs."""

    def __init__(self) -> None:
        self._since = math.inf
        self._is_said = False

    def told(self) -> bool:
        """Note that one is told; whether the guest has had its time to hear of one before."""
        now = time.monotonic()
        self._since = min(self._since, now)
        return now - self._since >= UNHEARD_TIMEOUT

    def heard(self) -> None:
        """Note that the guest has heard of one."""
        self._since, self._is_said = math.inf, False

    def due(self, now: float) -> float:
        """How long until it is to be said that the guest does not hear, seconds."""
        return math.inf if self._is_said else max(0.0, self._since + UNHEARD_TIMEOUT - now)

    def say(self, now: float, end: str) -> None:
        """Say so if it is time to; end: of a line."""
        if not self.due(now):
            self._is_said = True
            with suppress(OSError, streams.ReaderGone):
                streams.write_all(streams.STDERR, f"{_NOT_HEARD}{end}".encode())
