"""The file systems of a guest, frozen as long as a snapshot of its disks is taken: nothing is on
its way to a disk then, and each is as if it had been unmounted.

The guest's program freezes them, on a slot as for a command. It thaws them when it is told to; when
this process is killed, since another one tells it then; and after a minute, whatever happens here.
"""

from __future__ import annotations

import array
import fcntl
import os
import select
import termios
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from umlctl.errors import HostError, Refused
from umlctl.execution import feed, running
from umlctl.execution.if_killed import if_killed
from umlctl.guest import command as commands
from umlctl.host import paths
from umlctl.protocol.control_line import Lines, line

if TYPE_CHECKING:
    from collections.abc import Callable

    from umlctl.execution.running import Handed
    from umlctl.execution.session import Wires
    from umlctl.protocol.control_line import Said

HEARD_TIMEOUT: Final = 0.5
"""How long a shell may take to read what it is to begin, seconds: where none reads, no program can
be begun."""
FREEZE_TIMEOUT: Final = 15.0
"""How long a guest may take to freeze all, with what it has to write before, seconds."""
THAW_TIMEOUT: Final = 15.0
"""How long it may take to thaw all, seconds."""
FROZEN_SECONDS: Final = 30.0
"""What is frozen is so for as long at least, seconds: the guest thaws after a minute."""
LOOK_INTERVAL: Final = 0.02
"""The time between two looks at whether the guest has ended, seconds."""


class Frozen:
    """The file systems of a guest, from when they are frozen until they are thawed.

    Fields:
        missed: how many could not be
        since: when they were, by the monotonic clock
        left: it was not heard that they are thawed
    """

    def __init__(self, umid: str) -> None:
        """Have them frozen.

        Raises: NoGuest; Refused: nobody there can; NeverStarted; HostError; OSError
        """
        self.missed = 0
        self.since = 0.0
        self.left = False
        self._held = ExitStack()
        try:
            self._freeze(umid)
        except BaseException:
            self._held.close()
            raise

    def _freeze(self, umid: str) -> None:
        directory = paths.guest_dir(umid)
        running.check_takes_commands(umid, directory)
        hold = self._held.enter_context
        slot = hold(running.slot_for(umid, directory, timeout=HEARD_TIMEOUT))
        files = hold(ExitStack())
        handed = files.enter_context(running.handing(umid, directory))
        wires = hold(running.wires_of(slot))
        hold(if_killed(running.END, slot.path("tell")))
        ended = hold(running.losing(umid))

        def end() -> None:
            running.tell_end(wires)
            # It hears that later, too: a guest that stands still has it before it.
            self.left = not running.hears_over(wires.hear, THAW_TIMEOUT)
            if not self.left:
                running.leave(slot)

        shell = running.shell_of(directory)
        try:
            _await_reader(umid, shell, ended)  # else more and more would be left there
        except Refused:
            running.leave(slot)
            raise
        running.begin(umid, directory, slot, handed)
        try:
            said = _said(umid, shell, wires, handed, ended)
        except BaseException:
            files.close()  # without its files, the program is not begun any more
            if _has_unread(shell):
                running.tell_end(wires)
                running.leave(slot)
            else:
                running.end_program(slot, wires)
            raise
        self._held.callback(end)
        self.missed = said.numbers[1]
        self.since = time.monotonic()

    def thaw(self) -> None:
        """Have them thawed."""
        self._held.close()


def _await_reader(umid: str, shell: str, ended: Callable[[], bool]) -> None:
    """Wait until a shell has read what it was told before.

    Raises: Refused: none does
    """
    end = time.monotonic() + HEARD_TIMEOUT
    while _has_unread(shell):
        if ended() or time.monotonic() >= end:
            raise Refused(f"{umid} has nobody to freeze its file systems")
        time.sleep(LOOK_INTERVAL)


def _said(umid: str, shell: str, wires: Wires, handed: Handed, ended: Callable[[], bool]) -> Said:
    """What the guest says when all is frozen.

    shell: of `running.shell_of`

    Raises: Refused
    """
    lines = Lines()
    poll = select.poll()
    poll.register(wires.hear, select.POLLIN)
    begun = time.monotonic()
    is_up = False
    while (waited := time.monotonic() - begun) < FREEZE_TIMEOUT:
        if ended():
            raise Refused(f"{umid} has ended, or was rebooted")
        if waited >= HEARD_TIMEOUT and not is_up and _has_unread(shell):
            raise Refused(f"{umid} has nobody to freeze its file systems")
        if not poll.poll(LOOK_INTERVAL * 1000):
            continue
        data = os.read(wires.hear, 1 << 14)
        if not data:
            raise Refused(f"{umid} has ended")
        for said in lines.feed(data):
            if said.word == "up" and not is_up:
                is_up = True
                _write_steps(handed)
                os.write(wires.tell, line("go"))
            elif said.word == "frozen":
                return said
            elif said.word in ("failed", "over"):
                raise Refused(f"{umid} cannot freeze its file systems")
    raise Refused(f"{umid} has not frozen its file systems within {FREEZE_TIMEOUT:g} seconds")


def _write_steps(handed: Handed) -> None:
    encoded = commands.encode_for_shell if handed.is_script else commands.encode
    feed.write(handed.directory, commands.STEPS, encoded(commands.steps_to_freeze()))


def _has_unread(fifo: str) -> bool:
    """Whether something is in a FIFO that nobody has read.

    Raises: HostError
    """
    try:
        descriptor = os.open(fifo, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            count = array.array("i", [0])
            fcntl.ioctl(descriptor, termios.FIONREAD, count)
        finally:
            os.close(descriptor)
    except OSError as problem:
        raise HostError(f"{fifo}: {problem.strerror}") from problem
    return count[0] > 0
