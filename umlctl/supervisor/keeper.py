"""What a running guest needs in the run directory, made anew when a program that cleans up /tmp, or
a user, removes it.

The guest does not notice: its kernel has open what it needs. But no client would find the guest any
more, and its next reboot would not find its init program.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import trio

from umlctl.guest.confinement import OFF
from umlctl.guest.definition import is_shared
from umlctl.host import paths, place, processes, shared_socket
from umlctl.protocol import console_socket
from umlctl.state import records
from umlctl.supervisor.kernel import QUIET_QUESTION
from umlctl.supervisor.launch import hiding
from umlctl.supervisor.launch.place import make_again

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from umlctl.supervisor.door import Door
    from umlctl.supervisor.life import Life

LOOK_INTERVAL: Final = 0.5
"""The time between two looks at whether all is there, seconds."""
HIDE_INTERVAL: Final = 2.0
"""The least time between two looks at whether all is hidden, seconds: where much is made beside
what is secret, as in /tmp, there would be many."""


class Keeper:
    """Keeps the directories of one guest."""

    def __init__(self, life: Callable[[], Life], doors: Sequence[Door]) -> None:
        """life: the life that the guest is in; doors: its sockets for clients"""
        self._life = life
        self._doors = doors
        self._seen: tuple[object, ...] = ()
        self._hidden: tuple[object, ...] = ()
        self._hide_next = 0.0
        self._problem = ""
        self._socket_gone = False

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        if self._life().launched.adopted:
            self._socket_gone = True
            # What removed all that may have left the guest without its supervisor.
            await self._look()
        while True:
            await trio.sleep(LOOK_INTERVAL)
            if self._goes_on(self._life()):
                await self._look()

    def _goes_on(self, life: Life) -> bool:
        """Whether a life is the guest's, and its kernel is to go on."""
        seen = life.lifecycle
        return life is self._life() and seen.ending is None and not seen.reboot_lost

    async def _look(self) -> None:
        """Make anew what is missing; do nothing as long as nothing has changed."""
        life = self._life()
        try:
            place.keep()
            sight = self._sight()
            made, problem = [] if sight == self._seen else await self._make(), ""
            made += self._hide() if self._goes_on(life) else []
        except Exception as failed:  # noqa: BLE001 - the guest goes on without
            sight, made, problem = (), [], str(failed)
        if made:
            self._life().history.add("restored", text=", ".join(made))
        if problem and problem != self._problem:
            self._life().history.add("failed", request="restore", text=problem)
        self._problem = problem
        # The program that removes files may not be done yet: all is there only once nothing was
        # missing.
        self._seen = () if problem or made or self._socket_gone else sight

    def _sight(self) -> tuple[object, ...]:
        """A value that changes whenever something is removed."""
        life = self._life()
        definition, claim = life.launched.definition, life.launched.claim
        kernel = os.path.dirname(life.kernel.path)
        looked_at = [claim.directory, f"{claim.directory}.lock", kernel, claim.public.link]
        looked_at.append(os.path.realpath(kernel))  # that of a confined kernel is elsewhere
        looked_at += [os.path.dirname(door.path) for door in self._doors[1:]]
        if definition.user:
            looked_at.append(paths.open_dir(definition.umid))
        return tuple(map(_identity, looked_at))

    async def _make(self) -> list[str]:
        """Make what is missing; return its names.

        Raises: OSError, UmlctlError
        """
        life = self._life()
        made = self._make_places(life)
        made += await self._name_socket(life)
        if self._goes_on(life):
            self._make_found(life)
        return made

    def _make_places(self, life: Life) -> list[str]:
        """Raises: OSError, UmlctlError"""
        launched, claim = life.launched, life.launched.claim
        umid = launched.definition.umid
        made = []
        paths.make_run_dir()
        os.makedirs(claim.directory, 0o700, exist_ok=True)
        if claim.restore():
            made.append("locks")
        if is_shared(launched.definition):
            shared_socket.make_place(umid)
        made += [door.path for door in self._doors if door.restore()]
        make_again(launched.record, claim.directory)
        if launched.is_deaf():
            deaf = launched.listen_again()
            # A task that waits on the old one then waits on the new one.
            trio.lowlevel.notify_closing(deaf)
            deaf.close()
            made.append("notify")
        made += life.consoles.restore()
        return made + self._link_consoles()

    def _make_found(self, life: Life) -> None:
        """Have the guest be found by who looks for it.

        Raises: OSError, UmlctlError
        """
        launched = life.launched
        if not os.path.exists(records.copy_of(launched.definition.umid)):
            records.save_copy(launched.record)
        public = launched.claim.public
        with suppress(OSError):  # a failure was told when the guest was started
            if not os.path.lexists(public.link):
                public.publish(launched.pid)

    async def _name_socket(self, life: Life) -> list[str]:
        """Look at the kernel's socket; return its name, if that was gone and is made anew.

        A kernel that ends or reboots removes the name itself. It would leave what is made then, as
        one that was killed does, or could not make its next. So the name has to be gone at two
        looks, and the kernel has to answer all the same.
        """
        socket, kernel = life.kernel_socket, life.kernel
        was_gone, self._socket_gone = self._socket_gone, not socket.is_there()
        lost = self._socket_gone and was_gone and not kernel.busy
        if lost:
            lost = await socket.hears(QUIET_QUESTION, kernel.owner, kernel.replies)
            lost = lost and self._goes_on(life)
        if (self._socket_gone and not lost) or not socket.look():
            return []
        self._socket_gone = False
        return [socket.path]

    def _hide(self) -> list[str]:
        """Cover what the kernel sees by now and is not to see; return what that was."""
        launched = self._life().launched
        record = launched.record
        if not record.binds or record.confined in ("", OFF):
            return []
        sight = hiding.sight(record.definition)
        if sight and sight == self._hidden:
            return []
        if trio.current_time() < self._hide_next:
            return []
        self._hide_next = trio.current_time() + HIDE_INTERVAL
        covered = hiding.hide_again(record, launched.command, age=LOOK_INTERVAL)
        self._hidden = sight
        return [f"mask of {path}" for path in covered]

    def _link_consoles(self) -> list[str]:
        """Link what consoles read from. The kernel has it open, and there it still is."""
        launched = self._life().launched
        directory = launched.claim.directory
        names = [f"{name}.in" for name in (*console_socket.CONSOLES, "agent")]
        missing = [name for name in names if not os.path.lexists(f"{directory}/{name}")]
        opened = processes.descriptors(launched.pid) if missing else {}
        made = []
        for name in missing:
            descriptor = opened.get(f"{directory}/{name} (deleted)")
            if descriptor is not None:
                os.symlink(descriptor, f"{directory}/{name}")
                made.append(name)
        return made


def _identity(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns
