"""One guest from its launched kernel to its end, with its door open: what `umlctl run` and the
background supervisor both do.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import trio

from socketproto.listener import Listener
from umlctl.errors import HostError
from umlctl.host import paths, processes, records
from umlctl.host.records import write_atomically
from umlctl.supervisor.endings import describe
from umlctl.supervisor.guest import Guest
from umlctl.supervisor.launch import remove_pidfile
from umlctl.supervisor.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable

    from umlctl.host.eventlog import Event
    from umlctl.host.records import Ending
    from umlctl.supervisor.launch import Launched

LAST_ANSWERS: Final = 1.0
"""How long clients that wait for the end may take to hear of it, seconds."""


async def run_guest(
    launched: Launched,
    tell: Callable[[Event], None] | None = None,
    task_status: trio.TaskStatus[Guest] = trio.TASK_STATUS_IGNORED,
) -> Ending:
    """Supervise a guest to its end and serve its socket meanwhile. Nothing of it is left then.

    tell: called with every event as it happens
    """
    guest = Guest(launched, tell)
    listener = None
    try:
        try:
            processes.adopt_orphans()
            listener = Listener.bind(paths.public_socket(guest.umid))
            # Where uml_mconsole's `int` looks, and a kernel that would take the name.
            public = os.path.dirname(paths.public_socket(guest.umid))
            write_atomically(f"{public}/pid", f"{launched.pid}\n".encode())
        except Exception as problem:
            guest.kill(str(problem))
            await guest.supervise()
            raise HostError(f"{guest.umid}: {problem}") from problem
        async with trio.open_nursery() as nursery:
            service = Service(guest)
            await nursery.start(guest.consoles.run)
            nursery.start_soon(listener.serve, service.handle, service.answer_at_once)
            task_status.started(guest)
            ending = await guest.supervise()
            guest.history.end()
            with trio.move_on_after(LAST_ANSWERS):
                await guest.consoles.end(describe(ending))
                await listener.idle()
            nursery.cancel_scope.cancel()
        return ending
    finally:
        try:
            if listener is not None:
                listener.close()
            remove_pidfile(launched.definition, launched.pidfile)
        finally:
            launched.claim.release()
        records.prune()
