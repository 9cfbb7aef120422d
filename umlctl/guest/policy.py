"""What is to be done when a guest panics, hangs or ends; pure.

`restart` is the short way to say it, `on_panic`, `on_hang` and `on_exit` the exact one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from umlctl.guest.definition import Definition

NOTHING: Final = "nothing"
RESTART: Final = "restart"
KILL: Final = "kill"
STOP_OTHERS: Final = "stop-others"
ACTIONS: Final = (NOTHING, RESTART, KILL, STOP_OTHERS)

NO: Final = "no"
ON_FAILURE: Final = "on-failure"
ALWAYS: Final = "always"
RESTARTS: Final = (NO, ON_FAILURE, ALWAYS)

FIRST_PAUSE: Final = 0.5
"""Before the first restart, seconds; twice as long before each that follows."""
LONGEST_PAUSE: Final = 60.0
WELL: Final = 60.0
"""A guest that has run for so long has recovered: its restarts are counted anew, seconds."""
GIVE_UP: Final = 5
"""Restarts in a row after which it is left alone."""


def on_panic(definition: Definition) -> str:
    """What to do when it panics."""
    return definition.on_panic or (NOTHING if definition.restart == NO else RESTART)


def on_hang(definition: Definition) -> str:
    """What to do when it hangs."""
    return definition.on_hang or (NOTHING if definition.restart == NO else RESTART)


def on_exit(definition: Definition, *, failed: bool) -> str:
    """What to do when it ends by itself, with a status of its own or by a signal.

    failed: it did not end well
    """
    if definition.on_exit:
        return definition.on_exit
    wanted = definition.restart == ALWAYS or (failed and definition.restart == ON_FAILURE)
    return RESTART if wanted else NOTHING


def pause(tries: int) -> float:
    """Seconds before another restart, after so many in a row."""
    return min(FIRST_PAUSE * 2.0 ** min(tries, 20), LONGEST_PAUSE)
