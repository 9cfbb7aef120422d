"""Whether the kernel of a life is ready, for the first time and after each reboot.

The notification SOCKET says only that the kernel has a socket. A disk added right then panics the
kernel. So a guest is ready when its root is mounted, which comes after all drivers have started. A
guest with an initramfs is ready when its block driver has started.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from socketproto.exchange import GONE, TIMED_OUT
from umlctl.guest.cmdline import has_agent
from umlctl.kernels import find
from umlctl.state import endings
from umlctl.supervisor.devices import restoring
from umlctl.supervisor.devices.rediscover import UNTRACED, find_again
from umlctl.supervisor.endurance import endure
from umlctl.supervisor.kernel import QUIET_QUESTION, KernelClient
from umlctl.supervisor.kernel_socket import UNREACHABLE
from umlctl.supervisor.lifecycle import (
    BOOTING,
    REBOOTING,
    KillWanted,
    Ready,
    ReadyStopped,
    RebootedUnseen,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from socketproto.exchange import Outcome
    from umlctl.supervisor.life import Life
    from umlctl.supervisor.lifecycle import Event

LOOK_INTERVAL: Final = 0.005
"""The time between two looks at whether a booting guest is ready, seconds."""
ROOT_TIMEOUT: Final = 2.0
"""How long a guest whose drivers are up may take to mount its root before it counts as ready,
seconds."""
INIT_LOOK_INTERVAL: Final = 0.1
"""The time between two looks at whether an init program has begun, seconds."""
ANSWER_TIMEOUT: Final = 1.0
"""How long a kernel that boots may take for one answer, seconds."""
BOOT_ID_QUESTION: Final = "proc sys/kernel/random/boot_id"


class Boot:
    """The boots of one life."""

    def __init__(self, life: Life, handle: Callable[[Event], None]) -> None:
        """handle: takes what happens to the guest"""
        self._life = life
        self._handle = handle
        self._begun = trio.Event()

    def begin_reboot(self) -> None:
        """The kernel reboots."""
        self._begun.set()
        self._begun = trio.Event()

    async def await_ready(self, scope: trio.CancelScope) -> None:
        """See when the kernel that boots now is ready, and say so.

        scope: cancelled when the kernel boots again meanwhile
        """
        life = self._life
        lost = life.lifecycle.known and not life.kernel_socket.is_there()
        if lost and life.lifecycle.state == BOOTING:
            self._is_ready()
            life.kernel.mark_gone(UNREACHABLE)
            life.watchdog.mark_unreachable(UNREACHABLE)
            return
        with scope:
            see = self._hear_of_init if life.kernel.fragile else self._get_ready
            await endure(life.history, "boot", see)

    async def enforce_timeout(self) -> None:
        """End a guest whose first boot takes too long, unless it is held, as by a debugger."""
        seconds = self._life.launched.definition.timeout
        while True:
            with trio.move_on_after(seconds):
                await self._life.milestones.ready.wait()
                return
            if not self._life.process.held():
                break
        self._handle(KillWanted(why=f"not ready within {seconds:g} seconds", by_policy=True))

    async def note_boots(self) -> None:
        """Write down which boot this is, for the supervisor that may have to adopt the guest."""
        life = self._life
        record = life.launched.record
        while True:
            ready = life.milestones.ready
            await ready.wait()
            boot = await life.kernel.ask(BOOT_ID_QUESTION)
            said = (await life.kernel.ask("version")).text.split()
            life.release = find.release_of(said[2]) if len(said) > 2 else (0, 0)
            if boot.ok and boot.text.strip() != record.guest_boot:
                record.guest_boot = boot.text.strip()
                await life.save()
            while life.milestones.ready is ready:
                await self._begun.wait()

    def _is_ready(self, *, stopped: bool = False) -> None:
        launched = self._life.launched
        event = ReadyStopped if stopped or self._life.process.looks_stopped() else Ready
        self._handle(event(facts={"pid": launched.pid}))
        if launched.adopted or not has_agent(launched.definition):
            self._life.milestones.up.set()

    async def _hear_of_init(self) -> None:
        """Wait for the init program: a kernel that cannot be asked is ready when that has begun."""
        life = self._life
        while not (life.milestones.up.is_set() or endings.init_began(life.log)):  # noqa: ASYNC110
            await trio.sleep(INIT_LOOK_INTERVAL)
        life.consoles.sync(life.devices.entries)
        self._is_ready()

    async def _get_ready(self) -> None:
        life = self._life
        kernel = KernelClient(
            life.kernel.path,
            lambda _trouble: None,
            stopped=life.process.looks_stopped,
            owner=life.kernel.owner,
            replies=life.kernel.replies,
        )
        again = life.lifecycle.state == REBOOTING
        if again:
            await restoring.renew(life.devices)
        if again and life.brings_in:
            await restoring.bring_in_again(life.devices)
            life.brings_in = False
        await self._await_root(kernel, again=again)
        if life.launched.adopted and not again:
            again = await self._catch_up(kernel)
        await restoring.after_boot(life.devices, kernel, again=again)
        life.consoles.sync(life.devices.entries)
        stopped = life.launched.adopted and await life.process.is_stopped()
        if not life.milestones.ready.is_set():
            self._is_ready(stopped=stopped)

    async def _await_root(self, kernel: KernelClient, *, again: bool) -> None:
        """Wait until the guest has mounted its root, or need not.

        again: the guest reboots
        """
        drivers_up = None
        while True:
            mounts = await kernel.ask("proc mounts", ANSWER_TIMEOUT)
            if mounts.ok and root_is_mounted(mounts.data):
                break
            if drivers_up is None:
                devices = await kernel.ask("proc devices", ANSWER_TIMEOUT)
                if devices.ok and b" 98 ubd" in devices.data:
                    drivers_up = trio.current_time()
            elif mounts.kind not in (TIMED_OUT, GONE) and (
                self._has_initramfs() or trio.current_time() > drivers_up + ROOT_TIMEOUT
            ):
                break
            if mounts.kind == TIMED_OUT and not again:
                await self._adopt_wedged(kernel)
            kernel.mark_back()
            await trio.sleep(LOOK_INTERVAL)

    async def _adopt_wedged(self, kernel: KernelClient) -> None:
        """See whether an adopted guest is ready though its kernel is stuck. A guest that was ready
        before its supervisor was killed still is: the stuck kernel is its trouble, and what can
        still be asked may be asked."""
        life = self._life
        was_ready = life.launched.adopted and life.launched.record.guest_boot
        if not was_ready or life.milestones.ready.is_set() or life.process.held():
            return
        if not await kernel.recover():
            self._is_ready()
            life.kernel.mark_stuck(kernel.trouble)

    async def _catch_up(self, kernel: KernelClient) -> bool:
        """See what has become of a guest while no supervisor looked; True if it has rebooted."""
        life = self._life
        record = life.launched.record
        if await life.process.is_stopped():
            # A request of the last supervisor may wait in the kernel, and make it keep the next.
            await kernel.ask(QUIET_QUESTION, ANSWER_TIMEOUT)
        boot = await self._ask_which_boot(kernel)
        if boot.ok and record.guest_boot and boot.text.strip() != record.guest_boot:
            self._handle(RebootedUnseen())
            await restoring.renew(life.devices)
            return True
        if life.kernel.mark.clear() and await life.process.is_stopped():
            await kernel.ask("go")  # the last supervisor was killed while it read a file
        if life.launched.lost:
            for name in await find_again(record, kernel):
                life.history.add("device lost", device=name, text=UNTRACED)
        return False

    async def _ask_which_boot(self, kernel: KernelClient) -> Outcome:
        """Have an adopted guest say which boot this is, though it may take its time for that: who
        took no answer for the boot that was would not give it its devices again."""
        while True:
            boot = await kernel.ask(BOOT_ID_QUESTION, ANSWER_TIMEOUT)
            if boot.kind not in (TIMED_OUT, GONE):
                return boot
            if boot.kind == TIMED_OUT:
                await self._adopt_wedged(kernel)
            kernel.mark_back()
            await trio.sleep(LOOK_INTERVAL)

    def _has_initramfs(self) -> bool:
        return any(word.startswith("initrd=") for word in self._life.launched.command)


def root_is_mounted(mounts: bytes) -> bool:
    """Whether a guest has mounted its root, by its /proc/mounts; before that it has only its
    rootfs."""
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) > 2 and fields[1] == b"/":
            return fields[2] != b"rootfs"
    return False
