"""The events of a guest's history: what each is called, what it says, and who is told of it.

A supervisor adds them, clients read them; mconsole(7) has the list for users.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from umlctl.protocol.status import State

EventName = Literal[
    "started",
    "adopted",
    "record lost",
    "ready",
    "rebooting",
    "rebooted",
    "panicked",
    "ended",
    "restarting",
    "given up",
    "stopped",
    "resumed",
    "shutdown",
    "halt",
    "reboot",
    "cad",
    "kill",
    "wedged",
    "recovered",
    "hung",
    "well again",
    "unreachable",
    "reachable again",
    "traced",
    "suspended",
    "released",
    "device added",
    "device removed",
    "device lost",
    "disk committed",
    "disk reset",
    "snapshot taken",
    "memory changed",
    "network lost",
    "network back",
    "network ended",
    "helper restarted",
    "user",
    "refused",
    "client refused",
    "failed",
    "internal error",
    "restored",
    "reboot repeated",
    "less confined",
    "log not kept",
    "not recorded",
    "not removed",
    "missed",
    "warning",
    "error",
]

Event = dict[str, Any]
"""One event: time (seconds since 1970), umid, event, and the facts of its row."""

CLIENT_FACTS: Final = ("uid", "pid")
"""Facts that say which client an event comes of."""


class Row(NamedTuple):
    """What is known of one kind of event.

    Fields:
        facts: what it may say beside time, umid and event; what is empty is left out
        state: of the guest from then on; None: as it was, or it is to be asked for
        run: `umlctl run` says it in words; as JSON it says all
        prompt: the prompt says it
        log: the background supervisor logs it; a client or a guest can cause others without end
        answers: it answers a command; whoever has just given that need not be told
    """

    facts: tuple[str, ...] = ()
    state: State | None = None
    run: bool = False
    prompt: bool = True
    log: bool = True
    answers: bool = False


TABLE: Final[dict[EventName, Row]] = {
    "started": Row(("pid", "kernel"), "booting", prompt=False),
    "adopted": Row(("pid", "kernel")),
    "record lost": Row(("text",)),
    "ready": Row(("after", "pid"), "running", run=True),
    "rebooting": Row(("count",), "rebooting", run=True),
    "rebooted": Row(("text",)),
    "panicked": Row(("text", "console"), run=True),
    "ended": Row(("cause", "code", "text"), "dead"),
    "restarting": Row(("seconds", "tries"), "restarting", run=True),
    "given up": Row(("text",), "dead", run=True),
    "stopped": Row(("seconds", *CLIENT_FACTS), "stopped", answers=True),
    "resumed": Row(CLIENT_FACTS, "running", answers=True),
    "shutdown": Row(("text", "seconds", *CLIENT_FACTS), run=True, answers=True),
    "halt": Row(CLIENT_FACTS),
    "reboot": Row(CLIENT_FACTS),
    "cad": Row(CLIENT_FACTS),
    "kill": Row(CLIENT_FACTS),
    "wedged": Row(("text",), run=True),
    "recovered": Row(run=True),
    "hung": Row(("text", "action"), "hung", run=True),
    "well again": Row((), "running"),
    "unreachable": Row(("text",), run=True),
    "reachable again": Row(),
    "traced": Row(("text",), "traced"),
    "suspended": Row(("text",), "suspended"),
    "released": Row(),
    "device added": Row(("device", "text", *CLIENT_FACTS), answers=True),
    "device removed": Row(("device", "text", *CLIENT_FACTS), answers=True),
    "device lost": Row(("device", "text")),
    "disk committed": Row(("device", "text", *CLIENT_FACTS), answers=True),
    "disk reset": Row(("device", "text", *CLIENT_FACTS), answers=True),
    "snapshot taken": Row(("text", "pause", *CLIENT_FACTS), answers=True),
    "memory changed": Row(("change", "taken", *CLIENT_FACTS), answers=True),
    "network lost": Row(("network", "text")),
    "network back": Row(("network",)),
    "network ended": Row(("network",)),
    "helper restarted": Row(("helper", "network", "left_out")),
    "user": Row(("text", "left_out"), log=False),
    "refused": Row(("text", "request", "left_out", *CLIENT_FACTS), prompt=False, log=False),
    "client refused": Row(("text", "request", "left_out", *CLIENT_FACTS), prompt=False, log=False),
    "failed": Row(
        ("text", "request", "console", "left_out", *CLIENT_FACTS), log=False, answers=True
    ),
    "internal error": Row(("text", "request", "console", *CLIENT_FACTS)),
    "restored": Row(("text",)),
    "reboot repeated": Row(("text",)),
    "less confined": Row(("text",), run=True),
    "log not kept": Row(("console", "text")),
    "not recorded": Row(("text",), run=True),
    "not removed": Row(("text",), run=True),
    "missed": Row(("count",)),
    "warning": Row(("text",)),
    "error": Row(("text", "code")),
}
_BY_NAME: Final = {str(name): row for name, row in TABLE.items()}
_STRANGE: Final = Row()
"""Of an event that only a newer supervisor knows."""


def row(name: str) -> Row:
    """What is known of an event, by what it is called."""
    return _BY_NAME.get(name, _STRANGE)


def event(name: EventName, umid: str, time: float, **facts: object) -> Event:
    """An event of a guest.

    time: seconds since 1970
    """
    return {"time": round(time, 3), "umid": umid, "event": name, **facts}
