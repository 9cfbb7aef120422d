"""The background supervisor of a user: any number of guests in one trio run.

Commands start it when they first need it. It answers on a mconsole socket of its own (`start FILE`,
`list`, `quit`), and ends by itself a while after its last guest.

`umlctl start` starts it as `python -m umlctl.supervisor.daemon`. A service manager gives it
`--service`: then it starts what is enabled, tells that manager how it is, and stays.
"""

from __future__ import annotations

import fcntl
import functools
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import trio

from umlctl.host import daemonlog, limits, paths
from umlctl.host.systemd.notify import Manager, from_environment
from umlctl.supervisor.adoption import Adoption
from umlctl.supervisor.autostart import Autostart
from umlctl.supervisor.door import Door
from umlctl.supervisor.guests import Guests, run_guarded
from umlctl.supervisor.host_requests import HostRequests
from umlctl.supervisor.keeper import LOOK_INTERVAL
from umlctl.supervisor.lock import Lock
from umlctl.supervisor.standby import Standby

if TYPE_CHECKING:
    from collections.abc import Callable

    from umlctl.guest.definition import Definition
    from umlctl.protocol.starting import AutostartResult, Started

IDLE_TIMEOUT: Final = 10.0
"""How long the supervisor stays without a guest, seconds."""


class Daemon:
    """The background supervisor."""

    def __init__(
        self,
        listener: Door,
        manager: Manager | None = None,
        *,
        service: bool = False,
        start: bool = False,
    ) -> None:
        """manager: is told how this supervisor is

        service: stay, though there is nothing to do
        start: begin by starting what is enabled
        """
        self._listener = listener
        self._manager = manager or Manager()
        self._service = service
        self._start_first = start
        self._autostarting = trio.Lock()
        self._guests: Guests
        self._adoption: Adoption

    async def run(self) -> None:
        """Serve until told to quit, or until there has been nothing to do for a while."""
        async with trio.open_nursery() as nursery:
            self._guests = guests = Guests(nursery, self._manager)
            self._adoption = Adoption(nursery, guests)
            requests = HostRequests(guests, self._adoption, self.start_enabled)
            nursery.start_soon(self._listener.serve, requests.handle)
            nursery.start_soon(self._signals)
            await run_guarded("adopt", self._adoption.adopt_all)
            nursery.start_soon(run_guarded, "autostart", self._begin)
            was_busy = 0
            while not guests.quitting.is_set():
                with trio.move_on_after(IDLE_TIMEOUT):
                    await guests.quitting.wait()
                if guests.busy == was_busy == 0 and not self._service:
                    guests.quitting.set()
                was_busy = guests.busy
            self._manager.stopping()
            await guests.stop_all("the supervisor ends")
            with trio.move_on_after(1):
                await self._listener.idle()
            nursery.cancel_scope.cancel()

    async def _begin(self) -> None:
        if self._start_first:
            await self.start_enabled(_log_result)
        if not self._guests.quitting.is_set():
            self._manager.ready(self._guests.count_text)

    async def _signals(self) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            async for _number in signals:
                self._guests.quitting.set()

    async def start_enabled(self, tell: Callable[[AutostartResult], None]) -> None:
        """Start every guest that is enabled and does not run."""

        async def start(definition: Definition) -> Started:
            return await self._guests.start(f"start {definition.umid}", lambda: definition)

        async with self._autostarting:
            await self._adoption.adopt_all()
            await Autostart(start, tell).run()


def _log_result(result: AutostartResult) -> None:
    daemonlog.note(f"{result.umid}: {result.outcome}{f': {result.text}' if result.text else ''}")


def _will_return(returns: bool) -> None:
    """Say whether commands are to wait for this supervisor if it crashes. One that is a service is
    started again by its service manager. A supervisor that a command started meanwhile would keep
    the service from its guests, and no service manager would watch it."""
    try:
        if returns:
            os.close(os.open(paths.supervisor_returns(), os.O_WRONLY | os.O_CREAT, 0o600))
        else:
            os.unlink(paths.supervisor_returns())
    except OSError:
        pass  # commands do not wait then, or once in vain


async def _serve(lock: Lock, manager: Manager, *, service: bool) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(manager.beat)
        start = service
        if not lock.take(fcntl.LOCK_NB):
            if not service:
                return  # another process was faster
            turn = Standby(lambda: lock.take(0), manager)
            await turn.wait()
            if not turn.came:
                nursery.cancel_scope.cancel()
                return
            start = not turn.started
        _will_return(service)
        door = Door(paths.supervisor_socket())
        nursery.start_soon(_stay, lock, door, service)
        try:
            await Daemon(door, manager, service=service, start=start).run()
            _will_return(False)  # it ends in order: no service manager starts it again
        finally:
            door.close()
        nursery.cancel_scope.cancel()


async def _stay(lock: Lock, door: Door, returns: bool) -> None:
    """Make the lock and the socket again when they are removed from the run directory."""
    while True:
        await trio.sleep(LOOK_INTERVAL)
        with suppress(OSError):
            lock.restore()
            if door.restore():
                _will_return(returns)
                daemonlog.note(f"{door.path} was removed, and is there again")


def main(arguments: list[str]) -> int:
    """Become the supervisor of this user, unless there is one; tell the starter when ready."""
    limits.become_supervisor()
    manager = from_environment()
    service = arguments == ["--service"]
    lock = Lock()
    os.umask(0o077)
    os.chdir("/")
    # The service manager of a process that ran a command is not told of the command's supervisor.
    trio.run(functools.partial(_serve, lock, manager if service else Manager(), service=service))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
