"""The addresses of NICs: those that umlctl gives, and what a guest is told with one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from umlctl.errors import HostError
from umlctl.guest.specs import AUTO, DHCP, USER, USER_GATEWAY, USER_RESOLVER, parse_nic
from umlctl.networks import address_plan, definitions, segments

if TYPE_CHECKING:
    from collections.abc import Iterable

    from umlctl.guest.specs import Nic
    from umlctl.networks.address_plan import Range
    from umlctl.state.leases import Use
    from umlctl.state.records import DeviceEntry


def is_planned(asked: Nic) -> bool:
    """Whether umlctl gives a NIC its address."""
    return asked.addr in (AUTO, DHCP)


def asks_itself(asked: str) -> bool:
    """Whether a NIC's guest is to ask for its address, as its entry has it."""
    return "addr=dhcp" in asked and parse_nic(asked, insist=True).addr == DHCP


def way_out(asked: str, network: str, addr: str) -> tuple[str, ...]:
    """The gateway, which may be empty, and the name servers of a NIC whose network has them.

    Returns: nothing for another NIC

    asked, network, addr: of the NIC's entry

    Raises: HostError
    """
    if asked.partition(",")[0] == USER:
        return USER_GATEWAY, USER_RESOLVER
    if not network or not addr:
        return ()
    of = definitions.range_of(network)
    known = of.resolvers if of.has(addr) else of.resolvers[1:]  # the first may not be there
    return (of.gateway, *known) if known and _reaches(addr, of) else ()


def expected(entry: DeviceEntry, umid: str) -> str:
    """The address that a guest's NIC on a switch would be given.

    Raises: HostError
    """
    of = definitions.range_of(entry.network)
    return address_plan.expected(entry.network, of, entry.mac, umid)


def give(entry: DeviceEntry, asked: Nic, umid: str, users: Iterable[Use]) -> None:
    """Have a NIC on a switch that runs have its address in the plan, and somebody there whom guests
    ask. The caller holds `leases.lock`.

    users: the devices of guests that run

    Raises: HostError: a guest that runs has it, or it is not for a guest; or none is free
    """
    name = entry.network
    of = definitions.range_of(name)
    used = [
        (use.entry.mac, use.entry.addr)
        for use in users
        if use.entry.network == name and use.entry.addr
    ]
    if is_planned(asked):
        entry.addr = address_plan.give(name, of, entry.mac, umid, used)
    elif entry.addr.partition("/")[0] in of.own():
        raise HostError(
            f"{entry.name}: {entry.addr} is an address of the network {name} itself; take another, "
            "or addr=auto"
        )
    elif not of.has(entry.addr):
        return
    else:
        address_plan.take(name, entry.mac, umid, entry.addr, used)
    segments.Segment(name).serve_names()


def keep_only(umid: str, entries: Iterable[DeviceEntry]) -> None:
    """Have a guest that starts give back the addresses that its NICs do not have any more. The
    caller holds `leases.lock`.

    entries: all devices of the guest
    """
    has = {(entry.network, entry.mac, entry.addr.partition("/")[0]) for entry in entries}
    address_plan.keep_only(umid, has)


def _reaches(addr: str, of: Range) -> bool:
    """Whether a NIC with an address reaches those whom its network has."""
    from ipaddress import ip_address, ip_interface  # costs as much as all the rest

    return ip_address(of.resolvers[0]) in ip_interface(addr).network
