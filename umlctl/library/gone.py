"""What became of a guest that has ended under what it was asked, for the error that says so."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from umlctl.client import unsupervised
from umlctl.client.ask import Deadline
from umlctl.client.request import request
from umlctl.errors import GuestEnded, UmlctlError
from umlctl.host import paths
from umlctl.output import views
from umlctl.protocol.status import COMING_STATES, read_status
from umlctl.state import endings, umid_lock

if TYPE_CHECKING:
    from umlctl.protocol.status import Ending

SEEN_TIMEOUT: Final = 5.0
"""How long its supervisor may take to see, and write down, how a guest has ended, seconds."""
LOOK_INTERVAL: Final = 0.05
"""The time between two looks at whether it has, seconds."""
MAX_LINES: Final = 40
"""How many lines of the console an error has."""
NOT_SHOWN: Final = dict.fromkeys(map(ord, "\0\r"))
"""Characters of a console that are nothing to read."""


def explained(problem: GuestEnded, umid: str) -> GuestEnded:
    """The same error with how the guest has ended, and what its console has printed last."""
    ending = _seen(umid)
    how = f": {views.ending_text(ending)}" if ending else ""
    return GuestEnded(f"{problem}{how}", ending, last_lines(umid))


def _seen(umid: str) -> Ending | None:
    """How a guest has ended, which may not be written down yet; None: it begins anew."""
    end = time.monotonic() + SEEN_TIMEOUT
    while umid_lock.has_owner(umid) and time.monotonic() < end:
        if _begins_anew(umid):
            return None
        time.sleep(LOOK_INTERVAL)
    return unsupervised.ended(umid)


def _begins_anew(umid: str) -> bool:
    try:
        status = read_status(request(umid, "status", Deadline(SEEN_TIMEOUT)))
    except (UmlctlError, ValueError):
        return False
    return status.state in (*COMING_STATES, "restarting")


def last_lines(umid: str, lines: int = MAX_LINES) -> str:
    """The last lines that a guest's console has printed; empty if there are none."""
    tail = endings.tail_of(f"{paths.record_dir(umid)}/console.log").decode("utf-8", "replace")
    return "\n".join(tail.translate(NOT_SHOWN).rstrip().split("\n")[-lines:])
