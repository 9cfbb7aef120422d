"""Consoles and serial lines, which a guest always has, wherever they lead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from umlctl.backends import registry
from umlctl.state.records import DeviceEntry
from umlctl.supervisor.devices import bringing, hotplug

if TYPE_CHECKING:
    from umlctl.devices.lines import Line
    from umlctl.supervisor.devices.table import DeviceTable
    from umlctl.supervisor.history import By


async def change(table: DeviceTable, device: Line, by: By, *, force: bool) -> None:
    """Have a line lead elsewhere.

    force: leave out the looks at where it is to lead, and at the guest

    Raises: Refusal: and the line is as it was
    """
    name, kernel, backend = device.name, table.kernel, registry.of(device.name)
    if not force:
        backend.check(str(device), table.record.pid)
    async with table.changing():
        bringing.check(table.record, name, str(device))
        before = await kernel.ask(f"config {name}")
        outcome = await kernel.ask(f"config {device}")
        if not outcome.ok:
            was = before.text.strip()
            if before.ok and was and was != "none":
                # A string that the kernel cannot read costs the line its old one.
                await kernel.ask(f"config {name}={was}")
            raise hotplug.refused(name, outcome)
        entry = table.find(name)
        if entry is None:
            entry = DeviceEntry(name=name, asked=str(device), kernel=str(device))
            table.entries.append(entry)
        entry.asked = entry.kernel = str(device)
        entry.boot, entry.problem = False, ""
        if not force:
            entry.observed = await backend.observe(entry, kernel)
        await table.save()
    table.history.add("device added", device=name, text=str(device), **by)
