"""What a guest whose record is lost has besides what it was started with, as far as it tells.

The kernel answers for its disks and lines, but says neither flags nor options. It cannot list
NICs: a NIC is known by the name of what it is plugged into, if that is umlctl's own.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import trio

from umlctl.backends import disk, nic
from umlctl.backends.disk import DISK
from umlctl.backends.nic import VECTOR
from umlctl.devices import ubd, vec
from umlctl.errors import UmlctlError, UsageError
from umlctl.host import naming, paths
from umlctl.networks import interfaces, macs, segments
from umlctl.protocol import console_socket
from umlctl.state.records import DeviceEntry
from umlctl.supervisor.devices import bringing

if TYPE_CHECKING:
    from umlctl.state.records import Record
    from umlctl.supervisor.kernel import KernelClient

TRIED_NICS: Final = 16
"""How many NIC numbers are tried."""
UNTRACED: Final = "nobody can see any more where it leads; take it out and plug it again"
"""The problem of a NIC of which only the guest could say where it leads."""


async def find_again(record: Record, kernel: KernelClient) -> list[str]:
    """Add to a guest's devices those that the guest has and its record does not know.

    Returns: the names of NICs of which only the guest could say where they lead
    """
    known = {entry.name for entry in record.devices}
    umid = record.definition.umid
    for name in (f"{DISK.family}{slot}" for slot in range(DISK.limit)):
        said = (await kernel.ask(f"config {name}")).text.strip()
        if name not in known and said.startswith("/") and said != ubd.NULL_FILE:
            entry = await trio.to_thread.run_sync(_disk, record, name, said)
            record.devices += [entry] if entry else []
    for name in console_socket.CONSOLES[1:]:
        words = console_socket.config(name)
        said = (await kernel.ask(f"config {name}")).text.strip()
        if name not in known and words.startswith(f"{name}={said.partition(',')[0]},"):
            record.devices.append(DeviceEntry(name=name, asked=words, kernel=words))
    there = [
        number
        for number in range(TRIED_NICS)
        if f"{VECTOR.family}{number}" not in known
        and (await kernel.ask(f"proc {nic.IPV4_CONF_PATH}/{VECTOR.family}{number}/forwarding")).ok
    ]
    untraced = []
    for number in there:
        entry = await trio.to_thread.run_sync(_nic, umid, number, record.pid)
        if entry is None:
            untraced.append(f"{VECTOR.family}{number}")
        else:
            record.devices.append(entry)
    return untraced


def _disk(record: Record, name: str, files: str) -> DeviceEntry | None:
    try:
        told = ubd.parse(f"{name}={files}")
        return bringing.recovered(record, told) or disk.entry_of(record.definition.umid, told)
    except UsageError:
        return None


def _nic(umid: str, number: int, pid: int) -> DeviceEntry | None:
    """A NIC whose host's end has a name of umlctl's, or is a port of a switch of umlctl's."""
    mac = macs.mac_of(umid, number)
    try:
        tap = interfaces.tap_name(umid, number)
        if network := nic.bridge_of(tap):
            entry = nic.entry_of(umid, vec.parse(nic.bridge_words(number, tap, mac)))
            return nic.on_bridge(entry, network, tap, umid)
        if os.path.exists(f"{interfaces.SYSFS_DIRECTORY}/{tap}"):
            words = f"transport=tap,ifname={tap},mac={mac},gro=1"
        else:
            network = _network(nic.private_segment(umid, number), mac, pid)
            words = f"transport=bess,dst={paths.network_port(network)},mac={mac}"
            if not network:
                return None
        return nic.entry_of(umid, vec.parse(f"{VECTOR.family}{number}:{words}"))
    except UmlctlError:
        return None


def _network(private: str, mac: str, pid: int) -> str:
    """The switch that a NIC is on; empty if no switch has heard of it yet."""
    for name in segments.names():
        if name == private:
            return name
        if naming.PRIVATE_MARK not in name:
            ports = segments.Segment(name).status()["ports"]
            if any(port["pid"] == pid and mac in port["macs"] for port in ports):
                return name
    return ""
