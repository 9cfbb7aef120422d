"""Taps and bridges of this host: what is there, who may use it, making and removing it.

A tap is a network interface whose other end is a file descriptor, here a guest's; a bridge is
a switch in the host's kernel. Looking at them needs no privilege and reads /sys only. Making
them needs CAP_NET_ADMIN, which is said before anything is touched, with the commands that an
administrator can run instead. A tap once made belongs to its owner, who needs no privilege.

A tap is made persistent last of all, after it has its owner, its bridge and is up: whatever
goes wrong before, our death included, it is gone with its descriptor.

What makes and removes waits for the kernel, and must not be called in a thread that runs trio or
asyncio: pyroute2, which has a loop of its own, refuses to work there. Give it another thread.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from umlctl.errors import HostError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from ipaddress import IPv4Interface, IPv6Interface
    from typing import Any

__all__ = [
    "Bridge",
    "Link",
    "bridge_commands",
    "bridges",
    "check_bridge",
    "check_name",
    "check_tap",
    "look",
    "make_bridge",
    "make_tap",
    "may_configure",
    "remove_bridge",
    "remove_tap",
    "require_net_admin",
    "tap_commands",
    "tap_name",
]

NAME_MAX: Final = 15
"""Bytes of an interface's name. linux/if.h: IFNAMSIZ"""
SYSFS = "/sys/class/net"
"""It shows the network namespace of whoever mounted it."""
TUN: Final = "/dev/net/tun"

_HASHED: Final = 5
_CAP_NET_ADMIN: Final = 12
_NOBODY: Final = 0xFFFFFFFF

# linux/if_tun.h
_TUNSETIFF: Final = 0x400454CA
_TUNSETPERSIST: Final = 0x400454CB
_TUNSETOWNER: Final = 0x400454CC
_IFF_TAP: Final = 0x0002
_IFF_MULTI_QUEUE: Final = 0x0100
_IFF_PERSIST: Final = 0x0800
_IFF_NO_PI: Final = 0x1000
_IFF_TUN_EXCL: Final = 0x8000
_IFF_UP: Final = 0x1


class Link(NamedTuple):
    """A network interface of this host.

    Fields:
        kind: "tap", "tun" (packets instead of frames), "bridge", "other"
        owner: of a tap, the user who may open it; None: everybody
        group: of a tap, the group whose members alone may; None: everybody
        in_use: somebody has the tap open
        bridge: of which it is a member, or ""
        mac: the host's end; "" if it has none
        up: switched on; a tap that is not carries nothing, though a guest can open it
        persistent: the tap stays when it is closed
        multi_queue: the tap is for programs that open it several times; UML cannot
    """

    name: str
    kind: str
    owner: int | None
    group: int | None
    in_use: bool
    bridge: str
    mac: str
    up: bool
    persistent: bool
    multi_queue: bool


class Bridge(NamedTuple):
    name: str
    members: tuple[str, ...]
    up: bool


# Names


def check_name(name: str) -> str:
    """Return the name if an interface can have it.

    The kernel would take more: a `%d`, which it replaces, and some bytes beyond ASCII.

    Raises: UsageError
    """
    if not name:
        raise UsageError("the name of a network interface cannot be empty")
    _check_characters(name)
    if name in {".", ".."}:
        raise UsageError(f"a network interface cannot be called {name!r}")
    if len(name) > NAME_MAX:
        raise UsageError(
            f"the name of a network interface has at most {NAME_MAX} characters, "
            f"this one {len(name)}: {name}"
        )
    return name


def _check_characters(name: str) -> None:
    bad = [c for c in name if not "!" <= c <= "~" or c in "/:%"]
    if bad:
        raise UsageError(f"the name of a network interface cannot have {bad[0]!r}: {name!r}")


def tap_name(umid: str, index: int) -> str:
    """The name of a guest's tap: uml-UMID-INDEX.

    Of a long umid there are the beginning, `~`, and a hash; no umid has a `~`, so that no other
    guest's name in full looks like it.

    Raises: UsageError
    """
    if not 0 <= index <= 9999:
        raise UsageError(f"no tap has a name for device {index} of {umid}: 0 to 9999 do")
    if not umid:
        raise UsageError("the tap of a guest without a name has no name either")
    _check_characters(umid)
    room = NAME_MAX - len(f"uml--{index}")
    if len(umid) > room:
        import hashlib
        from base64 import b32encode

        digest = b32encode(hashlib.sha256(umid.encode()).digest()).decode().lower()
        umid = f"{umid[: room - _HASHED - 1]}~{digest[:_HASHED]}"
    return check_name(f"uml-{umid}-{index}")


# Looking


def look(name: str) -> Link | None:
    """What /sys says of an interface; None if there is none.

    Raises: UsageError: no name for an interface; HostError: there is no /sys
    """
    check_name(name)
    flags = _number(name, "flags")
    if flags is None:
        _require_sysfs()
        return None
    tun = _number(name, "tun_flags") or 0
    if tun:
        kind = "tap" if tun & _IFF_TAP else "tun"
    else:
        kind = "bridge" if os.path.isdir(f"{SYSFS}/{name}/bridge") else "other"
    try:
        bridge = os.path.basename(os.readlink(f"{SYSFS}/{name}/brport/bridge"))
    except OSError:
        bridge = ""
    return Link(
        name=name,
        kind=kind,
        owner=_identity(name, "owner") if tun else None,
        group=_identity(name, "group") if tun else None,
        in_use=bool(tun) and _is_open(name),
        bridge=bridge,
        mac=_text(name, "address") or "",
        up=bool(flags & _IFF_UP),
        persistent=bool(tun & _IFF_PERSIST),
        multi_queue=bool(tun & _IFF_MULTI_QUEUE),
    )


def bridges() -> list[Bridge]:
    """Every bridge of this host, by name.

    Raises: HostError: there is no /sys
    """
    _require_sysfs()
    return [
        _bridge(name, _number(name, "flags") or 0)
        for name in sorted(os.listdir(SYSFS))
        if os.path.isdir(f"{SYSFS}/{name}/bridge")
    ]


def names() -> list[str]:
    """Every tap of this host.

    Raises: HostError: there is no /sys
    """
    _require_sysfs()
    found = sorted(os.listdir(SYSFS))
    return [name for name in found if os.path.exists(f"{SYSFS}/{name}/tun_flags")]


def check_bridge(name: str) -> Bridge:
    """Return the bridge of that name.

    Raises: HostError: there is none; UsageError
    """
    link = look(name)
    if link is None:
        create = f"`umlctl network create {name} --bridge` makes it"
        if not may_configure():
            create += f" for root, or {_instead(bridge_commands(name))}"
        raise HostError(f"there is no bridge {name}; {create}")
    if link.kind != "bridge":
        raise HostError(f"{name} is not a bridge but {_described(link)}")
    return _bridge(name, _IFF_UP if link.up else 0)


def check_tap(name: str, uid: int) -> Link:
    """Return the tap of that name if a guest of this user can open it now.

    Raises: HostError: it cannot, and why; UsageError
    """
    link = look(name)
    if link is None:
        raise HostError(f"there is no tap {name}; {_instead(tap_commands(name, uid))}")
    if link.kind != "tap":
        raise HostError(f"{name} is not a tap but {_described(link)}")
    refusal = _refuses(link, uid)
    if refusal:
        raise HostError(f"{name} is {refusal}; take another, or {_instead(_remade(link, uid))}")
    if link.multi_queue:
        raise HostError(
            f"{name} is a tap of several queues, which UML cannot open; "
            f"{_instead(_remade(link, uid))}"
        )
    if link.in_use:
        raise HostError(f"the tap {name} is in use: another guest or program has it open")
    return link


def _require_sysfs() -> None:
    if not os.path.isdir(SYSFS):
        raise HostError(f"there is no {SYSFS}, where interfaces are seen; mount sysfs at /sys")


def _text(name: str, attribute: str) -> str | None:
    try:
        with open(f"{SYSFS}/{name}/{attribute}") as file:
            return file.read().strip()
    except OSError:
        # No such interface or attribute; EINVAL: not told of an interface that is down.
        return None


def _number(name: str, attribute: str) -> int | None:
    text = _text(name, attribute)
    return None if text is None else int(text, 0)


def _identity(name: str, attribute: str) -> int | None:
    number = _number(name, attribute)
    return None if number is None or number < 0 else number


def _is_open(name: str) -> bool:
    """A tap has carrier as long as somebody has it open.

    Of one that is down, /sys counts the changes only, since it was made with carrier on.
    """
    carrier = _number(name, "carrier")
    if carrier is not None:
        return carrier == 1
    ups = _number(name, "carrier_up_count")
    return ups is not None and ups == _number(name, "carrier_down_count")


def _bridge(name: str, flags: int) -> Bridge:
    try:
        members = tuple(sorted(os.listdir(f"{SYSFS}/{name}/brif")))
    except OSError:
        members = ()
    return Bridge(name, members, bool(flags & _IFF_UP))


def _described(link: Link) -> str:
    return {
        "tap": "a tap",
        "tun": "a tun device, which carries packets without their frames",
        "bridge": "a bridge",
    }.get(link.kind, "another kind of network interface")


def _refuses(link: Link, uid: int) -> str:
    """Why this user may not open the tap, or "". drivers/net/tun.c: tun_not_capable

    With an owner and a group, both must fit.
    """
    if may_configure() if uid == os.geteuid() else uid == 0:
        return ""
    if link.owner is not None and link.owner != uid:
        return f"the tap of {_user(link.owner)}, and {_user(uid)} cannot open it"
    if link.group is not None and link.group not in _groups(uid):
        return f"a tap for group {link.group}, to which {_user(uid)} does not belong"
    return ""


def _groups(uid: int) -> set[int]:
    if uid == os.geteuid():
        return {os.getegid(), *os.getgroups()}
    import pwd

    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        return set()
    return set(os.getgrouplist(user.pw_name, user.pw_gid))


def _user(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


# Privileges, and the commands for those who have them


def may_configure() -> bool:
    """This process has CAP_NET_ADMIN, at least in its user namespace."""
    try:
        with open("/proc/self/status") as file:
            for line in file:
                if line.startswith("CapEff:"):
                    return bool(int(line.split()[1], 16) >> _CAP_NET_ADMIN & 1)
    except OSError:
        pass
    return False


def require_net_admin(what: str, *commands: str) -> None:
    """See that interfaces can be configured, before anything is touched.

    what: needs the privilege, for example "to make the tap x"
    commands: what an administrator can run instead

    Raises: HostError
    """
    if not may_configure():
        raise HostError(
            f"{what}, this process needs CAP_NET_ADMIN, which it does not have; "
            f"{_instead(list(commands))}"
        )


def tap_commands(name: str, owner: int, bridge: str = "") -> list[str]:
    """What an administrator can run in place of `make_tap`."""
    from shlex import quote

    master = f" master {quote(bridge)}" if bridge else ""
    return [
        f"sudo ip tuntap add dev {quote(name)} mode tap user {_user(owner)}",
        f"sudo ip link set {quote(name)}{master} up",
    ]


def bridge_commands(name: str, address: str = "") -> list[str]:
    """What an administrator can run in place of `make_bridge`."""
    from shlex import quote

    name = quote(name)
    addresses = [f"sudo ip address add {quote(address)} dev {name}"] if address else []
    return [f"sudo ip link add {name} type bridge", *addresses, f"sudo ip link set {name} up"]


def _remade(link: Link, uid: int) -> list[str]:
    return [_removal(link.name), *tap_commands(link.name, uid, link.bridge)]


def _removal(name: str) -> str:
    from shlex import quote

    return f"sudo ip link delete {quote(name)}"


def _instead(commands: list[str]) -> str:
    return f"an administrator can: {' && '.join(commands)}"


# Making and removing


def make_tap(name: str, *, owner: int, bridge: str = "", address: str = "") -> None:
    """Make a tap that stays, belongs to the owner, is a member of the bridge if given, and is up.

    owner: uid
    address: the host's own on it, with its mask

    Raises: HostError: nothing was left behind; UsageError
    """
    import fcntl

    check_name(name)
    if not 0 <= owner < _NOBODY:
        raise UsageError(f"no user has the number {owner}")
    if bridge:
        check_name(bridge)
    host = _host_address(address) if address else None
    commands = tap_commands(name, owner, bridge)
    require_net_admin(f"to make the tap {name}", *commands)
    if bridge:
        check_bridge(bridge)
    with _said(f"cannot make the tap {name}", commands):
        _refuse_existing(name)
        with _attached(name, _IFF_TAP | _IFF_NO_PI | _IFF_TUN_EXCL) as tap:
            fcntl.ioctl(tap, _TUNSETOWNER, _signed(owner))
            with _netlink() as route:
                master = {"master": _index(bridge)} if bridge else {}
                route.link("set", index=_index(name), state="up", **master)
                if host is not None:
                    _add_address(route, _index(name), host)
            fcntl.ioctl(tap, _TUNSETPERSIST, 1)


def _add_address(route: Any, index: int, host: Any) -> None:
    route.addr("add", index=index, address=str(host.ip), prefixlen=host.network.prefixlen)


def replace_tap(name: str, *, owner: int, bridge: str = "", address: str = "") -> None:
    """Make a tap anew under a program that has it open, and loses it.

    A UML kernel that reboots forgets to close its taps, and cannot open them again.

    Raises: HostError; UsageError
    """
    check_name(name)
    require_net_admin(f"to make the tap {name} anew", _removal(name))
    if look(name) is not None:
        with _said(f"cannot remove the tap {name}", [_removal(name)]), _netlink() as route:
            route.link("del", index=_index(name))
    make_tap(name, owner=owner, bridge=bridge, address=address)


def remove_tap(name: str) -> None:
    """Remove a tap that nobody has open; its owner can, too. Nothing is done if there is none.

    Raises: HostError: it is in use, or is not a tap, or not ours; UsageError
    """
    import fcntl

    link = look(name)
    if link is None:
        return
    if link.kind != "tap":
        raise HostError(f"{name} is not removed: it is not a tap but {_described(link)}")
    in_use = f"the tap {name} is not removed: a guest or program has it open"
    if link.in_use:
        raise HostError(in_use)
    queues = _IFF_MULTI_QUEUE if link.multi_queue else 0
    with _said(f"cannot remove the tap {name}", [_removal(name)]):
        try:
            with _attached(name, _IFF_TAP | _IFF_NO_PI | queues) as tap:
                fcntl.ioctl(tap, _TUNSETPERSIST, 0)
        except OSError as problem:
            if problem.errno == errno.EBUSY:
                raise HostError(in_use) from problem
            raise


def make_bridge(name: str, address: str = "") -> None:
    """Make a bridge that is up.

    address: the host's own in that network, with its mask: 192.168.50.1/24

    Raises: HostError: nothing was left behind; UsageError
    """
    check_name(name)
    host = _host_address(address) if address else None
    commands = bridge_commands(name, address)
    require_net_admin(f"to make the bridge {name}", *commands)
    with _said(f"cannot make the bridge {name}", commands):
        _refuse_existing(name)
        with _netlink() as route:
            route.link("add", ifname=name, kind="bridge")  # refused if it exists by now
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
    if look(name) is None:
        return
    members = check_bridge(name).members
    if members:
        raise HostError(f"the bridge {name} is not removed: it has members: {', '.join(members)}")
    commands = [_removal(name)]
    require_net_admin(f"to remove the bridge {name}", *commands)
    with _said(f"cannot remove the bridge {name}", commands):
        try:
            with _netlink() as route:
                route.link("del", index=_index(name))
        except OSError as problem:
            if problem.errno != errno.ENODEV:  # somebody was faster
                raise


def _refuse_existing(name: str) -> None:
    link = look(name)
    if link is not None:
        raise HostError(f"there is a {name} already: {_described(link)}")


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
    """A descriptor of the tap, which is made if it is not there."""
    import fcntl
    from struct import pack

    tap = os.open(TUN, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(tap, _TUNSETIFF, pack("16sH22x", name.encode(), flags))
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
    """An OSError becomes a HostError, with what to do about it."""
    try:
        yield
    except OSError as problem:
        text = f"{what}: {problem.strerror or problem}"
        if problem.filename:
            text = f"{what}: {problem.filename}: {problem.strerror}"
        if problem.filename == TUN and problem.errno in {errno.ENOENT, errno.ENXIO, errno.ENODEV}:
            text += "; this host or container has no tun device: modprobe tun makes it"
        elif problem.errno in {errno.EPERM, errno.EACCES}:
            text += f"; {_instead(commands)}"
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
