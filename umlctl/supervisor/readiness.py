"""Requests to a guest that boots or reboots: they are held, with signs of life, until it is ready.

A kernel has its socket long before it can take a request without harm, and has none for a while
when it reboots. Clients need not know.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

import trio

from umlctl.errors import Refusal
from umlctl.supervisor.limits import SUBSCRIPTIONS, Counted

if TYPE_CHECKING:
    from socketproto.listener import Call
    from umlctl.supervisor.guest import Guest

HEARTBEAT: Final = 1.0
"""Between two signs of life to a client that waits, seconds."""
MOMENT: Final = 2.0
"""A kernel whose socket is gone ends or reboots: how long that may take to be seen, seconds."""
LOOK: Final = 0.01
"""Between two looks whether it does, seconds."""


class Readiness:
    """Holds the requests of one guest's clients."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest
        self._held = Counted(*SUBSCRIPTIONS)

    @property
    def patience(self) -> float:
        """How long a request is held at most, seconds: as long as a boot may take."""
        return self._guest.launched.definition.timeout

    async def wait(self, call: Call, deadline: float) -> bool:
        """Hold a request until its guest is ready, or has ended; False: not by the deadline.

        deadline: by trio's clock

        Raises: ClientGone; Refusal: too many are held
        """
        if self._guest.ready.is_set():
            return True
        keys = (call.uid, call.pid), call.uid, None
        if not self._held.take(keys):
            raise Refusal(
                "the guest boots, and too many requests wait until it is ready; try again",
                -errno.EBUSY,
            )
        try:
            call.step_aside()
            while trio.current_time() < deadline:
                with trio.move_on_at(min(deadline, trio.current_time() + HEARTBEAT)):
                    await self._guest.ready.wait()
                if self._guest.ready.is_set():
                    return True
                await call.part()
            return False
        finally:
            self._held.give_back(keys)

    async def comes_again(self) -> bool:
        """The kernel's socket was gone: whether the guest begins to boot again."""
        guest = self._guest
        with trio.move_on_after(MOMENT):
            while guest.ready.is_set() and not guest.dead.is_set():  # noqa: ASYNC110
                await trio.sleep(LOOK)
        return not guest.ready.is_set()
