"""What becomes of a guest's devices when its kernel begins anew, answers again, or ends."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import trio

from umlctl.backends import registry
from umlctl.backends.memory import MemoryBackend
from umlctl.backends.share import late
from umlctl.devices import families
from umlctl.errors import HostError, Refusal
from umlctl.supervisor.devices import bringing, cow_upkeep, hotplug, memory
from umlctl.supervisor.devices.table import ABSENT, AWAY, UNSETTLED

if TYPE_CHECKING:
    from umlctl.state.records import DeviceEntry
    from umlctl.supervisor.devices.table import DeviceTable
    from umlctl.supervisor.kernel import KernelClient
    from umlctl.supervisor.readiness import Milestones

TRY_INTERVAL: Final = 2.0
MAX_TRY_INTERVAL: Final = 15.0
"""The time between two tries to have a directory mounted by a guest that boots, seconds: the
longer, the longer it cannot."""


async def renew(table: DeviceTable) -> None:
    """Have the host's sides ready before the init of a kernel that begins anew can use them."""
    table.unrenewed = {}
    table.spoilt_by = ""
    for entry in list(table.entries):  # without the lock, whose holder may be waiting for a hook
        if entry.problem == AWAY:
            continue
        backend = registry.of(entry.name)
        try:
            await trio.to_thread.run_sync(backend.renew, entry, table.record.pid)
        except HostError as problem:
            table.unrenewed[entry.name] = str(problem)


async def bring_in_again(table: DeviceTable) -> None:
    """Have another kernel of the guest's reach the files of what was plugged into the one that is
    lost."""
    for entry in list(table.entries):
        if (
            entry.boot
            or entry.problem == AWAY
            or families.kind_of(entry.name) == families.DIRECTORY
        ):
            continue
        try:
            await trio.to_thread.run_sync(bringing.bring_in, table.record, entry)
        except HostError as problem:
            table.unrenewed[entry.name] = str(problem)


async def after_boot(table: DeviceTable, kernel: KernelClient, *, again: bool) -> None:
    """See what the guest has, and after a reboot give it again what it lacks.

    kernel: answers this already, though not yet clients
    again: the guest has rebooted
    """
    if not (table.entries or table.record.removed):
        return
    async with table.lock:
        if again:
            for name in table.record.removed:
                outcome = await hotplug.remove_device(name, kernel)
                if not hotplug.is_gone(outcome):
                    said = str(outcome).strip()
                    table.history.add("failed", request=f"remove {name}", text=said)
        for entry in table.entries:
            entry.problem = await _restore(table, entry, kernel, again=again)
            if entry.problem and not late([entry]):
                table.history.add("device lost", device=entry.name, text=entry.problem)
        await table.save()
    table.has_changed()


async def _restore(
    table: DeviceTable, entry: DeviceEntry, kernel: KernelClient, *, again: bool
) -> str:
    """Have a device in the guest as it was before; return why it is not there, or is of no use."""
    if entry.problem == AWAY:
        return await _put_back(table, entry, kernel)
    unable = table.unrenewed.get(entry.name, "")
    backend = registry.of(entry.name)
    try:
        if families.kind_of(entry.name) == families.DIRECTORY and (again or late([entry])):
            from umlctl.supervisor.devices import sharing  # which few guests need

            return unable or await sharing.begin(table, entry, kernel)
        if again and not entry.boot:
            if unable and backend.needs_host:
                entry.observed = None
                return unable
            backend.check_again(entry)
            if isinstance(backend, MemoryBackend):
                await memory.keep_spare(table, entry, kernel)
            await hotplug.make_device(table, entry, kernel, look=True)
        else:
            entry.observed = await backend.observe(entry, kernel)
    except Refusal as problem:
        entry.observed = None
        return str(problem)
    return ABSENT if entry.observed is None else unable


async def _put_back(table: DeviceTable, entry: DeviceEntry, kernel: KernelClient) -> str:
    """Plug a disk again whose supervisor was killed while it was out; return why it is not
    there."""
    try:
        await cow_upkeep.put_back(table, entry, kernel)
    except (Refusal, HostError) as problem:
        entry.observed = None
        return str(problem)
    return ""


async def remove_unsettled(table: DeviceTable) -> None:
    """Remove what the kernel may have got while it did not answer: it answers again."""
    async with table.lock:
        for entry in [each for each in table.entries if each.problem == UNSETTLED]:
            if hotplug.is_gone(await hotplug.remove_device(entry.name, table.kernel)):
                await table.roll_back(entry)
                table.history.add("device removed", device=entry.name, text="not plugged")
        for entry in [each for each in table.entries if each.problem == AWAY]:
            entry.problem = await _put_back(table, entry, table.kernel)
            await table.save()
    table.has_changed()


async def keep_sharing(table: DeviceTable, milestones: Milestones) -> None:
    """Have the guest mount what it could not while it booted, until cancelled: its init program is
    not ours, or late."""
    interval = TRY_INTERVAL
    while True:
        await milestones.ready.wait()
        if late(table.entries):
            from umlctl.supervisor.devices import sharing

            await sharing.try_again(table)
        changed = table.changed
        is_late = bool(late(table.entries))
        with trio.move_on_after(interval if is_late else math.inf):
            await changed.wait()
        interval = min(interval * 2, MAX_TRY_INTERVAL) if is_late else TRY_INTERVAL


async def release(table: DeviceTable) -> list[str]:
    """Release all that was made for the devices of a guest that has ended; return what failed."""
    async with table.lock:
        return await table.in_thread(registry.release_all, list(table.entries), table.owner)
