from __future__ import annotations

import os
from typing import TYPE_CHECKING

from umlctl.host.processes import Held
from umlctl.protocol.status import Ending
from umlctl.supervisor.guest import Guest
from umlctl.supervisor.lifecycle import (
    Cleared,
    Ended,
    EndWanted,
    GivenUp,
    Hung,
    Ready,
    Retried,
)

if TYPE_CHECKING:
    import pytest

    from umlctl.supervisor.launch.launched import Launched


async def test_guest_that_boots_is_shown_with_its_process(launched: Launched) -> None:
    status = Guest(launched).status()
    assert (status.umid, status.state, status.pid) == ("demo", "booting", launched.pid)
    assert status.supervisor_pid == os.getpid()
    assert status.started == status.since == round(launched.record.since, 3)
    assert status.log == f"{launched.claim.records}/console.log"
    assert status.command == launched.command
    assert (status.trouble, status.ending, status.last_event) == (None, None, None)


async def test_guest_that_hangs_is_shown_so_with_the_reason(launched: Launched) -> None:
    guest = Guest(launched)
    guest.handle(Ready())
    guest.handle(Hung(why="it does not answer"))
    status = guest.status()
    assert (status.state, status.trouble) == ("hung", "it does not answer")


async def test_guest_that_is_held_is_shown_so_whatever_else_it_does(
    launched: Launched, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest = Guest(launched)
    guest.handle(Hung(why="it does not answer"))
    monkeypatch.setattr(guest.life.process, "held", lambda: Held("traced", "traced by gdb"))
    status = guest.status()
    assert (status.state, status.trouble) == ("traced", "traced by gdb")
    assert status.since > launched.record.since


async def test_guest_that_has_ended_is_shown_without_its_process(launched: Launched) -> None:
    guest = Guest(launched)
    ending = Ending(cause="exited", code=3)
    guest.handle(Ended(ending=ending, how="exited with 3"))
    guest.milestones.mark_dead()
    status = guest.status()
    assert (status.state, status.pid, status.memory, status.cpu) == ("dead", None, None, None)
    assert status.ending == ending
    assert status.trouble is None


async def test_guest_that_is_to_be_started_again_says_why(launched: Launched) -> None:
    guest = Guest(launched)
    guest.lifecycle.restarts = 1
    guest.handle(Ready())
    guest.handle(Ended(ending=Ending(cause="exited", code=3), how="exited with 3"))
    guest.handle(Cleared())
    guest.lifecycle.again = True
    guest.handle(Retried(seconds=1.0))
    status = guest.status()
    assert status.state == "restarting"
    assert status.trouble is not None
    assert status.trouble.startswith("to be started again: ")
    assert status.restarts == 1
    guest.handle(EndWanted())
    guest.handle(GivenUp())
    assert guest.status().state == "dead"


async def test_what_was_refused_is_counted(launched: Launched) -> None:
    guest = Guest(launched)
    guest.refused, guest.clients_refused = 3, 4
    status = guest.status()
    assert (status.refused, status.clients_refused) == (3, 4)
