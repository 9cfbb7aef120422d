"""Making and removing taps and bridges of this host.

This needs CAP_NET_ADMIN. A lack of it is said before anything is touched, with the commands that an
administrator can run instead. A tap once made belongs to its owner, who needs no privilege.

A tap is made persistent last of all, after it has its owner, its bridge and is up. Whatever goes
wrong before that, even this process's death, the tap is gone with its descriptor.

These functions wait for the kernel, and must not be called in a thread that runs trio or asyncio:
pyroute2, which has a loop of its own, refuses to work there. Give them another thread.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from umlctl.errors import HostError, UnfitHost, UsageError
from umlctl.networks import interfaces
from umlctl.networks.interfaces import IFF_MULTI_QUEUE, IFF_TAP

if TYPE_CHECKING:
    from collections.abc import Iterator
    from ipaddress import IPv4Interface, IPv6Interface
    from typing import Any

TUN_DEVICE: Final = "/dev/net/tun"

_NOBODY: Final = 0xFFFFFFFF

# linux/if_tun.h
TUNSETIFF: Final = 0x400454CA
TUNSETPERSIST: Final = 0x400454CB
TUNSETOWNER: Final = 0x400454CC
TUNSETGROUP: Final = 0x400454CE
IFF_NO_PI: Final = 0x1000
_IFF_TUN_EXCL: Final = 0x8000


def make_tap(name: str, *, owner: int, bridge: str = "", address: str = "") -> None:
    """Make a tap that stays, belongs to the owner, is a member of the bridge if given, and is up.

    owner: uid
    address: the host's own on the tap, with its mask

    Raises: HostError: nothing was left behind; UsageError
    """
    import fcntl

    interfaces.check_name(name)
    if not 0 <= owner < _NOBODY:
        raise UsageError(f"no user has the number {owner}")
    if bridge:
        interfaces.check_name(bridge)
    host = _host_address(address) if address else None
    commands = interfaces.tap_commands(name, owner, bridge)
    interfaces.require_net_admin(f"to make the tap {name}", *commands)
    if bridge:
        interfaces.check_bridge(bridge)
    with _said(f"cannot make the tap {name}", commands):
        _refuse_existing(name)
        with _attached(name, IFF_TAP | IFF_NO_PI | _IFF_TUN_EXCL) as tap:
            fcntl.ioctl(tap, TUNSETOWNER, _signed(owner))
            with _netlink() as route:
                master = {"master": _index(bridge)} if bridge else {}
                route.link("set", index=_index(name), state="up", **master)
                if host is not None:
                    _add_address(route, _index(name), host)
            fcntl.ioctl(tap, TUNSETPERSIST, 1)


def _add_address(route: Any, index: int, host: Any) -> None:
    route.addr("add", index=index, address=str(host.ip), prefixlen=host.network.prefixlen)


def replace_tap(name: str, *, owner: int, bridge: str = "", address: str = "") -> None:
    """Make a tap again while a program has it open; that program loses it.

    A UML kernel that reboots forgets to close its taps, and cannot open them again.

    Raises: HostError; UsageError
    """
    interfaces.check_name(name)
    interfaces.require_net_admin(f"to make the tap {name} anew", interfaces.removal_command(name))
    if interfaces.look(name) is not None:
        with (
            _said(f"cannot remove the tap {name}", [interfaces.removal_command(name)]),
            _netlink() as route,
        ):
            route.link("del", index=_index(name))
    make_tap(name, owner=owner, bridge=bridge, address=address)


def remove_tap(name: str) -> None:
    """Remove a tap that no process has open; its owner can, too. Nothing is done if there is none.

    Raises: HostError: it is in use, or is not a tap, or not this user's; UsageError
    """
    import fcntl

    link = interfaces.look(name)
    if link is None:
        return
    if link.kind != "tap":
        raise HostError(f"{name} is not removed: it is not a tap but {interfaces.described(link)}")
    in_use = f"the tap {name} is not removed: a guest or program has it open"
    if link.in_use:
        raise HostError(in_use)
    queues = IFF_MULTI_QUEUE if link.multi_queue else 0
    with _said(f"cannot remove the tap {name}", [interfaces.removal_command(name)]):
        try:
            with _attached(name, IFF_TAP | IFF_NO_PI | queues) as tap:
                fcntl.ioctl(tap, TUNSETPERSIST, 0)
        except OSError as problem:
            if problem.errno == errno.EBUSY:
                raise HostError(in_use) from problem
            raise


def make_bridge(name: str, address: str = "") -> None:
    """Make a bridge that is up.

    address: the host's own in that network, with its mask: 192.168.50.1/24

    Raises: HostError: nothing was left behind; UsageError
    """
    interfaces.check_name(name)
    host = _host_address(address) if address else None
    commands = interfaces.bridge_commands(name, address)
    interfaces.require_net_admin(f"to make the bridge {name}", *commands)
    with _said(f"cannot make the bridge {name}", commands):
        _refuse_existing(name)
        with _netlink() as route:
            route.link("add", ifname=name, kind="bridge")  # the kernel refuses if it exists by now
            index = _index(name)
            try:
                if host is not None:
                    _add_address(route, index, host)
                route.link("set", index=index, state="up")
            except BaseException:
                route.link("del", index=index)
                raise


def remove_bridge(name: str) -> None:
    """Remove a bridge without members. Nothing is done if there is none.

    Raises: HostError: it has members, or is not a bridge; UsageError
    """
    if interfaces.look(name) is None:
        return
    members = interfaces.check_bridge(name).members
    if members:
        raise HostError(f"the bridge {name} is not removed: it has members: {', '.join(members)}")
    commands = [interfaces.removal_command(name)]
    interfaces.require_net_admin(f"to remove the bridge {name}", *commands)
    with _said(f"cannot remove the bridge {name}", commands):
        try:
            with _netlink() as route:
                route.link("del", index=_index(name))
        except OSError as problem:
            if problem.errno != errno.ENODEV:  # another process was faster
                raise


def _refuse_existing(name: str) -> None:
    link = interfaces.look(name)
    if link is not None:
        raise HostError(f"there is a {name} already: {interfaces.described(link)}")


def _host_address(address: str) -> IPv4Interface | IPv6Interface:
    import ipaddress

    try:
        if "/" not in address:
            raise ValueError("it has no mask")
        found = ipaddress.ip_interface(address)
    except ValueError as problem:
        raise UsageError(
            f"not an address with its mask, such as 192.168.50.1/24: {address!r}: {problem}"
        ) from problem
    network = found.network
    if network.num_addresses > 2 and found.ip in {
        network.network_address,
        network.broadcast_address,
    }:
        raise UsageError(f"no host can have {found.ip} in the network {network}")
    return found


@contextmanager
def _attached(name: str, flags: int) -> Iterator[int]:
    """A descriptor of a tap, which is made if it is not there."""
    import fcntl
    from struct import pack

    tap = os.open(TUN_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(tap, TUNSETIFF, pack("16sH22x", name.encode(), flags))
        yield tap
    finally:
        os.close(tap)


@contextmanager
def _netlink() -> Iterator[Any]:
    """pyroute2's IPRoute; what the kernel refuses becomes an OSError."""
    from pyroute2 import IPRoute, NetlinkError  # type: ignore[import-untyped] # it ships no types

    try:
        with IPRoute() as route:
            yield route
    except NetlinkError as problem:
        raise OSError(problem.code, os.strerror(problem.code)) from problem


@contextmanager
def _said(what: str, commands: list[str]) -> Iterator[None]:
    """Turn an OSError into a HostError, with what to do about it."""
    try:
        yield
    except OSError as problem:
        text = f"{what}: {problem.strerror or problem}"
        if problem.filename:
            text = f"{what}: {problem.filename}: {problem.strerror}"
        if problem.filename == TUN_DEVICE and problem.errno in {
            errno.ENOENT,
            errno.ENXIO,
            errno.ENODEV,
        }:
            text += "; this host or container has no tun device: modprobe tun makes it"
        elif problem.errno in {errno.EPERM, errno.EACCES}:
            text += f"; {interfaces.instead(commands)}"
        if problem.filename == TUN_DEVICE:
            raise UnfitHost(text) from problem
        raise HostError(text) from problem


def _index(name: str) -> int:
    import socket

    try:
        return socket.if_nametoindex(name)
    except OSError as problem:  # before Python 3.14 it has no errno
        raise OSError(errno.ENODEV, f"there is no interface {name}") from problem


def _signed(number: int) -> int:
    """As the C int that `ioctl` takes."""
    return number - (1 << 32) if number >> 31 else number
