"""The parts of one life of a guest, from the launch of its kernel to its end."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import trio

from umlctl.guest.cmdline import console_elsewhere, has_agent
from umlctl.guest.command import NO_REBOOT
from umlctl.host import limits, users
from umlctl.host.paths import kept_socket
from umlctl.state import endings, records
from umlctl.state.umid_lock import kernel_socket
from umlctl.supervisor.consoles.server import Consoles
from umlctl.supervisor.devices import restoring
from umlctl.supervisor.devices.table import DeviceTable
from umlctl.supervisor.kernel import FRAGILE_REASON, KernelClient
from umlctl.supervisor.kernel_socket import KernelSocket
from umlctl.supervisor.lifecycle import REBOOTING, STOPPED
from umlctl.supervisor.pauses import Pauses
from umlctl.supervisor.process import GuestProcesses
from umlctl.supervisor.shutdown import Shutdown
from umlctl.supervisor.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable

    from umlctl.supervisor.history import History
    from umlctl.supervisor.launch.launched import Launched
    from umlctl.supervisor.lifecycle import Event, Lifecycle
    from umlctl.supervisor.readiness import Milestones

TIME_TRAVEL: Final = "time-travel=ext"
"""The kernel argument that gives another program control over the guest's time."""
MAX_LOSSES: Final = 3
"""How many kernels of a guest may be lost in a row as they reboot: the next has panicked."""
HELD_INTERVAL: Final = 0.1
"""The time between two looks at whether a debugger holds the guest, seconds."""
FIRST_RECOVER_INTERVAL: Final = 0.2
MAX_RECOVER_INTERVAL: Final = 5.0
"""The time between two looks at whether a kernel in trouble is back, seconds: at first, then twice
as long each time, up to the most."""


class Life:
    """The parts of one life, and what all lives of its guest share.

    Fields:
        launched: its kernel, as it was started or adopted
        lifecycle, milestones, history: of the guest
        process: the kernel's main process
        kernel: asks the kernel
        kernel_socket: keeps the socket there through which the kernel is asked
        devices: its device table
        consoles: what it prints, and the viewers of that
        pauses: stops and resumes it
        watchdog: sees whether it is well
        shutdown: ends it in order
        log: path of its console's log
        release: the first two numbers of its kernel's version; zeros until they are known
        heard: the guest's root has sent a notification
        brings_in: the kernel has yet to be given the files of what was plugged into the one whose
            place it takes
        unwritten: the record could not be written; the copy beside the sockets holds what it lacks
    """

    def __init__(
        self,
        launched: Launched,
        lifecycle: Lifecycle,
        milestones: Milestones,
        history: History,
        handle: Callable[[Event], None],
        consoles: Consoles | None = None,
    ) -> None:
        """handle: takes what happens to the guest

        consoles: of the life before, which this one goes on with
        """
        definition, record, claim = launched.definition, launched.record, launched.claim
        self.launched = launched
        self.lifecycle = lifecycle
        self.milestones = milestones
        self.history = history
        program = definition.kernel if record.own_line else ""
        self.process = GuestProcesses(launched.pid, launched.started, program)
        self.kernel = KernelClient(
            kernel_socket(definition),
            self._trouble_changed,
            self.process.held,
            self.process.looks_stopped,
            f"{claim.directory}/reading",
            users.owner(definition.user),
            replies=launched.replies(),
        )
        if any(word.startswith(TIME_TRAVEL) for word in launched.command):
            self.kernel.fragile = FRAGILE_REASON
        kept = "" if definition.user else kept_socket(definition.umid)
        self.kernel_socket = KernelSocket(self.kernel.path, kept)
        self.log = f"{claim.records}/console.log"
        self.release = (0, 0)
        self.heard = self.unwritten = False
        self.brings_in = launched.losses > 0
        self._troubled = trio.Event()
        self.devices = DeviceTable(
            record, claim.records, self.kernel, history, self.log, self._is_stopped
        )
        self.consoles = consoles or _consoles(launched, history)
        if launched.adopted:  # an adopted guest has its consoles before it answers
            self.consoles.sync(record.devices)
        self.pauses = Pauses(lifecycle, handle, self.kernel, record, self.save)
        self.watchdog = Watchdog(
            definition,
            lifecycle,
            handle,
            history,
            self.kernel,
            self.kernel_socket,
            self.process,
            self.pauses.look,
        )
        heard = "" if record.own_line else self.log
        self.shutdown = Shutdown(
            lifecycle, handle, milestones, self.kernel, self.process, self.pauses, heard
        )

    def was_rebooting(self) -> bool:
        """Whether a kernel that has panicked was about to reboot, and had nothing else to do any
        more: it has removed its socket, and a client has told it to reboot, or it has said so
        itself."""
        seen, command = self.lifecycle, self.launched.command
        ends = seen.unwanted or seen.asked_to_end or seen.halted or seen.panic
        goes = seen.answers or seen.state == REBOOTING
        if ends or not goes or self.launched.record.own_line:
            return False
        if "noreboot" in command or NO_REBOOT in command:
            return False
        if os.path.lexists(self.kernel.path):
            return False
        if self.launched.losses_in_a_row() >= MAX_LOSSES:
            return False
        return self.kernel.resets or endings.is_rebooting(self.said())

    def said(self) -> bytes:
        """The end of what the kernel of this life has printed."""
        return endings.tail_of(self.log, self.launched.said_before)

    async def answers(self) -> None:
        """Wait until the guest is ready, or dead, or held, as by a debugger: a held guest answers
        when it is let go."""
        wanted = self.milestones
        while not (wanted.ready.is_set() or wanted.dead.is_set() or self.process.held()):
            with trio.move_on_after(HELD_INTERVAL):
                await wanted.ready.wait()

    async def save(self) -> None:
        """Write the record; if it cannot be written, the guest goes on."""
        try:
            await trio.to_thread.run_sync(records.save, self.launched.record)
            self.unwritten = False
        except (OSError, RuntimeError) as problem:
            self.unwritten = True
            self.history.add("not recorded", text=limits.explained(problem))

    async def recover_kernel(self) -> None:
        """Free the kernel whenever it does not answer, until cancelled."""
        while True:
            await self._troubled.wait()
            self._troubled = trio.Event()
            pause = FIRST_RECOVER_INTERVAL
            while self.process.held() or not await self.kernel.recover():
                await trio.sleep(pause)
                pause = min(pause * 2, MAX_RECOVER_INTERVAL)
            await restoring.remove_unsettled(self.devices)

    def _is_stopped(self) -> bool:
        return self.lifecycle.state == STOPPED

    def _trouble_changed(self, trouble: str) -> None:
        if trouble:
            self.history.add("wedged", text=trouble)
            self._troubled.set()
        else:
            self.history.add("recovered")


def _consoles(launched: Launched, history: History) -> Consoles:
    definition, claim = launched.definition, launched.claim
    return Consoles(
        claim.directory,
        claim.records,
        history,
        agent=has_agent(definition),
        elsewhere=console_elsewhere(definition),
    )
