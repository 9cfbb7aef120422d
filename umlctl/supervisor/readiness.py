"""Whether a guest can be asked: what can be waited for, and the requests that wait.

Requests to a guest that boots or reboots are held, with signs of life, until it is ready. A kernel
has its socket long before it can take a request without harm. While it reboots, it has none for a
while. Clients need not know.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

import trio

from socketproto.listener import ClientGone
from umlctl.errors import Refusal
from umlctl.supervisor.rate_limits import MAX_SUBSCRIPTIONS, KeyedCounter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from socketproto.listener import Call

HEARTBEAT_INTERVAL: Final = 1.0
"""The time between two signs of life to a client that waits, seconds."""
REBOOT_TIMEOUT: Final = 2.0
"""How long it may take to see that a kernel whose socket is gone ends or reboots, seconds."""
LOOK_INTERVAL: Final = 0.01
"""The time between two looks at that, seconds."""
SOCKET_LOOK_INTERVAL: Final = 0.1
"""The time between two later looks at whether the kernel has a socket again, seconds."""


async def patiently(
    call: Call, work: Callable[[], Awaitable[None]], news: bytearray | None = None
) -> None:
    """Do the work to its end, and give the client signs of life as long as it is there.

    news: what the work has to say so far; what is sent is taken out

    Raises: what the work does
    """
    call.step_aside()
    said = bytearray() if news is None else news
    done = trio.Event()
    failed: list[Exception] = []

    async def finish() -> None:
        try:
            await work()
        except Exception as problem:  # noqa: BLE001 - it is raised below, and not as a group
            failed.append(problem)
        done.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(finish)
        gone = False
        while not done.is_set():
            with trio.move_on_after(HEARTBEAT_INTERVAL):
                await done.wait()
            if not done.is_set() and not gone:
                part = bytes(said)
                said.clear()
                try:
                    await call.part(part)
                except ClientGone:
                    gone = True
    if failed:
        raise failed[0]


class Milestones:
    """What can be waited for in the lives of a guest. The first three begin anew with each life.

    Fields:
        ready: set while requests can be answered, and once the guest is dead; anew with each reboot
        up: set once the guest's first process has begun, as far as can be known
        dead: set when the guest has ended, and nothing of this life is left
        unwanted: set when a user has ended the guest
        over: set when the guest has ended for good, and is not started again
    """

    def __init__(self) -> None:
        self.unwanted = trio.Event()
        self.over = trio.Event()
        self.begin()

    def begin(self) -> None:
        """Begin another life."""
        self.ready = trio.Event()
        self.up = trio.Event()
        self.dead = trio.Event()

    def mark_rebooting(self) -> None:
        """Note that requests cannot be answered until the guest is ready again. Who waits for that
        already waits on."""
        if self.ready.is_set():
            self.ready = trio.Event()

    def mark_dead(self) -> None:
        """Wake all that wait for something of this life."""
        self.ready.set()
        self.up.set()
        self.dead.set()


class Readiness:
    """Holds the requests of one guest's clients.

    Fields:
        patience: how long a request is held at most, seconds: as long as a boot may take
    """

    def __init__(self, milestones: Milestones, patience: float) -> None:
        self.patience = patience
        self._milestones = milestones
        self._held = KeyedCounter(*MAX_SUBSCRIPTIONS)

    async def wait(self, call: Call, deadline: float) -> bool:
        """Hold a request until its guest is ready, or has ended; False if neither by the deadline.

        deadline: by trio's clock

        Raises: ClientGone; Refusal: too many are held
        """
        if self._milestones.ready.is_set():
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
                with trio.move_on_at(min(deadline, trio.current_time() + HEARTBEAT_INTERVAL)):
                    await self._milestones.ready.wait()
                if self._milestones.ready.is_set():
                    return True
                await call.part()
            return False
        finally:
            self._held.give_back(keys)

    async def comes_again(self, boots: Callable[[], bool]) -> bool:
        """Whether the guest begins to boot again, after the kernel's socket was gone.

        boots: whether the kernel lives without a socket. Such a kernel ends, or will say that it
            has one; that is waited for as long as a boot may take, since a busy host may let the
            kernel stand still.
        """
        milestones = self._milestones
        with trio.move_on_after(self.patience):
            end = trio.current_time() + REBOOT_TIMEOUT
            while milestones.ready.is_set() and not milestones.dead.is_set():
                if trio.current_time() < end:
                    await trio.sleep(LOOK_INTERVAL)
                elif boots():
                    await trio.sleep(SOCKET_LOOK_INTERVAL)
                else:
                    break
        return not milestones.ready.is_set()
