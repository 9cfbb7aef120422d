"""A supervisor that is a service, where another supervisor of the user runs already.

A command may have started that one before the service was started, or while it was being
restarted; its guests are in good hands. The service has it start what is enabled, waits until it
has ended, and then serves. Told to end before that, it ends the other with its guests.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Final

import trio

from socketproto.client import Client
from umlctl.host import paths

if TYPE_CHECKING:
    from collections.abc import Callable

    from umlctl.host.systemd.notify import Manager

ANSWERS: Final = 15.0
"""One that gives no sign of life for so long is hung, seconds."""


class Turn:
    """Waiting for it.

    Fields:
        came: False if we were told to end before it did
        started: the other has started what is enabled
    """

    def __init__(self, take: Callable[[], object], manager: Manager) -> None:
        """take: come back as the one supervisor of this user, however long that takes"""
        self.came = True
        self.started = False
        self._take = take
        self._manager = manager

    async def wait(self) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(self._heed, nursery)
            self.started = await self._ask("autostart")
            self._manager.ready("waiting for the supervisor to end that runs already")
            # In the queue of the lock: nobody who comes later, as for a command, is before us.
            await trio.to_thread.run_sync(self._take, abandon_on_cancel=True)
            nursery.cancel_scope.cancel()

    async def _heed(self, nursery: trio.Nursery, task_status: trio.TaskStatus[None]) -> None:
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        with trio.open_signal_receiver(*numbers) as signals:
            task_status.started()
            async for _number in signals:
                self._manager.stopping()
                self.came = False
                await self._ask("quit")
                nursery.cancel_scope.cancel()

    async def _ask(self, command: str) -> bool:
        try:
            with Client(paths.supervisor_socket()) as client:
                return (await client.request(command, ANSWERS, renew=ANSWERS)).ok
        except OSError:
            return False
