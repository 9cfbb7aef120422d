"""What a supervisor does all the time, and goes on with when this host fails it.

A descriptor, memory or room that is lacking now may be there soon. If the lack ended a task, that
would end all tasks beside it: the guest would be let go, or ended.
"""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Final

import trio

from umlctl.host import limits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from umlctl.supervisor.history import History

FIRST_RETRY_INTERVAL: Final = 0.1
MAX_RETRY_INTERVAL: Final = 5.0
"""How long to wait until a failed task begins again, seconds: at first, then twice as long each
time, up to the most. A task that has run for as long as the most waits as at first."""


async def endure(
    history: History, name: str, task: Callable[[], Awaitable[None]], *, errors: bool = True
) -> None:
    """Run a task to its end. When it fails, the history is told once why, and the task begins
    again.

    name: what the task is about, for readers of the history
    errors: also begin again after errors other than a lack of something
    """
    pause, said = FIRST_RETRY_INTERVAL, ""
    while True:
        begun = trio.current_time()
        try:
            await task()
        except Exception as problem:
            if not (errors or limits.is_lacking(problem)):
                raise
            if trio.current_time() > begun + MAX_RETRY_INTERVAL:
                pause, said = FIRST_RETRY_INTERVAL, ""
            said = _tell(history, name, problem, said)
        else:
            return
        await trio.sleep(pause)
        pause = min(2 * pause, MAX_RETRY_INTERVAL)


def _tell(history: History, name: str, problem: Exception, said: str) -> str:
    """Add to the history what has failed, unless that was said last. Returns: what was said last
    now."""
    text = str(problem)
    if text != said:
        if limits.is_lacking(problem):
            history.add("failed", request=name, text=limits.explained(problem))
        else:
            trace = "".join(traceback.format_exception(problem))
            history.add("internal error", request=name, text=trace)
    return text
