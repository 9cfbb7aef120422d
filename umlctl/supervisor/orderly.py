"""Ending a guest in order, as far as it lets us."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from umlctl.supervisor.guest import Guest

ANSWER: Final = 2.0
"""How long the kernel may take for each request, seconds."""
SYNC: Final = 5.0
"""How long an emergency sync may take, seconds."""
HALT: Final = 2.0
"""How long a halt may take, seconds."""
LOOK: Final = 0.005
"""Between two looks into the log, seconds."""


async def end(guest: Guest, seconds: float) -> None:
    """Have a guest shut itself down, or save what can be saved and halt it.

    seconds: for the guest's own shutdown
    """
    if guest.dead.is_set():
        return
    if guest.state == "stopped":
        await guest.kernel.ask("go", ANSWER)
        guest.note_running()
    handled = await guest.kernel.ask("proc sys/kernel/ctrl-alt-del", ANSWER)
    if not handled.ok:
        # It cannot be asked; where nobody handles it, the guest is reset at once.
        await _emergency(guest, "s", b"Emergency Sync complete")
    if not handled.ok or handled.data.strip() == b"0":
        await guest.kernel.ask("cad", ANSWER)
        with trio.move_on_after(seconds):
            await guest.dead.wait()
            return
        guest.late = f"it had not ended by itself within {seconds:g}s, and was halted"
    if guest.dead.is_set():
        return
    # Nobody in the guest handles it, or not in time: what can be saved, is.
    await _emergency(guest, "s", b"Emergency Sync complete")
    await _emergency(guest, "u", b"Emergency Remount complete")
    await guest.kernel.ask("halt", ANSWER)
    with trio.move_on_after(HALT):
        await guest.dead.wait()


async def _emergency(guest: Guest, letter: str, done: bytes) -> None:
    """A SysRq whose work the kernel does later: wait for its word in the log."""
    try:
        begin = os.stat(guest.log).st_size
    except OSError:
        return
    if not (await guest.kernel.ask(f"sysrq {letter}", ANSWER)).ok:
        return
    with trio.move_on_after(SYNC):
        while not guest.dead.is_set():
            try:
                with open(guest.log, "rb") as file:
                    file.seek(begin)
                    if done in file.read(1 << 20):
                        return
            except OSError:
                return  # somebody has removed the log; there is nothing to wait for
            await trio.sleep(LOOK)
