"""What is done when a guest panics, hangs or ends; pure.

`restart` is the short way to say it; `on_panic`, `on_hang` and `on_exit` are the exact ones.
"""

from __future__ import annotations

from typing import Final, Protocol

NOTHING: Final = "nothing"
RESTART: Final = "restart"
KILL: Final = "kill"
STOP_OTHERS: Final = "stop-others"
ACTIONS: Final = (NOTHING, RESTART, KILL, STOP_OTHERS)

NO: Final = "no"
ON_FAILURE: Final = "on-failure"
ALWAYS: Final = "always"
RESTARTS: Final = (NO, ON_FAILURE, ALWAYS)

FIRST_RESTART_INTERVAL: Final = 0.5
"""The pause before the first restart, seconds; twice as long before each that follows."""
MAX_RESTART_INTERVAL: Final = 60.0
RECOVERED_SECONDS: Final = 60.0
"""How long a guest runs until it counts as recovered, seconds: its restarts are then counted
anew."""
MAX_RESTARTS: Final = 5
"""How many restarts in a row may not help before the guest is left alone."""


class PolicyOptions(Protocol):
    """What a definition says of a guest's policy; an empty action leaves it to `restart`."""

    @property
    def restart(self) -> str: ...

    @property
    def on_panic(self) -> str: ...

    @property
    def on_hang(self) -> str: ...

    @property
    def on_exit(self) -> str: ...


def on_panic(wishes: PolicyOptions) -> str:
    """What to do when the guest panics."""
    return wishes.on_panic or (NOTHING if wishes.restart == NO else RESTART)


def on_hang(wishes: PolicyOptions) -> str:
    """What to do when the guest hangs."""
    return wishes.on_hang or (NOTHING if wishes.restart == NO else RESTART)


def on_exit(wishes: PolicyOptions, *, failed: bool) -> str:
    """What to do when the guest ends by itself, with a status of its own or by a signal.

    failed: it did not end well
    """
    if wishes.on_exit:
        return wishes.on_exit
    wanted = wishes.restart == ALWAYS or (failed and wishes.restart == ON_FAILURE)
    return RESTART if wanted else NOTHING


def pause(tries: int) -> float:
    """How long to wait before another restart, after so many in a row, seconds."""
    return min(FIRST_RESTART_INTERVAL * 2.0 ** min(tries, 20), MAX_RESTART_INTERVAL)


def actions_once(wishes: PolicyOptions) -> dict[str, str]:
    """What is otherwise in the policy of a guest that is not to be started again."""
    asked = {"on_panic": wishes.on_panic, "on_hang": wishes.on_hang, "on_exit": wishes.on_exit}
    return {"restart": NO} | {
        field: NOTHING for field, action in asked.items() if action == RESTART
    }
