"""How a life ended: what is left of it is ended too, and what can be known is written down."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from umlctl import exitcodes
from umlctl.host import processes, room
from umlctl.protocol.status import Ending
from umlctl.state import endings
from umlctl.supervisor.devices import restoring
from umlctl.supervisor.endurance import endure
from umlctl.supervisor.lifecycle import Ended

if TYPE_CHECKING:
    from collections.abc import Callable

    from umlctl.supervisor.life import Life
    from umlctl.supervisor.lifecycle import Event
    from umlctl.supervisor.notifications import Notifications

LOOK_INTERVAL: Final = 0.005
"""The time between two looks at whether the guest's processes have ended, seconds."""
GROUP_TIMEOUT: Final = 2.0
"""How long the guest's killed processes may take to end, seconds."""
SHIM_TIMEOUT: Final = 10.0
"""How long the kernel's tiny parent may take to write down its status, seconds: the host may be
busy."""


async def conclude_life(life: Life, heard: Notifications, handle: Callable[[Event], None]) -> None:
    """See to the end of a life whose main process has ended.

    heard: what its kernel has notified
    handle: takes what happens to the guest
    """

    try:
        stock = partial(_take_stock, life, heard, handle)
        await endure(life.history, "end", stock, errors=False)
        if not life.lifecycle.reboot_lost:
            await endure(life.history, "devices", partial(_release, life), errors=False)
    finally:
        life.launched.notify.close()
        life.process.gone = True
        if not life.lifecycle.reboot_lost:
            life.milestones.mark_dead()


async def _take_stock(life: Life, heard: Notifications, handle: Callable[[Event], None]) -> None:
    """Find out how the guest ended, and write that down."""
    life.process.kill()
    heard.take_rest()
    status = await _exit_status(life.launched.shim, life.launched.claim.directory)
    if status.code is None:
        status = endings.ExitStatus(life.process.status, False)
    with trio.move_on_after(GROUP_TIMEOUT):
        while not processes.reap_group(life.process.pid):  # noqa: ASYNC110 - nobody tells
            await trio.sleep(LOOK_INTERVAL)
    if life.lifecycle.reboot_lost:
        return
    if life.lifecycle.ending is None:
        ending = _judge(life, heard, status)
        handle(Ended(ending=ending, how=endings.describe(ending)))
    life.launched.record.ending = life.lifecycle.ending
    await life.save()


async def conclude_lost(life: Life, handle: Callable[[Event], None], why: str) -> None:
    """See to the end of a guest whose kernel was lost as it rebooted.

    why: the guest has no other kernel; empty: a user has ended it
    """
    cause, code = "reboot failed", exitcodes.NOT_EXECUTED
    if not why:
        cause, code = "shut down", exitcodes.OK
        if life.lifecycle.forced:
            cause, code = "killed", exitcodes.SIGNALLED + signal.SIGKILL
    text = why or life.lifecycle.asked_to_end
    ending = Ending(cause=cause, code=code, text=text, time=time.time())
    handle(Ended(ending=ending, how=endings.describe(ending)))
    life.launched.record.ending, life.launched.record.again = ending, False
    await life.save()
    try:
        await endure(life.history, "devices", partial(_release, life), errors=False)
    finally:
        life.milestones.mark_dead()


async def _release(life: Life) -> None:
    for problem in await restoring.release(life.devices):
        life.history.add("failed", text=problem)


async def _exit_status(shim: int, directory: str) -> endings.ExitStatus:
    """What the tiny parent of the kernel wrote down.

    shim: pid of the parent; 0 if unknown
    """
    if not shim:
        return endings.ExitStatus(None, False)
    with trio.move_on_after(SHIM_TIMEOUT) as patience:
        await _reaped(shim)
    if patience.cancelled_caught:
        with suppress(ProcessLookupError):
            os.killpg(shim, signal.SIGKILL)
        await _reaped(shim)
    return endings.read_exit_status(directory)


async def _reaped(pid: int) -> None:
    """Wait for the end of a process, and reap it if it is a child of this process."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        await trio.lowlevel.wait_readable(descriptor)
    finally:
        os.close(descriptor)
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # noqa: ASYNC222 - it has ended


def _judge(life: Life, heard: Notifications, status: endings.ExitStatus) -> Ending:
    tail = life.said()
    seen = life.lifecycle
    if not (seen.panic or seen.answers or endings.is_orderly(tail)):
        # A kernel that panics early notifies nothing. Later, what the guest prints is no evidence.
        early = endings.early_panic(tail)
        if early:
            heard.note_panic(early)
    ending = endings.judge(
        endings.Evidence(
            status=status.code,
            starved=status.starved,
            tail=tail,
            was_ready=seen.known,
            panic=seen.panic,
            asked=seen.asked_to_end,
            forced=seen.forced,
            late=seen.late,
            unsynced=seen.unsynced,
            had_socket=seen.had_socket,
            halted=seen.halted,
            began=life.heard or (not seen.known and endings.init_began(life.log)),
            left=os.path.isdir(os.path.dirname(life.kernel.path)),
            executes=endings.executed_again(life.launched.definition),
        )
    )
    doubt = ""
    if not (life.milestones.up.is_set() or seen.asked_to_end) and ending.code:
        doubt = room.processes_doubt()
    return msgspec.structs.replace(ending, text="; ".join(filter(None, [ending.text, doubt])))
