"""The main process of a guest's kernel, and the processes that belong to it."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import trio

from umlctl.host import exit_status, processes

if TYPE_CHECKING:
    from umlctl.supervisor.kernel_socket import KernelSocket

LOOK_INTERVAL: Final = 0.005
"""Between two looks at whether the kernel waits in `stop`, seconds."""
REAPED_TIMEOUT: Final = 0.5
"""How long the parent of a kernel may take to see how that has ended, seconds."""
RUNNING_CPU_SECONDS: Final = 0.05
"""A kernel that has had so much CPU time, and is not seen to wait, does not, seconds."""


class GuestProcesses:
    """The processes of one life of a guest.

    Fields:
        pid: of the main process, which leads the group of all but some helpers
        started: its start time, clock ticks since the host's boot
        gone: all of them have ended, so that none is looked at any more
        status: how the main process ended, as a shell says it; None if that is not known
    """

    def __init__(self, pid: int, started: int, program: str = "") -> None:
        """program: the kernel's path, where processes of others may be in its group"""
        self.pid = pid
        self.started = started
        self._program = program
        self.gone = False
        self.status: int | None = None
        self._descriptor = -1
        self._held: processes.Held | None = None
        self._helpers: dict[int, int] = {}

    async def await_end(self) -> None:
        """Wait until the main process has ended."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            if processes.alive(self.pid, self.started):
                self._descriptor = descriptor
                await trio.lowlevel.wait_readable(descriptor)
                if self._program:  # its parent is no tiny parent of ours
                    self.kill()
                    await self._ask_status(descriptor)
        finally:
            self._descriptor = -1
            os.close(descriptor)

    async def _ask_status(self, descriptor: int) -> None:
        """See how the main process has ended, once its parent has, on a host that tells."""
        with trio.move_on_after(REAPED_TIMEOUT), suppress(OSError):
            while (status := exit_status.of(descriptor)) is None:  # noqa: ASYNC110 - nobody tells
                await trio.sleep(LOOK_INTERVAL)
            self.status = status

    def held(self) -> processes.Held | None:
        """What keeps the main process from running, such as a debugger; None if nothing does."""
        if self.gone:
            return None
        with suppress(OSError):  # then the answer is what was seen last
            self._held = processes.held(self.pid)
        return self._held

    def looks_stopped(self) -> bool:
        """Whether the host sees the kernel wait in `stop`, whatever the kernel says."""
        return processes.looks_stopped(self.pid) is True

    async def is_stopped(self) -> bool:
        """The same, once what the kernel was asked is done: until then one that is stopped looks
        as if it ran, which is long where the host lets it stand still."""
        used = processes.cpu_seconds(self.pid)
        while not self.looks_stopped():
            now = processes.cpu_seconds(self.pid)
            runs = used is None or now is None or now - used >= RUNNING_CPU_SECONDS
            if runs or self.held() or processes.rests_elsewhere(self.pid):
                return False
            await trio.sleep(LOOK_INTERVAL)
        return True

    def signal(self, number: int) -> None:
        """Send a signal to the main process; never SIGKILL, see `kill`."""
        if self._descriptor >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, number)

    def find_helpers(self) -> None:
        """Remember the helpers that a signal to the group would miss: after the end of the main
        process nobody could tell whose they were."""
        with suppress(OSError):  # for want of a descriptor: there are few, and they rarely change
            self._helpers.update(processes.outside_group(self.pid))

    def kill(self) -> None:
        """Kill all processes of the guest, also the helpers that were found."""
        if self._program:
            processes.kill_members(self.pid, self._program)
            return
        processes.kill_guest(self.pid, self.started, self._live_helpers())

    def end_traced(self, socket: KernelSocket | None) -> None:
        """End the processes in which a kernel runs those of its guest, as it resets or has done so.

        It does so itself, but may overlook one that begins or ends just then. That has the kernel's
        files, so the next kernel would find its disks locked by itself. Seen on 6.1. What shares no
        memory with the kernel is of one before it.

        socket: of the kernel that resets: what is traced as long as that is open is none of the
            next kernel's; None: the next kernel has begun
        """
        with suppress(OSError):
            found = [
                seen
                for pid in processes.descendants(self.pid)
                if (seen := processes.look(pid)) and processes.is_thread(seen.tracer, self.pid)
            ]
            resets = socket is not None and socket.is_of_this_boot(self.pid)
            memory = processes.shared_memory(self.pid) if found else set()
            for seen in found:
                has = processes.shared_memory(seen.pid)
                if resets or (memory and has and not has & memory):
                    os.kill(seen.pid, signal.SIGKILL)

    def _live_helpers(self) -> list[int]:
        alive = []
        for pid, started in self._helpers.items():
            with suppress(OSError):
                alive += [pid] if processes.alive(pid, started) else []
        return alive
