"""Devices of this host that are lent to a guest: the guest numbers them, and keeps them until it
ends."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from umlctl.backends import registry
from umlctl.errors import Refusal
from umlctl.state.records import DeviceEntry
from umlctl.supervisor.devices import bringing, hotplug

if TYPE_CHECKING:
    from umlctl.devices.vhost import Lent
    from umlctl.supervisor.devices.table import DeviceTable
    from umlctl.supervisor.history import By

MAX_UNKNOWN: Final = 64
"""How many devices of a kind, which the guest numbers, it may have beside those in its table."""


async def plug(table: DeviceTable, device: Lent, by: By, *, force: bool) -> None:
    """Lend a device to the guest.

    force: leave out the looks at what serves it and at the guest

    Raises: Refusal
    """
    if not force:
        registry.of(device.kind).check(str(device), table.record.pid)
    async with table.changing(), table.talking(force=force):
        bringing.check(table.record, device.kind, str(device))
        entry = DeviceEntry(name=device.kind, asked=str(device), kernel=str(device))
        await _number(table, entry, device.kind, force=force)
        await hotplug.make_free_device(table, entry, table.kernel, look=not force)
        table.entries.append(entry)
        await table.save()
    table.history.add("device added", device=entry.name, text=entry.kernel, **by)
    table.has_changed()


async def _number(table: DeviceTable, entry: DeviceEntry, kind: str, *, force: bool) -> None:
    """Name a device as the guest will name it. The guest may have some of its kernel's command
    line.

    Raises: Refusal
    """
    backend = registry.of(kind)
    first = sum(each.name.startswith(kind) for each in table.entries)
    for number in range(first, first + MAX_UNKNOWN):
        entry.name = f"{kind}{number}"
        if not await backend.observe(entry, table.kernel):
            return
    if force:
        return
    raise Refusal(
        f"{kind}: the guest says that it has {kind}{first} to {entry.name} already, and a new "
        "one could not be told from those; --force has it plugged all the same",
        -errno.EBUSY,
    )
