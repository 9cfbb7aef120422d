"""Memory: the guest's own count of it is all that can be seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from umlctl.backends.interface import Backend
from umlctl.devices import families

if TYPE_CHECKING:
    from umlctl.backends.interface import GuestKernel
    from umlctl.state.records import DeviceEntry


class MemoryBackend(Backend):
    """Memory, taken from a guest and given back."""

    async def observe(self, _entry: DeviceEntry, kernel: GuestKernel) -> dict[str, int] | None:
        return await memory_of(kernel)


MEMORY: Final = MemoryBackend(families.MEM)


async def memory_of(kernel: GuestKernel) -> dict[str, int] | None:
    """A guest's memory in bytes: total, free, available; None if the guest does not say."""
    answer = await kernel.ask("proc meminfo")
    names = {"MemTotal:": "total", "MemFree:": "free", "MemAvailable:": "available"}
    found = {}
    for line in answer.text.splitlines():
        fields = line.split()
        if len(fields) == 3 and fields[0] in names and fields[1].isdigit():
            found[names[fields[0]]] = int(fields[1]) << 10
    return found if len(found) == len(names) else None
