"""How much of a guest's memory can be taken, and how much has been."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from umlctl.backends.memory import memory_of
from umlctl.devices import mem
from umlctl.errors import Refusal
from umlctl.state.records import DeviceEntry
from umlctl.supervisor.devices import hotplug

if TYPE_CHECKING:
    from umlctl.supervisor.devices.table import DeviceTable
    from umlctl.supervisor.history import By
    from umlctl.supervisor.kernel import KernelClient

SPARE_BYTES: Final = 8 << 20
"""How much a guest keeps when memory is taken from it, bytes: with less its kernel may die."""


async def change(table: DeviceTable, device: mem.Mem, by: By, *, force: bool) -> None:
    """Take memory from the guest, or give back what was taken.

    force: leave out the look at what the guest can spare

    Raises: Refusal
    """
    name, kernel = device.name, table.kernel
    async with table.changing():
        entry = table.find(name)
        taken = -_change_of(entry) if entry else 0
        before = await memory_of(kernel)
        if before is None:
            raise Refusal(f"{name}: the guest does not say how much it has", -errno.EIO)
        if not force:
            _check(device.change, taken, before["free"])
        outcome = await kernel.ask(f"config {device}")
        if not outcome.ok:
            raise hotplug.refused(name, outcome)
        after = await memory_of(kernel)
        taken += _really_taken(device.change, before["free"], after)
        if entry is None:
            entry = DeviceEntry(name=name, asked="", kernel="")
            table.entries.append(entry)
        if taken <= 0:
            table.entries.remove(entry)
        entry.asked = entry.kernel = str(mem.Mem(-taken)) if taken > 0 else ""
        entry.observed, entry.problem = after, ""
        await table.save()
    table.history.add("memory changed", change=device.change, taken=max(0, taken), **by)


async def keep_spare(table: DeviceTable, entry: DeviceEntry, kernel: KernelClient) -> None:
    """See that no more memory is taken again than a guest that begins anew can spare: without any,
    it dies in its boot."""
    there = await memory_of(kernel)
    taken = -_change_of(entry)
    most = _pages(there["free"] - SPARE_BYTES) if there else taken
    if taken > most > 0:
        entry.asked = entry.kernel = str(mem.Mem(-most))
        table.history.add("memory changed", change=taken - most, taken=most)


def _change_of(entry: DeviceEntry) -> int:
    """The change that the table has, bytes; negative: taken from the guest."""
    return mem.parse(entry.kernel).change


def _check(change: int, taken: int, free: int) -> None:
    """Refuse a change to which the kernel would say OK and not make it, or not survive it.

    Raises: Refusal
    """
    if change > 0 and change > taken:
        had = f"{taken >> 10}K was taken from it" if taken else "nothing was taken from it"
        raise Refusal(
            f"mem: a guest gets back at most what was taken from it, and {had}; "
            "start it with a larger --mem",
            -errno.EINVAL,
        )
    if change < 0 and -change > free - SPARE_BYTES:
        raise Refusal(
            f"mem: the guest has {free >> 10}K free and keeps {SPARE_BYTES >> 10}K of it; "
            f"{-change >> 10}K is too much; `echo 3 >/proc/sys/vm/drop_caches` there frees some",
            -errno.ENOMEM,
        )


def _really_taken(change: int, free: int, after: dict[str, int] | None) -> int:
    """How many bytes a change has taken: the kernel says OK, and takes no more than it finds.

    change: as asked for, bytes; negative: to be taken; free: what was free before, bytes
    """
    if change > 0 or after is None or after["free"] >= SPARE_BYTES:
        return -change
    return min(-change, _pages(free - after["free"]))


def _pages(size: int) -> int:
    return max(size, 0) // mem.PAGE_BYTES * mem.PAGE_BYTES
