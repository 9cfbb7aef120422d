"""Devices that programs and hardware of the host lend a guest: they cannot be removed again."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Any, Final

from umlctl.backends.interface import MAX_FACT_CHARACTERS, Backend, has_sysfs
from umlctl.devices import families, vhost
from umlctl.errors import Refusal

if TYPE_CHECKING:
    from umlctl.backends.interface import GuestKernel
    from umlctl.state.records import DeviceEntry


class LentBackend(Backend):
    """Lent devices. One that does not work is not there. This kernel tells nothing of them."""

    removable = False

    def check(self, device: str, _pid: int) -> None:
        """See that a program may serve a device."""
        lent = vhost.parse(device)
        for need in lent.needs():
            try:
                served = stat.S_ISSOCK(os.stat(need.value).st_mode)
            except OSError:
                served = False
            if not served:
                said = f"{lent.kind}: nobody serves a device at {need.value}"
                raise Refusal(said, -errno.ENOENT)

    def check_again(self, entry: DeviceEntry) -> None:
        self.check(entry.kernel, 0)

    async def observe(self, _entry: DeviceEntry, _kernel: GuestKernel) -> dict[str, Any] | None:
        return {}

    def explain(self, said: str, error: int) -> str:
        if said == "Bad configuration option":
            return "this kernel takes no such device while it runs; Linux 7.2 with its driver does"
        return super().explain(said, error)


class VirtioBackend(LentBackend):
    """Virtio devices, which the guest shows in its /sys."""

    async def observe(self, entry: DeviceEntry, kernel: GuestKernel) -> dict[str, Any] | None:
        """What kind of device it is, by number; nothing where the guest has no /sys."""
        if not await has_sysfs(kernel):
            return {}
        answer = await kernel.ask(f"proc 1/root/sys/bus/virtio/devices/{entry.name}/device")
        return {"device": answer.text.strip()[:MAX_FACT_CHARACTERS]} if answer.ok else None


VIRTIO: Final = VirtioBackend(families.VIRTIO)
VFIO: Final = LentBackend(families.VFIO)
