"""`umlctl network`: switches and bridges of this host for guests."""

from __future__ import annotations

import os
import shutil
from typing import Any

import click

from umlctl import exitcodes
from umlctl.cli import complete
from umlctl.cli.main import Group
from umlctl.devices.eth import VDE_PLUG
from umlctl.errors import HostError, UsageError
from umlctl.host import naming, processes
from umlctl.networks import address_plan, definitions, interfaces, segments
from umlctl.networks.bridge import unable
from umlctl.networks.definitions import BRIDGE, SWITCH, Network
from umlctl.output import say, views
from umlctl.recovery import discover
from umlctl.state import leases, records


@click.group(
    cls=Group,
    epilog="""\b
Examples:
  umlctl network list
  umlctl network create lab --user
""",
)
def network() -> None:
    """Networks that guests join: switches without root, bridges with."""


@network.command(
    "create",
    epilog="""\b
Examples:
  umlctl network create lab --user                a switch whose guests reach the internet
  umlctl network create lan --up 'logger joined: $UMLCTL_GUEST'
  umlctl network create br0 --bridge --address 10.1.0.1/24
""",
)
@click.argument("name")
@click.option("--bridge", is_flag=True, help="A bridge of the host, for taps; needs root.")
@click.option("--address", default="", metavar="ADDR/N", help="The host's own on the bridge.")
@click.option("--user", is_flag=True, help="The switch has an uplink through slirp4netns.")
@click.option("--isolated", is_flag=True, help="With --user: not the host's loopback.")
@click.option(
    "--forward", "forwards", multiple=True, metavar="HOST:ADDR:GUEST", help="With --user."
)
@click.option("--plain", is_flag=True, help="The switch moves all frames, and no bridge does.")
@click.option("--up", default="", metavar="COMMAND", help="Run when a NIC joins; may refuse it.")
@click.option("--down", default="", metavar="COMMAND", help="Run when a NIC leaves.")
@click.option("--json", "in_json", is_flag=True, help="Print it as `network list` does.")
def create(name: str, bridge: bool, in_json: bool, **options: Any) -> int:
    """Define a network.

    A plain switch needs no definition: the first guest with --switch NAME starts it, and it
    ends after the last. Hooks find UMLCTL_GUEST, _NIC, _MAC, _ADDR, _NETWORK, _TAP and _BRIDGE
    in their environment; what they say is in the guest's log.
    """
    if bridge and (options["user"] or options["forwards"]):
        raise UsageError("--user and --forward are for switches; a bridge has the host's routes")
    if bridge and options["plain"]:
        raise UsageError("--plain is for switches")
    if options["address"] and not bridge:
        raise UsageError("--address is for a bridge")
    if (options["forwards"] or options["isolated"]) and not options["user"]:
        raise UsageError("--forward and --isolated are for an uplink: add --user")
    definitions.create(Network(name=name, kind=BRIDGE if bridge else SWITCH, **options))
    print(views.to_json(_find(name)) if in_json else f"network {name} is defined")
    return exitcodes.OK


@network.command("rm", epilog="\b\nExamples:\n  umlctl network rm lan\n")
@click.argument("name", shell_complete=complete.networks)
@click.option("--json", "in_json", is_flag=True, help="Print an object with name and kept.")
def rm(name: str, in_json: bool) -> int:
    """Forget a network that no guest is on, and end its switch or bridge."""
    with leases.lock():
        aside = definitions.remove(name, leases.devices_of(discover.running()))
    if in_json:
        print(views.to_json({"name": name, "kept": aside or None}))
        return exitcodes.OK
    print(f"network {name} is gone" + (f"; its definition is kept as {aside}" if aside else ""))
    return exitcodes.OK


@network.command("list", epilog="\b\nExamples:\n  umlctl network list --json\n")
@click.option("--json", "in_json", is_flag=True, help="Print an array of objects.")
def list_networks(in_json: bool) -> int:
    """List the networks: those defined, switches that run, and the host's bridges."""
    # Switches of one NIC are left out.
    found = [each for each in gather() if naming.PRIVATE_MARK not in each["name"]]
    for problem in definitions.unreadable():
        say(str(problem), exitcodes.OK)
    if in_json:
        print(views.to_json(found))
        return exitcodes.OK
    if not found:
        click.echo("no networks; `umlctl nic add GUEST --switch NAME` makes one", err=True)
        return exitcodes.OK
    table: list[tuple[str, ...]] = [("NETWORK", "KIND", "STATE", "PORTS", "UPLINK")]
    for each in found:
        ports = each.get("ports")
        table.append(
            (
                each["name"],
                each["kind"],
                each["state"],
                "-" if ports is None else str(len(ports)),
                "slirp4netns" if each.get("uplink") else "-",
            )
        )
    views.columns(table)
    return exitcodes.OK


@network.command("show", epilog="\b\nExamples:\n  umlctl network show lan\n")
@click.argument("name", shell_complete=complete.networks)
@click.option("--json", "in_json", is_flag=True, help="Print all that is known, as an object.")
def show(name: str, in_json: bool) -> int:
    """Show who is on a network: guests, their NICs, and the addresses that they were given."""
    found = _find(name)
    found["nics"] = _nics_on(name)
    if found["kind"] == SWITCH and naming.PRIVATE_MARK not in name:
        has_way_out = bool(found.get("user") or found.get("uplink"))
        found.setdefault("addresses", str(address_plan.range_of(name, uplink=has_way_out)))
    if in_json:
        print(views.to_json(found))
        return exitcodes.OK
    uplink = "uplink slirp4netns" if found.get("uplink") else ""
    way = "by the host's kernel" if found.get("bridged") else ""
    said = [found["kind"], found["state"], way, uplink, found.get("address"), found.get("problem")]
    print(f"{name}: {', '.join(filter(None, said))}")
    if found.get("addresses"):
        names = f", names from {found['names']}" if found.get("names") else ""
        print(f"addresses of {found['addresses']}{names}")
    for each in found.get("forwards", ()):
        if isinstance(each, dict):  # of a switch that runs
            error = f": {each['error']}" if each.get("error") else ""
            print(f"forward {each['forward']}{error}")
    rows = _members(found)
    if rows:
        moved = ("SENT", "RECEIVED", "SENDS", "RECEIVES", "DROPPED")
        views.columns([("GUEST", "NIC", "MAC", "ADDRESS", "PORT", *moved), *rows])
    return exitcodes.OK


def _find(name: str) -> dict[str, Any]:
    """Raises: HostError"""
    found = next((each for each in gather() if each["name"] == name), None)
    if found is None:
        raise HostError(f"there is no network {name}; `umlctl network list` shows them")
    return found


def _nics_on(name: str) -> list[dict[str, Any]]:
    """The NICs of running guests on a network, with the addresses that they were given."""
    return [
        {"guest": umid, "nic": entry.name, "mac": entry.mac, "addr": entry.addr, "tap": entry.tap}
        for umid, entry in leases.devices_of(discover.running())
        if name in (entry.network, entry.bridge)
    ]


def _members(found: dict[str, Any]) -> list[tuple[str, ...]]:
    """A row for each NIC, with its port; then a row for each port of no known NIC.

    A port is known by its MAC address once it has sent. Before that it is known by its guest, which
    may have two ports.
    """
    ports = list(found.get("ports") or ())
    rows: list[tuple[str, ...]] = []
    for nic in found["nics"]:
        mine = [port for port in ports if _leads_to(port, nic)]
        port = mine[0] if len(mine) == 1 else None
        if port is not None:
            ports.remove(port)
        rows.append(
            (nic["guest"], nic["nic"], nic["mac"] or "-", nic["addr"] or "-", *_traffic(port))
        )
    for port in ports:
        macs = " ".join(port.get("macs") or ()) if isinstance(port, dict) else ""
        rows.append((_stranger(port), "-", macs or "-", "-", *_traffic(port)))
    return rows


def _leads_to(port: Any, nic: dict[str, Any]) -> bool:
    if not isinstance(port, dict):  # of a bridge, an interface
        return bool(port == nic["tap"])
    macs = port.get("macs") or ()
    return nic["mac"] in macs if macs else port.get("guest") == nic["guest"]


def _stranger(port: Any) -> str:
    return (port.get("guest") or "-") if isinstance(port, dict) else "-"


def _traffic(port: Any) -> list[str]:
    """The port's number or name, what its NIC has sent and received, and does a second now, and
    how many frames were dropped."""
    if not isinstance(port, dict):  # of a bridge, an interface
        counted = interfaces.traffic(port) if port else {}
        moved = (views.size(counted.get(f"{way}_bytes")) for way in ("sent", "received"))
        return [port or "-", *moved, "-", "-", str(counted.get("dropped", "-"))]
    moved = (views.size(port.get(key)) for key in ("in_bytes", "out_bytes"))
    rates = (_rate(port.get(key)) for key in ("in_rate", "out_rate"))
    return [str(port.get("id", "-")), *moved, *rates, str(port.get("dropped", "-"))]


def _rate(count: int | None) -> str:
    """Bytes a second, in bits for a person."""
    if count is None:
        return "-"
    for unit, most in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count * 8 >= most:
            return f"{count * 8 / most:.1f} {unit}bit/s"
    return f"{count * 8} bit/s"


@network.command("check", epilog="\b\nExamples:\n  umlctl network check\n")
@click.option("--json", "in_json", is_flag=True, help="Print an array of objects.")
def check(in_json: bool) -> int:
    """Show what each kind of NIC needs of this host, and whether you have it.

    Nothing is changed: no capability is given to anything, and no interface stays that was tried.
    """
    tun = os.access("/dev/net/tun", os.R_OK | os.W_OK)
    raw = processes.has_capability("CAP_NET_RAW")
    why = unable()
    found = [
        ("--switch NAME", "nothing", True),
        ("--switch NAME, by the host's kernel", "a network namespace, and /dev/net/tun", not why),
        ("--user", "the program slirp4netns", shutil.which("slirp4netns") is not None),
        ("--tap NAME", "a tap that is yours, and /dev/net/tun", tun),
        ("--tap auto", "CAP_NET_ADMIN, and /dev/net/tun", interfaces.may_configure()),
        (
            "--tap ... --bridge BR",
            "CAP_NET_ADMIN, or a tap that is on it",
            interfaces.may_configure(),
        ),
        ("--transport l2tpv3,udp=1,...", "nothing", True),
        ("--transport gre,... l2tpv3,...", "CAP_NET_RAW", raw),
        ("--transport raw,...", "CAP_NET_RAW", raw),
        ("--transport hybrid,...", "CAP_NET_RAW, and a tap that is yours", raw and tun),
        ("--transport bess,...", "a switch that listens", True),
        (
            "--transport vde,...",
            "the program vde_plug, and Linux 6.12",
            bool(shutil.which(VDE_PLUG)),
        ),
    ]
    if in_json:
        said = [{"nic": n, "needs": needs, "met": met, "why": ""} for n, needs, met in found]
        said[1]["why"] = why
        print(views.to_json(said))
        return exitcodes.OK
    rows = [(n, needs, "yes" if met else "no") for n, needs, met in found]
    views.columns([("NIC", "NEEDS", "MET"), *rows])
    if why:
        print(f"switches move all frames, at a tenth of the speed: {why}")
    return exitcodes.OK


def gather() -> list[dict[str, Any]]:
    """Every network, by name."""
    found: dict[str, dict[str, Any]] = {}
    for each in definitions.load_all():
        found[each.name] = {
            "name": each.name,
            "kind": each.kind,
            "state": "defined",
            "defined": True,
            "user": each.user,
            "isolated": each.isolated,
            "forwards": each.forwards,
            "plain": each.plain,
            "address": each.address,
            "up": each.up,
            "down": each.down,
        }
    guests = {record.pid: record.definition.umid for record in records.load_all()}
    for name in segments.names():
        entry = found.setdefault(name, {"name": name, "kind": SWITCH, "defined": False})
        try:
            entry |= {"state": "running"} | segments.Segment(name).status()
            for port in entry["ports"]:
                port["guest"] = guests.get(port.get("pid")) or port.get("guest")
        except HostError as problem:
            entry |= {"state": "silent", "problem": str(problem)}
    try:
        bridges = interfaces.bridges()
    except HostError:
        bridges = []  # this host has no /sys, and no bridges that a guest could join
    for bridge in bridges:
        default = {"name": bridge.name, "kind": BRIDGE, "defined": False}
        entry = found.setdefault(bridge.name, default)
        entry |= {"state": "there", "ports": bridge.members}
    return [found[name] for name in sorted(found)]
