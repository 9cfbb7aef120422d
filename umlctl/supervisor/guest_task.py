"""One guest from its launched kernel to its end, with its sockets open. `umlctl run` and the
background supervisor both do this.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from umlctl.errors import UmlctlError
from umlctl.guest.definition import is_shared
from umlctl.host import cgroups, limits, paths, processes, shared_socket
from umlctl.host.starting import unfit
from umlctl.state import pruning, records
from umlctl.state.endings import describe
from umlctl.supervisor.door import Door
from umlctl.supervisor.endurance import endure
from umlctl.supervisor.guest import Guest
from umlctl.supervisor.keeper import Keeper
from umlctl.supervisor.launch.launch import launch_again, launch_for_reboot
from umlctl.supervisor.launch.place import remove_place
from umlctl.supervisor.lifecycle import Cleared
from umlctl.supervisor.requests import Requests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from umlctl.protocol.events import Event
    from umlctl.protocol.status import Ending
    from umlctl.supervisor.launch.launched import Launched

LAST_ANSWERS_TIMEOUT: Final = 1.0
"""How long clients that wait for the guest's end may take to hear of it, seconds."""


async def run_guest(
    launched: Launched,
    tell: Callable[[Event], None] | None = None,
    stop_others: Callable[[str], None] = lambda _why: None,
    task_status: trio.TaskStatus[Guest] = trio.TASK_STATUS_IGNORED,
) -> Ending:
    """Supervise a guest to its end and serve its socket meanwhile. Nothing of it is left then.

    tell: called with every event as it happens
    stop_others: called with the reason when the guest's policy is to end all other guests
    """
    guest = Guest(launched, tell, stop_others)
    doors: list[Door] = []
    shared = ""
    try:
        try:
            processes.adopt_orphans()
            doors.append(Door(paths.guest_socket(guest.umid)))
            if is_shared(launched.definition):
                shared = shared_socket.make(guest.umid)
                doors.append(Door(shared, shared_socket.SOCKET_MODE))
            _publish(guest)
        except Exception as problem:
            if not launched.adopted:
                guest.kill(str(problem))
                await guest.supervise()
            with unfit(f"{guest.umid} cannot be supervised"):
                raise
        async with trio.open_nursery() as nursery:
            requests = Requests(guest)
            for door in doors:
                nursery.start_soon(door.serve, requests.handle, requests.answer_at_once)
            nursery.start_soon(
                endure, guest.history, "place", Keeper(lambda: guest.life, doors).run
            )
            ending = await _live(guest, task_status)
            with trio.move_on_after(LAST_ANSWERS_TIMEOUT):
                for door in doors:
                    await door.idle()
            nursery.cancel_scope.cancel()
        return ending
    finally:
        for door in doors:
            with _said(guest):
                door.close()
        if guest.milestones.dead.is_set():
            await _clear(guest, shared)
        else:
            guest.launched.close()


async def _clear(guest: Guest, shared: str) -> None:
    """Remove what is left of a guest that has ended. What cannot be removed is an event, and
    changes nothing of how the guest has ended.

    shared: its socket for other users; empty if it had none
    """
    launched = guest.launched
    kept = [os.path.basename(records.copy_of(guest.umid))] if guest.life.unwritten else []
    steps: list[Callable[[], str | None] | None] = [
        partial(cgroups.remove, launched.record.cgroup) if launched.record.cgroup else None,
        partial(remove_place, launched.definition),
        partial(shared_socket.remove, guest.umid) if shared else None,
    ]
    if not guest.milestones.over.is_set():  # no client waited for the end
        with _said(guest):
            launched.pidfile.remove()
    with trio.CancelScope(shield=True):
        for step in filter(None, steps):
            with _said(guest):
                problem = await trio.to_thread.run_sync(step)
                if problem:
                    guest.history.add("not removed", text=problem)
        with _said(guest):
            launched.claim.release(*kept)
        with _said(guest), suppress(paths.BadPlace):
            # `tidy` reads the records of all guests at times: other guests are not to wait for
            # that.
            await trio.to_thread.run_sync(pruning.tidy, guest.umid)


@contextmanager
def _said(guest: Guest) -> Iterator[None]:
    """Make an event of an error in removing something."""
    try:
        yield
    except Exception as problem:  # noqa: BLE001 - the guest's end stands, whatever it is
        guest.history.add("not removed", text=limits.explained(problem))


async def _live(guest: Guest, task_status: trio.TaskStatus[Guest]) -> Ending:
    """Supervise all lives of a guest; return how the last one ended."""
    started = False
    while True:
        begun = trio.current_time()
        async with trio.open_nursery() as nursery:
            await nursery.start(guest.life.consoles.run)
            if not started:
                started = True
                task_status.started(guest)
            ending = await _supervise(guest)
            guest.handle(Cleared())
            if not guest.lifecycle.again:
                _announce_end(guest)
            with trio.move_on_after(LAST_ANSWERS_TIMEOUT):
                await guest.life.consoles.end(describe(ending))
            nursery.cancel_scope.cancel()
        if guest.lifecycle.again and await _start_again(guest, begun):
            continue
        _announce_end(guest)
        return ending


async def _supervise(guest: Guest) -> Ending:
    """Supervise one life of a guest, in which it may need another kernel as it reboots."""
    while (ending := await guest.supervise()) is None:
        async with guest.life.devices.lock:  # what is being changed is done, or has failed
            pass
        if guest.lifecycle.unwanted:
            await guest.end_lost("")
        else:
            await _reboot_again(guest)
        if guest.ending is not None:
            return guest.ending
    return ending


async def _reboot_again(guest: Guest) -> None:
    """Have a guest go on with another kernel, since it has lost its own as it rebooted; if there is
    none to be had, the guest has ended."""
    guest.launched.record.again = True
    await guest.life.save()  # for the next supervisor, should this one be killed meanwhile
    with _said(guest):
        guest.launched.pidfile.remove()
    try:
        launched = await trio.to_thread.run_sync(launch_for_reboot, guest.launched)
    except Exception as problem:
        if not (isinstance(problem, UmlctlError) or limits.is_lacking(problem)):
            raise
        await guest.end_lost(limits.explained(problem))
        return
    guest.go_on(launched)
    _publish(guest)
    if guest.lifecycle.unwanted:
        guest.kill("ended by a user as it rebooted")


def _announce_end(guest: Guest) -> None:
    """Tell whoever waits for the end of the guest, once; its pidfile is gone by then."""
    if guest.milestones.over.is_set():
        return
    with _said(guest):
        guest.launched.pidfile.remove()
    guest.history.end()
    guest.milestones.over.set()


async def _start_again(guest: Guest, begun: float) -> bool:
    """Begin another life, after a pause that is longer each time; False if there is to be none.

    begun: when the last life began, by trio's clock
    """
    while (pause := guest.lifecycle.pause(trio.current_time() - begun)) is not None:
        if not await guest.await_restart(pause):
            return False
        with _said(guest):
            guest.launched.pidfile.remove()
        try:
            launched = await trio.to_thread.run_sync(launch_again, guest.launched)
        except Exception as problem:
            if not (isinstance(problem, UmlctlError) or limits.is_lacking(problem)):
                raise
            guest.history.add("failed", request="restart", text=limits.explained(problem))
            continue
        guest.begin(launched)
        _publish(guest)
        if guest.lifecycle.unwanted:
            guest.kill("ended by a user while it was started again")
        return True
    await guest.give_up()
    guest.history.add("given up", text=f"{guest.lifecycle.tries} restarts in a row did not help")
    return False


def _publish(guest: Guest) -> None:
    """Publish the guest's socket where uml_mconsole looks for it, if there is a home for that."""
    try:
        guest.launched.claim.public.publish(guest.launched.pid)
    except OSError as problem:
        text = limits.explained(problem)
        guest.history.add("failed", request="socket for uml_mconsole", text=text)
