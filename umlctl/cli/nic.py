"""`umlctl nic`: the network interfaces of a running guest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from umlctl import exitcodes
from umlctl.backends.nic_address import asks_itself, is_planned, way_out
from umlctl.cli import complete, device_options, nic_link
from umlctl.cli.main import Group
from umlctl.devices import families
from umlctl.devices.parse import parse_name
from umlctl.errors import UsageError
from umlctl.guest.specs import SWITCH, TAP, USER, Nic, parse_nic
from umlctl.networks import link
from umlctl.output import views

if TYPE_CHECKING:
    from umlctl.client.ask import Deadline
    from umlctl.protocol.status import Device


@click.group(
    cls=Group,
    epilog="""\b
Examples:
  umlctl nic add demo --user
  umlctl nic list demo
""",
)
def nic() -> None:
    """Plug network interfaces into a running guest, and take them out."""


@nic.command(
    "add",
    epilog="""\b
Examples:
  umlctl nic add demo --user                          the internet, without root
  umlctl nic add demo --user --forward 8080:80        and the host's port 8080 to its port 80
  umlctl nic add demo --switch lan                    a network of guests, made when needed
  umlctl nic add demo --switch lan --guest-addr auto  with an address that umlctl gives it
  umlctl nic add demo --tap auto --bridge br0         on a bridge of the host (root)
  umlctl nic add demo --tap auto --host-addr 10.1.0.1/24 --guest-addr 10.1.0.2/24
  umlctl nic add demo --transport gre,src=10.0.0.1,dst=10.0.0.2
""",
)
@device_options.guest_argument
@click.option("--user", is_flag=True, help="Behind slirp4netns; DHCP gives 10.0.2.15.")
@click.option(
    "--switch",
    metavar="NAME",
    shell_complete=complete.switches,
    help="On the switch NAME, with your other guests.",
)
@click.option("--tap", metavar="NAME|auto", help="On a tap that is yours, or one made for it.")
@click.option("--transport", metavar="T,KEY=VALUE,...", help="As the kernel's vector driver takes.")
@click.option(
    "--bridge",
    default="",
    metavar="BR",
    shell_complete=complete.bridges,
    help="With --tap: the bridge that it joins.",
)
@click.option("--host-addr", "host", default="", metavar="ADDR/N", help="Of this host on the tap.")
@click.option("--forward", "forwards", multiple=True, metavar="HOST:GUEST", help="A port: --user.")
@click.option("--isolated", is_flag=True, help="With --user: the host's loopback is out of reach.")
@click.option("--mac", default="", metavar="MAC", help="[default: derived from the guest's name]")
@click.option(
    "--guest-addr", "addr", default="", metavar="ADDR/N", help="What it takes; auto, dhcp."
)
@click.option("--nic", "number", type=click.IntRange(0, 63), metavar="N", help="vecN.")
@device_options.force_option
@device_options.timeout_option
@device_options.json_option
def add(
    guest: str,
    user: bool,
    switch: str | None,
    tap: str | None,
    transport: str | None,
    in_json: bool,
    deadline: Deadline,
    force: bool,
    **options: Any,
) -> int:
    """Plug a network interface into a guest.

    The host's side is made or checked first. The interface is plugged when the guest has it,
    and then again, under its name and MAC address, after every reboot. `run` and `start` take
    the same as --nic user,forward=8080:80 or --nic switch=lan,mac=...
    """
    kinds = {USER: user, SWITCH: switch, TAP: tap, "transport": transport}
    given = [kind for kind, value in kinds.items() if value not in (None, False)]
    if len(given) != 1:
        what = "needs one" if not given else "takes only one"
        raise UsageError(f"a NIC {what} of --user, --switch, --tap and --transport")
    kind = given[0]
    asked = Nic(
        kind="kernel" if kind == "transport" else kind,
        name=switch or tap or "",
        text=f"transport={transport}" if transport else "",
        **options,
    )
    parse_nic(str(asked), insist=force)
    entry = device_options.plugged(guest, f"nic {asked}", deadline, force=force)
    if in_json:
        print(views.to_json(msgspec.structs.asdict(entry)))
        return exitcodes.OK
    where = _host_side(entry)
    print(f"{entry.name} is in {guest}, MAC {entry.mac}{f', {where}' if where else ''}")
    if asks_itself(entry.asked):
        print(f"in the guest: any DHCP client, which gets {entry.addr}")
    elif entry.addr:
        out = way_out(entry.asked, entry.network, entry.addr)
        route = f" && ip route add default via {out[0]}" if any(out[:1]) else ""
        name = entry.name
        print(f"in the guest: ip addr add {entry.addr} dev {name} && ip link set {name} up{route}")
        if out:
            other = "or any DHCP client; " if user or is_planned(asked) else ""
            print(f"{other}names are resolved by {', then '.join(out[1:])}")
    return exitcodes.OK


@nic.command("rm", epilog="\b\nExamples:\n  umlctl nic rm demo vec0\n")
@device_options.guest_argument
@click.argument("nic", shell_complete=complete.devices(families.NIC))
@device_options.timeout_option
@device_options.json_option
def rm(guest: str, nic: str, deadline: Deadline, in_json: bool) -> int:
    """Take a network interface out of a guest; it must be down there."""
    name = parse_name(f"{families.VEC}{nic}" if nic.isdigit() else nic)
    if families.kind_of(name) != families.NIC:
        raise UsageError(f"a NIC is vecN or ethN, not {nic!r}")
    device_options.remove(guest, name, deadline, in_json=in_json)
    return exitcodes.OK


nic.add_command(nic_link.set_link)


@nic.command("list", epilog="\b\nExamples:\n  umlctl nic list demo --json\n")
@device_options.guest_argument
@device_options.json_option
def list_nics(guest: str, in_json: bool) -> int:
    """List the network interfaces of a guest, with the host's end of each."""
    found = device_options.devices(guest)
    rows = [row for row in found if families.kind_of(row.name) == families.NIC]
    if in_json:
        print(views.to_json(rows))
        return exitcodes.OK
    table: list[tuple[str, ...]] = [
        ("NIC", "MAC", "STATE", "HOST", "ADDRESS", "SENT", "RECEIVED", "NOTE")
    ]
    for row in rows:
        state = _state(row.observed or {})
        cells = (row.name, row.mac or "-", state, _host_side(row), row.addr or "-")
        traffic = row.host.get("traffic") or {}
        moved = (views.size(traffic.get(f"{way}_bytes")) for way in ("sent", "received"))
        character = link.read(row.host.get("link") or {})
        notes = [nic_link.in_words(character) if character != link.PLAIN else ""]
        table.append((*cells, *moved, "; ".join(filter(None, [*notes, device_options.note(row)]))))
    views.columns(table)
    return exitcodes.OK


def _state(seen: dict[str, Any]) -> str:
    """Whether a NIC is up in the guest. Of one that is up and does not say whether there is a
    carrier, the guest's kernel says "unknown"; of one that is not, "down"."""
    state = str(seen.get("operstate", "-"))
    return "up" if state == "unknown" else state


def _host_side(entry: Device) -> str:
    """What a NIC is plugged into on this host, in words."""
    if entry.asked.partition(",")[0] == USER:
        return " ".join(["behind slirp4netns", *parse_nic(entry.asked).forwards])
    if entry.network:
        port = entry.host.get("port")
        return f"switch {entry.network}" + (f", port {port}" if port else "")
    if entry.tap:
        on = f" on {entry.bridge}" if entry.bridge else ""
        address = f" {entry.host_addr}" if entry.host_addr else ""
        return f"tap {entry.tap}{on}{address}"
    mark = "transport=" if "transport=" in entry.asked else "="
    return entry.asked.partition(mark)[2].partition(",")[0]
