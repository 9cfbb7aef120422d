"""A supervisor that is a service, where another supervisor of the user runs already.

A command may have started the other one before the service was started, or while the service was
being restarted. The guests of the other are in good hands. The service has it start what is
enabled, waits until it has ended, and then serves. A service that is told to end before that ends
the other with its guests.
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

ANSWER_TIMEOUT: Final = 15.0
"""How long the other supervisor may give no sign of life before it counts as hung, seconds."""


class Standby:
    """Waiting for the other supervisor to end.

    Fields:
        came: False if this service was told to end before that
        started: the other has started what is enabled
    """

    def __init__(self, take: Callable[[], object], manager: Manager) -> None:
        """take: returns once this process is the supervisor of this user, however long that
        takes"""
        self.came = True
        self.started = False
        self._take = take
        self._manager = manager

    async def wait(self) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(self._heed, nursery)
            self.started = await self._ask("autostart")
            self._manager.ready("waiting for the supervisor to end that runs already")
            # In the queue of the lock, this process is before all that come later, as for a
            # command.
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
                return (await client.request(command, ANSWER_TIMEOUT, renew=ANSWER_TIMEOUT)).ok
        except OSError:
            return False
