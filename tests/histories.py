"""Whether events are those of the table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from umlctl.protocol.events import TABLE

if TYPE_CHECKING:
    from umlctl.protocol.events import Event

ALWAYS = ("time", "umid", "event")
ROWS = {str(name): row for name, row in TABLE.items()}


def strange(event: Event) -> list[str]:
    """What the table does not have of an event: its name, or facts of it."""
    name = str(event["event"])
    if name not in ROWS:
        return [name]
    return [f"{name}: {fact}" for fact in event if fact not in (*ALWAYS, *ROWS[name].facts)]
