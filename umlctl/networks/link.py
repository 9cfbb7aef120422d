"""The character of a link: how a switch delays, loses, slows down or cuts what a NIC sends and
receives.

Each direction is a lane of its own, as on a cable: a frame that is sent and its answer are both
delayed. Frames keep their order.
"""

from __future__ import annotations

import random
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from umlctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_DELAY_SECONDS: Final = 60.0
MAX_BITS_A_SECOND: Final = 1e12
MAX_QUEUED_FRAMES: Final = 1000
MAX_QUEUED_BYTES: Final = 4 << 20
"""How much may be on its way in one direction, frames and bytes: what is more is dropped."""


class Character(NamedTuple):
    """What a link does to frames, in each direction.

    Fields:
        delay: seconds
        jitter: how much a delay may be shorter or longer, seconds
        loss: how many of all frames are lost, 0 to 1
        rate: bits a second; 0: as many as come
        down: nothing passes
    """

    delay: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0
    rate: float = 0.0
    down: bool = False


PLAIN: Final = Character()
MOST: Final = {
    "delay": f": it is in seconds, {MAX_DELAY_SECONDS:g} at most",
    "jitter": f": it is in seconds, {MAX_DELAY_SECONDS:g} at most",
    "loss": ": it is a part of 1, which is all",
    "rate": f": it is in bits a second, {MAX_BITS_A_SECOND:g} at most",
}
"""What a value of a character can be, behind one that cannot."""


def read(values: Mapping[Any, Any]) -> Character:
    """A character as a client or a file has it.

    Raises: UsageError
    """
    limits = {"delay": MAX_DELAY_SECONDS, "jitter": MAX_DELAY_SECONDS, "loss": 1.0}
    limits["rate"] = MAX_BITS_A_SECOND
    found: dict[str, Any] = {}
    for name, value in values.items():
        if name == "down" and isinstance(value, bool):
            found[name] = value
        elif name in limits and type(value) in (int, float) and 0 <= value <= limits[name]:
            found[name] = float(value)
        else:
            raise UsageError(f"a link has no {name} {value!r}{MOST.get(name, '')}")
    return Character(**found)


class Lane:
    """One direction of a link."""

    def __init__(
        self,
        character: Character,
        after: Callable[[float, Callable[[], None]], None],
        deliver: Callable[[memoryview], None],
    ) -> None:
        """after: has something called later, in seconds
        deliver: takes the frames that have passed
        """
        self.character = character
        self._after = after
        self._deliver = deliver
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._bytes = 0
        self._free = 0.0
        self._armed = False

    def take(self, frame: memoryview) -> bool:
        """Take a frame; False: it is lost, or dropped."""
        loss, down = self.character.loss, self.character.down
        size = len(frame)
        is_full = len(self._waiting) >= MAX_QUEUED_FRAMES or self._bytes + size > MAX_QUEUED_BYTES
        if down or is_full or (loss and random.random() < loss):  # noqa: S311 - no secret
            return False
        now = time.monotonic()
        due = self._due(size, now)
        if self._waiting:
            due = max(due, self._waiting[-1][0])
        if due <= now:
            self._deliver(frame)
            return True
        self._waiting.append((due, bytes(frame)))
        self._bytes += size
        if not self._armed:
            self._armed = True
            self._after(due - now, self._flush)
        return True

    def change(self, character: Character) -> None:
        """Have another character, at once: what waits takes as long as if it had come now, unless
        it is through before that."""
        if character == self.character:
            return
        self.character = character
        now = self._free = time.monotonic()
        waiting, self._waiting = self._waiting, deque()
        last = 0.0
        for before, frame in waiting:
            free = self._free
            due = self._due(len(frame), now)
            if before <= due:
                due, self._free = before, free
            last = max(last, due)
            self._waiting.append((last, frame))
        self._flush()

    def close(self) -> None:
        """Drop what waits."""
        self._waiting.clear()
        self._bytes = 0

    def _due(self, size: int, now: float) -> float:
        """When a frame is through that comes now behind all others."""
        delay, jitter, _, rate, _ = self.character
        due = now
        if rate:
            due = self._free = max(now, self._free) + size * 8 / rate
        return due + delay + (random.uniform(-jitter, jitter) if jitter else 0.0)  # noqa: S311

    def _flush(self) -> None:
        self._armed = False
        now = time.monotonic()
        while self._waiting and self._waiting[0][0] <= now:
            frame = self._waiting.popleft()[1]
            self._bytes -= len(frame)
            self._deliver(memoryview(frame))
        if self._waiting and not self._armed:
            self._armed = True
            self._after(self._waiting[0][0] - now, self._flush)


def of_status(status: Mapping[str, Any], mac: str) -> Character:
    """The character that a switch says the link of a NIC has.

    Raises: UsageError: it says what is none
    """
    for each in status.get("links", ()):
        if each.get("mac") == mac:
            return read({name: each[name] for name in each.keys() - {"mac", "pid"}})
    return PLAIN


def described(character: Character) -> dict[str, Any]:
    """What of a character is not plain, by name."""
    return {
        name: value for name, value in character._asdict().items() if value != getattr(PLAIN, name)
    }
