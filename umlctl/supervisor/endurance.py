"""What a supervisor does all the time, and goes on with though this host fails it.

A descriptor, memory or room that is lacking now may be there soon. Where the lack ended a task, it
would end all tasks beside it: the guest would be let go, or ended.
"""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Final

import trio

from umlctl.host import scarce

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from umlctl.supervisor.history import History

PAUSE: Final = 0.1
PAUSE_MOST: Final = 5.0
"""Until a task that has failed begins again: at first, then twice as long up to the most, seconds.
One that has run for as long as the most begins with the first."""


async def endure(
    history: History, name: str, task: Callable[[], Awaitable[None]], *, errors: bool = True
) -> None:
    """Have a task done to its end: when it fails it is told once why, and begins again.

    name: what it is about, for who reads the history
    errors: though it fails for another reason than that something is lacking
    """
    pause, said = PAUSE, ""
    while True:
        begun = trio.current_time()
        try:
            await task()
        except Exception as problem:
            if not (errors or scarce.is_lacking(problem)):
                raise
            if trio.current_time() > begun + PAUSE_MOST:
                pause, said = PAUSE, ""
            said = _tell(history, name, problem, said)
        else:
            return
        await trio.sleep(pause)
        pause = min(2 * pause, PAUSE_MOST)


def _tell(history: History, name: str, problem: Exception, said: str) -> str:
    """Add to the history what has failed, unless that was said last; what is said now."""
    text = str(problem)
    if text != said:
        if scarce.is_lacking(problem):
            history.add("failed", request=name, text=scarce.explained(problem))
        else:
            trace = "".join(traceback.format_exception(problem))
            history.add("internal error", request=name, text=trace)
    return text
