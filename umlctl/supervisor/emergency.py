"""SysRq requests whose work a guest's kernel does later: its log says when it is done."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import trio

from umlctl.state.endings import NOT_SYNCED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from socketproto.exchange import Outcome

    Ask = Callable[[str], Awaitable[Outcome]]

NOT_SEEN: Final = "not seen to sync"
SYNC: Final = ("s", b"Emergency Sync complete")
REMOUNT: Final = ("u", b"Emergency Remount complete")
SYNC_TIMEOUT: Final = 5.0
"""How long an emergency sync may take, seconds."""
LOOK_INTERVAL: Final = 0.005
"""The time between two looks into the log, seconds."""


async def emergency(
    what: tuple[str, bytes], ask: Ask, log: str, is_dead: Callable[[], bool] = lambda: False
) -> str:
    """Send a SysRq, and wait for the kernel's word that it is done.

    what: SYNC or REMOUNT
    ask: asks the kernel
    log: of the guest's console; empty if nobody here has it, so that the work is given its time

    Returns: what went wrong; empty if its word was seen
    """
    letter, done = what
    begin = _size(log) if log else 0
    asked = await ask(f"sysrq {letter}")
    if not asked.ok:
        return lost(str(asked))
    gone = f"{NOT_SEEN}: its console's log is gone, which would say so"
    if begin < 0:
        return gone
    with trio.move_on_after(SYNC_TIMEOUT):
        while not is_dead():
            try:
                if log and done in _read(log, begin):
                    return ""
            except OSError:
                return gone
            await trio.sleep(LOOK_INTERVAL)
    if not log:
        return f"{NOT_SEEN}: its console, which would say so, is that of who started it as `linux`"
    return f"{NOT_SEEN}: its console did not say so within {SYNC_TIMEOUT:g} seconds"


def lost(why: str) -> str:
    return f"{NOT_SYNCED}: {why}"


def _read(path: str, begin: int) -> bytes:
    with open(path, "rb") as file:
        file.seek(begin)
        return file.read(1 << 20)


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return -1
