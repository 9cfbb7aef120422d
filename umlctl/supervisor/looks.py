"""What a guest has: its devices as its own files show them, asked for through its kernel.

All of it is the guest's word: it may be missing, wrong or hostile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from umlctl.devices import ubd
from umlctl.devices.parse import parse
from umlctl.host import disks

if TYPE_CHECKING:
    from umlctl.host.records import Entry
    from umlctl.supervisor.kernel import Kernel

NET: Final = "sys/net/ipv4/conf"
"""Has a directory for each NIC, and needs nothing mounted in the guest."""
FACT: Final = 64
"""The longest fact that a guest tells of a device, characters."""


def block_of(name: str) -> str:
    """The guest's name of a disk: `ubdd` for `ubd3`."""
    return f"ubd{chr(ord('a') + int(name[3:]))}"


def is_of(mount: list[str], node: str) -> bool:
    """A line of /proc/mounts is about a disk, or about a partition of it."""
    device, _, kind = mount[:3]
    if device == "/dev/root" and kind != "hostfs":
        return node == "/dev/ubda"
    return device.startswith(node) and not device.removeprefix(node).strip("0123456789")


async def look_at_disk(entry: Entry, kernel: Kernel) -> dict[str, Any] | None:
    """Its size as the guest sees it, if the kernel has these files behind it."""
    answer = await kernel.ask(f"config {entry.name}")
    device = parse(entry.kernel)
    if not answer.ok or not isinstance(device, ubd.Ubd) or not device.answers(answer.text.strip()):
        return None
    partitions = await kernel.ask("proc partitions")
    block = block_of(entry.name)
    parts = [line.split() for line in partitions.text.splitlines() if line]
    sizes = {fields[3]: int(fields[2]) << 10 for fields in parts[1:] if len(fields) == 4}
    if block not in sizes:
        return {"size": 0} if disks.NOTHING in device.files else None
    return {
        "block": block,
        "size": sizes[block],
        "partitions": sorted(name for name in sizes if name.startswith(block) and name != block),
    }


async def look_at_nic(entry: Entry, kernel: Kernel) -> dict[str, Any] | None:
    there = await kernel.ask(f"proc {NET}/{entry.name}/forwarding")
    if not there.ok:
        return None
    found: dict[str, Any] = {}
    if " /sys sysfs " not in (await kernel.ask("proc 1/mounts")).text:
        return found  # and the kernel's log is spared a line for each file that is not there
    for fact in ("address", "operstate", "mtu"):
        answer = await kernel.ask(f"proc 1/root/sys/class/net/{entry.name}/{fact}")
        if answer.ok:  # the guest's own words
            said = answer.data.decode("utf-8", "backslashreplace").strip()
            found[fact] = said[:FACT]
    return found


async def look_at_virtio(entry: Entry, kernel: Kernel) -> dict[str, Any] | None:
    """What kind of virtio device it is, by number; nothing, where the guest has no /sys."""
    if " /sys sysfs " not in (await kernel.ask("proc 1/mounts")).text:
        return {}
    answer = await kernel.ask(f"proc 1/root/sys/bus/virtio/devices/{entry.name}/device")
    return {"device": answer.text.strip()[:FACT]} if answer.ok else None


async def memory(kernel: Kernel) -> dict[str, int] | None:
    """The guest's memory in bytes: total, free, available."""
    answer = await kernel.ask("proc meminfo")
    names = {"MemTotal:": "total", "MemFree:": "free", "MemAvailable:": "available"}
    found = {}
    for line in answer.text.splitlines():
        fields = line.split()
        if len(fields) == 3 and fields[0] in names and fields[1].isdigit():
            found[names[fields[0]]] = int(fields[1]) << 10
    return found if len(found) == len(names) else None


def root_is_mounted(mounts: bytes) -> bool:
    """By /proc/mounts; before that, a guest has its rootfs alone."""
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) > 2 and fields[1] == b"/":
            return fields[2] != b"rootfs"
    return False
