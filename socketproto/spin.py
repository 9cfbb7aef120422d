"""Waiting for what is due at once, without giving way to the other tasks of this process.

When a client, the supervisor and the kernel take turns on a machine with idle processors, most of a
round trip is spent waking each other: a processor that has gone to sleep needs longer to wake than
the answer takes. So for a moment this process stays awake, and offers its processor to any process
that wants it, such as a client or a kernel on the same one. If another process then keeps the
processor for long, the machine is busy. Then sleeping is right for a while: a process that sleeps
comes first when it wakes.
"""

from __future__ import annotations

import os
from select import select
from time import monotonic
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import _socket

FD_SETSIZE: Final = 1024
"""select(2) takes lower descriptors only; poll(2) would wait whole milliseconds."""
CROWDED_SECONDS: Final = 0.0005
"""A process that keeps the processor for longer has work of its own, seconds."""
RESPITE_SECONDS: Final = 1.0
"""How long the processor is not offered after that, seconds."""


class _Host:
    """What is known of this machine: until when it counts as busy."""

    busy_until = 0.0


def readable_soon(sock: _socket.socket, seconds: float) -> bool:
    """Whether there is something to read within a moment: `seconds` is a fraction of 0.001."""
    if sock.fileno() >= FD_SETSIZE:
        return False
    waiting = (sock,)
    now = monotonic()
    deadline = now + seconds
    while not select(waiting, (), (), 0)[0]:
        if now >= deadline:
            return False
        if now < _Host.busy_until:
            return bool(select(waiting, (), (), deadline - now)[0])
        os.sched_yield()
        before, now = now, monotonic()
        if now - before > CROWDED_SECONDS:
            _Host.busy_until = now + RESPITE_SECONDS
    return True
