"""Whether, and when, a guest that has ended is started again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from umlctl.guest import policy

if TYPE_CHECKING:
    from umlctl.guest.definition import Definition
    from umlctl.protocol.status import Ending

FOR_GOOD: Final = "shut down"


class Restarts:
    """The restarts of one guest.

    Fields:
        tries: how many there were in a row
    """

    def __init__(self, definition: Definition) -> None:
        self.tries = 0
        self._definition = definition
        self._begun = trio.current_time()
        self._lives = 1

    def begin(self) -> None:
        """Another life has begun."""
        self._lives += 1
        self._begun = trio.current_time()

    def action(self, ending: Ending, *, asked: bool, hung: bool) -> str:
        """What to do after a life.

        asked: a user has ended it
        hung: it was ended because it hung
        """
        if asked or (ending.cause == "never started" and self._lives == 1):
            return policy.NOTHING
        if ending.cause == "panicked":
            return policy.on_panic(self._definition)
        if hung:
            return policy.on_hang(self._definition)
        return policy.on_exit(self._definition, failed=ending.code != 0)

    def pause(self) -> float | None:
        """Seconds to wait before the next try; None: there were too many."""
        if trio.current_time() - self._begun >= policy.WELL:
            self.tries = 0
        if self.tries >= policy.GIVE_UP:
            return None
        self.tries += 1
        return policy.pause(self.tries - 1)
