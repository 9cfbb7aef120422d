"""Ending a guest in order, as far as it lets us."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Final

import trio

from socketproto.exchange import ANSWERED, REFUSED, Outcome
from umlctl.host.endings import NOT_SYNCED
from umlctl.supervisor.kernel import Unsent

if TYPE_CHECKING:
    from umlctl.supervisor.guest import Guest

NOT_SEEN: Final = "not seen to sync"
ANSWER: Final = 2.0
"""How long the kernel may take for each request, seconds."""
SYNC: Final = 5.0
"""How long an emergency sync may take, seconds."""
HALT: Final = 2.0
"""How long a halt may take, seconds."""
LOOK: Final = 0.005
"""Between two looks into the log, seconds."""
TERM: Final = 2.0
"""How long SIGTERM may take, seconds."""
ANSWERS: Final = 2.0
"""How long a guest that was just adopted, or reboots, may take to answer first, seconds."""
HELD: Final = 0.1
"""Between two looks whether a debugger still holds it, seconds."""
BEYOND: Final = 30.0
"""What a halt may take besides the guest's own shutdown, seconds."""


async def shut_down(guest: Guest, seconds: float, why: str) -> None:
    """End a guest: its own shutdown, then sync and halt, then SIGTERM, then the group.

    seconds: for the guest's own shutdown
    why: who wants it
    """
    if guest.lifecycle.comes:
        with trio.move_on_after(min(seconds, ANSWERS)):
            await guest.ready.wait()
    guest.lifecycle.asked_to_end = guest.lifecycle.asked_to_end or why
    if guest.state == "booting":
        if guest.lifecycle.known:
            guest.lifecycle.unsynced = _lost("it has not answered since it was adopted")
        guest.signal(signal.SIGTERM)
    else:
        await _wait_until_let_go(guest, seconds)
        # Whoever waits for a kernel that is held meanwhile must not hold this up.
        with trio.move_on_after(seconds + BEYOND):
            await end(guest, seconds)
        if not guest.dead.is_set():
            guest.signal(signal.SIGTERM)
    await _die(guest)


async def halt(guest: Guest, request: str) -> Outcome:
    """End a guest at once, by its kernel's own means if it can be asked, with nothing synced.

    request: to its kernel
    """
    if not guest.held() and not guest.dead.is_set():
        if guest.state == "stopped":
            await guest.pauses.resume()  # it would abort
        guest.lifecycle.halted = True  # by the time of the answer it can have ended
        outcome = await guest.kernel.ask(request, ANSWER)
        if outcome.kind == REFUSED:
            guest.lifecycle.halted = False
        if outcome.kind in (ANSWERED, REFUSED):
            return outcome
    guest.lifecycle.halted = True
    guest.lifecycle.asked_to_end = guest.lifecycle.asked_to_end or "halted by a user"
    if guest.state != "booting":
        guest.lifecycle.unsynced = NOT_SYNCED
    guest.signal(signal.SIGTERM)
    await _die(guest)
    return Outcome(ANSWERED)


async def _die(guest: Guest) -> None:
    """Wait for the end of a guest, and force it in the end."""
    with trio.move_on_after(0.0 if guest.held() else TERM):
        await guest.dead.wait()
    if not guest.dead.is_set():
        guest.lifecycle.asked_to_end += "; it did not end by itself"
        guest.kill(guest.lifecycle.asked_to_end)
        await guest.dead.wait()


async def _wait_until_let_go(guest: Guest, seconds: float) -> None:
    with trio.move_on_after(seconds) as patience:
        while guest.held():  # noqa: ASYNC110 - nobody tells
            await trio.sleep(HELD)
    if patience.cancelled_caught:
        held = guest.held()
        guest.lifecycle.unsynced = _lost(held.by if held else "it was held")
        guest.kill(guest.lifecycle.asked_to_end)


async def end(guest: Guest, seconds: float) -> None:
    """Have a guest shut itself down, or save what can be saved and halt it.

    What is seen of it is written to `late` and `unsynced` of the guest.

    seconds: for the guest's own shutdown
    """
    if guest.dead.is_set():
        return
    guest.lifecycle.unsynced = _lost("its kernel was not heard of in time")
    if guest.state == "stopped":
        await guest.kernel.ask("go", ANSWER)
        guest.note_running()
    handled = await _ask_again(guest, "proc sys/kernel/ctrl-alt-del")
    if not handled.ok:
        # It cannot be asked; where nobody handles it, the guest is reset at once.
        guest.lifecycle.unsynced = await _sync(guest)
    late = ""
    if not handled.ok or handled.data.strip() == b"0":
        pressed = await guest.kernel.ask("cad", ANSWER)
        if pressed.ok:
            if handled.ok:
                guest.lifecycle.unsynced = ""  # as far as it ends by itself
            with trio.move_on_after(seconds):
                await guest.dead.wait()
                return
            late = f"it had not ended by itself within {seconds:g}s, and was halted"
            guest.lifecycle.unsynced = _lost("it did not end by itself in time")
    if guest.dead.is_set():
        return
    # Nobody in the guest handles it, or not in time: what can be saved, is.
    guest.lifecycle.unsynced = await _sync(guest)
    await _emergency(guest, "u", b"Emergency Remount complete")
    if not guest.lifecycle.unsynced:
        guest.lifecycle.late = late
    await guest.kernel.ask("halt", ANSWER)
    with trio.move_on_after(HALT):
        await guest.dead.wait()


async def _ask_again(guest: Guest, question: str) -> Outcome:
    """A question; a socket that somebody removed is soon put back."""
    outcome = await guest.kernel.ask(question, ANSWER)
    with trio.move_on_after(ANSWERS):
        while isinstance(outcome, Unsent) and not guest.dead.is_set():
            await trio.sleep(HELD)
            outcome = await guest.kernel.ask(question, ANSWER)
    return outcome


async def _sync(guest: Guest) -> str:
    """Have the kernel write what it has; what may be lost, if it was not seen to."""
    return await _emergency(guest, "s", b"Emergency Sync complete")


def _lost(why: str) -> str:
    return f"{NOT_SYNCED}: {why}"


async def _emergency(guest: Guest, letter: str, done: bytes) -> str:
    """A SysRq whose work the kernel does later: wait for its word in the log.

    What went wrong; empty if its word was seen.
    """
    begin = _size(guest.log)
    asked = await guest.kernel.ask(f"sysrq {letter}", ANSWER)
    if not asked.ok:
        return _lost(str(asked))
    gone = f"{NOT_SEEN}: its console's log is gone, which would say so"
    if begin < 0:
        return gone
    with trio.move_on_after(SYNC):
        while not guest.dead.is_set():
            try:
                with open(guest.log, "rb") as file:
                    file.seek(begin)
                    if done in file.read(1 << 20):
                        return ""
            except OSError:
                return gone
            await trio.sleep(LOOK)
    return f"{NOT_SEEN}: its console did not say so within {SYNC:g} seconds"


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return -1
