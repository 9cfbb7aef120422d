"""What a guest has now of its devices, and what has become of their sides on this host."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final

import trio

from umlctl.backends import registry
from umlctl.errors import UmlctlError
from umlctl.networks import interfaces, link, segments
from umlctl.networks.namespaces import PORT
from umlctl.supervisor.devices.table import ABSENT

if TYPE_CHECKING:
    from umlctl.state.records import DeviceEntry
    from umlctl.supervisor.devices.table import DeviceTable

_TRAFFIC: Final = {
    "sent_frames": "in_frames",
    "sent_bytes": "in_bytes",
    "received_frames": "out_frames",
    "received_bytes": "out_bytes",
    "dropped": "dropped",
    "sending": "in_rate",
    "receiving": "out_rate",
}
"""What is known of the traffic of a NIC, and what its switch calls that."""
HOST_TIMEOUT: Final = 1.0
"""How long a switch may take to say who is on it, and the host to say how its files and taps are,
seconds."""


async def observe(table: DeviceTable) -> None:
    """Look at every device in the guest again; not while one is out of it, which may take long."""
    if table.away:
        return
    async with table.lock:
        for entry in table.entries:
            observed = await registry.of(entry.name).observe(entry, table.kernel)
            if observed is not None:
                entry.observed = observed
                entry.problem = "" if entry.problem == ABSENT else entry.problem
            elif not entry.problem and (await table.kernel.ask("version")).ok:
                # The device was removed at the kernel's own socket, or was renamed in the guest.
                entry.observed, entry.problem = None, ABSENT
                table.history.add("device lost", device=entry.name, text=ABSENT)


async def host_sides(table: DeviceTable) -> dict[str, dict[str, Any]]:
    """What serves the NICs, by device: of those on switches pid and port of the switch, and pid of
    its uplink; the traffic of those, and of taps."""
    found: dict[str, dict[str, Any]] = {}
    for entry in table.entries:
        if entry.tap and (traffic := interfaces.traffic(entry.tap)):
            found[entry.name] = {"traffic": traffic}
    for network in table.networks():
        status: dict[str, Any] = {}
        with trio.move_on_after(HOST_TIMEOUT):
            try:
                status = await trio.to_thread.run_sync(
                    segments.Segment(network).status, abandon_on_cancel=True
                )
            except UmlctlError:
                continue
        for entry in table.entries:
            if status and entry.network == network:
                found[entry.name] = _host_side(entry, status, table.record.pid)
    return found


async def notes(table: DeviceTable) -> dict[str, str]:
    """What has become of the host's sides that are not as they were, by device."""

    def look() -> dict[str, str]:
        return {entry.name: registry.of(entry.name).note(entry) for entry in there}

    there = [entry for entry in table.entries if entry.holds or entry.tap]
    found: dict[str, str] = {}
    if there:
        with trio.move_on_after(HOST_TIMEOUT):  # a file system over a network may not answer
            found = await trio.to_thread.run_sync(look, abandon_on_cancel=True)
    return {name: note for name, note in found.items() if note}


def _host_side(entry: DeviceEntry, status: dict[str, Any], pid: int) -> dict[str, Any]:
    """What a switch says of one NIC's end; it knows the MAC of a port once that has sent."""
    tap = entry.made.get(PORT)
    mine = (port["pid"] == pid or (tap and port.get("tap") == tap) for port in status["ports"])
    ports = list(itertools.compress(status["ports"], mine))
    if len(ports) > 1:
        ports = [port for port in ports if entry.mac in port["macs"]]
    uplink = status.get("uplink") or {}
    port = ports[0] if len(ports) == 1 else None
    return {
        "switch_pid": status["pid"],
        "port": port and port["id"],
        "uplink_pid": uplink.get("pid"),
        "link": link.described(link.of_status(status, entry.mac)),
        "traffic": port and {name: port[counted] for name, counted in _TRAFFIC.items()},
    }
