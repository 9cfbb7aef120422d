"""What the kernel of a guest notifies: its socket, a panic, a watchdog that was not fed, and any
text that the guest's root sends.
"""

from __future__ import annotations

import os
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import trio

from socketproto.wire import HANG, PANIC, SOCKET, USER, Notification, WireError
from umlctl.protocol.status import LATE_PANIC
from umlctl.state import console_log
from umlctl.supervisor.endurance import endure
from umlctl.supervisor.lifecycle import HasSocket, KillWanted, Panicked, RebootLost
from umlctl.supervisor.rate_limits import NotificationLimit
from umlctl.supervisor.relayed import Relayed

if TYPE_CHECKING:
    from collections.abc import Callable

    from umlctl.supervisor.life import Life
    from umlctl.supervisor.lifecycle import Event

EXIT_TIMEOUT: Final = 3.0
"""How long a panicking kernel may take to exit, seconds."""
MAX_READ_AT_ONCE: Final = 64
"""How many notifications are read in a row."""
USERSPACE_TEXT: Final = "userspace is up"
"""What umlctl's own init program notifies."""


class Notifications:
    """The notifications of one life."""

    def __init__(self, life: Life, handle: Callable[[Event], None]) -> None:
        """handle: takes what happens to the guest"""
        self._life = life
        self._handle = handle
        self._hearing = NotificationLimit(life.history)
        self._unheard: deque[Notification] = deque()
        self._relayed = Relayed(life.launched.record)

    async def hear(self, nursery: trio.Nursery) -> None:
        """Take every notification at once: an unread one freezes the guest. A guest whose root
        sends them without end may wait a little: that freezes no other guest.

        nursery: for what follows of a panic
        """
        while True:
            taken = self._read()
            reboots = 0
            while self._unheard:
                notification = self._unheard.popleft()
                if notification.kind == SOCKET:
                    reboots += 1
                    self._has_socket(os.fsdecode(notification.data))
                elif notification.kind == PANIC:
                    nursery.start_soon(endure, self._life.history, "panic", self._see_it_die)
                    self._hear_panic(_text(notification))
                elif notification.kind == USER:
                    self._note_said(notification)
                elif notification.kind == HANG:
                    self._life.watchdog.mark_unfed()
            await trio.sleep(self._hearing.wait(trio.current_time(), taken, reboots))
            with trio.move_on_after(self._relayed.wait()), suppress(trio.ClosedResourceError):
                # Closed: another socket has taken its place.
                await trio.lowlevel.wait_readable(self._life.launched.notify)

    def take_rest(self) -> None:
        """Take what the kernel notified before it ended."""
        self._read()
        while self._unheard:
            notification = self._unheard.popleft()
            if notification.kind == PANIC:
                self._hear_panic(_text(notification))
            elif notification.kind == SOCKET:
                self._life.lifecycle.had_socket = True
            elif notification.kind == USER:
                self._note_said(notification)

    def _hear_panic(self, text: str) -> None:
        if text == LATE_PANIC and self._life.was_rebooting():
            self._handle(RebootLost(text=text))
        else:
            self.note_panic(text)

    def note_panic(self, text: str) -> None:
        """Note that the kernel has panicked."""
        self._life.launched.record.last_panic = text
        console = console_log.last_of(self._life.log)
        self._handle(Panicked(text=text, facts={"console": console}))

    def _read(self) -> int:
        """Read what notifications there are, which may be none; return how many datagrams."""
        for taken in range(MAX_READ_AT_ONCE):
            try:
                datagram = self._life.launched.notify.recv(1024)
            except BlockingIOError:
                return taken
            self._relayed.hand_on(datagram)
            with suppress(WireError):
                self._unheard.append(Notification.decode(datagram))
        return MAX_READ_AT_ONCE

    def _has_socket(self, path: str) -> None:
        life = self._life
        if path != life.kernel.path:
            # The kernel found the name in use after all and took a random one.
            life.lifecycle.had_socket = True
            why = f"the kernel took another name: its socket is {path}"
            self._handle(KillWanted(why=why, by_policy=True))
            return
        life.kernel_socket.look_at_new()
        self._handle(HasSocket())

    def _note_said(self, notification: Notification) -> None:
        said = _text(notification).strip()
        self._life.heard = True
        self._hearing.note(said, trio.current_time())
        if said == USERSPACE_TEXT:
            self._life.milestones.up.set()

    async def _see_it_die(self) -> None:
        await trio.sleep(EXIT_TIMEOUT)
        self._handle(KillWanted(why="panicked and did not exit", by_policy=True))


def _text(notification: Notification) -> str:
    return notification.data.decode("utf-8", "replace")
