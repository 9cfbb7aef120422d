"""Network interfaces of this host, taps and bridges above all: what is there, who may use it.

A tap is a network interface whose other end is a file descriptor, here a guest's. A bridge is a
switch in the host's kernel. Looking at them needs no privilege, and reads /sys only; `taps` makes
them.
"""

from __future__ import annotations

import os
from typing import Final, NamedTuple

from umlctl.devices.values import MAX_IFNAME_BYTES
from umlctl.errors import HostError, UnfitHost, UsageError

SYSFS_DIRECTORY = "/sys/class/net"
"""This directory shows the network namespace of the process that mounted it."""

_HASH_CHARACTERS: Final = 5
_CAP_NET_ADMIN: Final = 12

# linux/if_tun.h
IFF_TAP: Final = 0x0002
IFF_MULTI_QUEUE: Final = 0x0100
_IFF_PERSIST: Final = 0x0800
_IFF_UP: Final = 0x1


class Interface(NamedTuple):
    """A network interface of this host.

    Fields:
        kind: "tap", "tun" (packets instead of frames), "bridge", "other"
        owner: of a tap, the user who may open it; None: every user
        group: of a tap, the group whose members alone may open it; None: every group
        in_use: a process has the tap open
        bridge: the bridge that it is a member of; empty if it is of none
        mac: the host's end; empty if it has none
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
    if len(name) > MAX_IFNAME_BYTES:
        raise UsageError(
            f"the name of a network interface has at most {MAX_IFNAME_BYTES} characters, "
            f"this one {len(name)}: {name}"
        )
    return name


def _check_characters(name: str) -> None:
    bad = [c for c in name if not "!" <= c <= "~" or c in "/:%"]
    if bad:
        raise UsageError(f"the name of a network interface cannot have {bad[0]!r}: {name!r}")


def tap_name(umid: str, index: int) -> str:
    """The name of a guest's tap: uml-UMID-INDEX.

    For a long umid, the name has the umid's beginning, `~`, and a hash. No umid has a `~`, so no
    other guest's full name looks like that.

    Raises: UsageError
    """
    if not 0 <= index <= 9999:
        raise UsageError(f"no tap has a name for device {index} of {umid}: 0 to 9999 do")
    if not umid:
        raise UsageError("the tap of a guest without a name has no name either")
    _check_characters(umid)
    room = MAX_IFNAME_BYTES - len(f"uml--{index}")
    if len(umid) > room:
        import hashlib
        from base64 import b32encode

        digest = b32encode(hashlib.sha256(umid.encode()).digest()).decode().lower()
        umid = f"{umid[: room - _HASH_CHARACTERS - 1]}~{digest[:_HASH_CHARACTERS]}"
    return check_name(f"uml-{umid}-{index}")


# Looking


def look(name: str) -> Interface | None:
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
        kind = "tap" if tun & IFF_TAP else "tun"
    else:
        kind = "bridge" if os.path.isdir(f"{SYSFS_DIRECTORY}/{name}/bridge") else "other"
    try:
        bridge = os.path.basename(os.readlink(f"{SYSFS_DIRECTORY}/{name}/brport/bridge"))
    except OSError:
        bridge = ""
    return Interface(
        name=name,
        kind=kind,
        owner=_identity(name, "owner") if tun else None,
        group=_identity(name, "group") if tun else None,
        in_use=bool(tun) and _is_open(name),
        bridge=bridge,
        mac=_text(name, "address") or "",
        up=bool(flags & _IFF_UP),
        persistent=bool(tun & _IFF_PERSIST),
        multi_queue=bool(tun & IFF_MULTI_QUEUE),
    )


def bridges() -> list[Bridge]:
    """Every bridge of this host, by name.

    Raises: HostError: there is no /sys
    """
    _require_sysfs()
    return [
        _bridge(name, _number(name, "flags") or 0)
        for name in sorted(os.listdir(SYSFS_DIRECTORY))
        if os.path.isdir(f"{SYSFS_DIRECTORY}/{name}/bridge")
    ]


def tap_names() -> list[str]:
    """Every tap of this host.

    Raises: HostError: there is no /sys
    """
    _require_sysfs()
    found = sorted(os.listdir(SYSFS_DIRECTORY))
    return [name for name in found if os.path.exists(f"{SYSFS_DIRECTORY}/{name}/tun_flags")]


def check_bridge(name: str) -> Bridge:
    """Return the bridge of that name.

    Raises: HostError: there is none; UsageError
    """
    link = look(name)
    if link is None:
        create = f"`umlctl network create {name} --bridge` makes it"
        if not may_configure():
            create += f" for root, or {instead(bridge_commands(name))}"
        raise HostError(f"there is no bridge {name}; {create}")
    if link.kind != "bridge":
        raise HostError(f"{name} is not a bridge but {described(link)}")
    return _bridge(name, _IFF_UP if link.up else 0)


def check_tap(name: str, uid: int) -> Interface:
    """Return the tap of that name if a guest of this user can open it now.

    Raises: HostError: the guest cannot open it, and why; UsageError
    """
    link = look(name)
    if link is None:
        raise HostError(f"there is no tap {name}; {instead(tap_commands(name, uid))}")
    if link.kind != "tap":
        raise HostError(f"{name} is not a tap but {described(link)}")
    refusal = _refuses(link, uid)
    if refusal:
        raise HostError(f"{name} is {refusal}; take another, or {instead(_remade(link, uid))}")
    if link.multi_queue:
        raise HostError(
            f"{name} is a tap of several queues, which UML cannot open; "
            f"{instead(_remade(link, uid))}"
        )
    if link.in_use:
        raise HostError(f"the tap {name} is in use: another guest or program has it open")
    return link


def _require_sysfs() -> None:
    if not os.path.isdir(SYSFS_DIRECTORY):
        raise HostError(
            f"there is no {SYSFS_DIRECTORY}, where interfaces are seen; mount sysfs at /sys"
        )


def _text(name: str, attribute: str) -> str | None:
    try:
        with open(f"{SYSFS_DIRECTORY}/{name}/{attribute}") as file:
            return file.read().strip()
    except OSError:
        # No such interface or attribute; EINVAL: the host does not tell it of an interface that is
        # down.
        return None


def _number(name: str, attribute: str) -> int | None:
    text = _text(name, attribute)
    return None if text is None else int(text, 0)


def _identity(name: str, attribute: str) -> int | None:
    number = _number(name, attribute)
    return None if number is None or number < 0 else number


def _is_open(name: str) -> bool:
    """Whether a process has a tap open: the tap has carrier as long as one has.

    Of a tap that is down, /sys counts the changes only, since it was made with carrier on.
    """
    carrier = _number(name, "carrier")
    if carrier is not None:
        return carrier == 1
    ups = _number(name, "carrier_up_count")
    return ups is not None and ups == _number(name, "carrier_down_count")


def _bridge(name: str, flags: int) -> Bridge:
    try:
        members = tuple(sorted(os.listdir(f"{SYSFS_DIRECTORY}/{name}/brif")))
    except OSError:
        members = ()
    return Bridge(name, members, bool(flags & _IFF_UP))


def described(link: Interface) -> str:
    """What an interface is, for a person."""
    return {
        "tap": "a tap",
        "tun": "a tun device, which carries packets without their frames",
        "bridge": "a bridge",
    }.get(link.kind, "another kind of network interface")


def _refuses(link: Interface, uid: int) -> str:
    """Why this user may not open the tap; empty if they may. Source: tun_not_capable in
    drivers/net/tun.c

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


def traffic(name: str) -> dict[str, int]:
    """What has gone through a tap: frames and bytes that its guest has `sent` and `received`, and
    frames that were `dropped`; empty if nobody knows."""
    counted = {
        "sent_frames": "rx_packets",
        "sent_bytes": "rx_bytes",
        "received_frames": "tx_packets",
        "received_bytes": "tx_bytes",
        "dropped": "tx_dropped",
    }
    found = {ours: _number(name, f"statistics/{its}") for ours, its in counted.items()}
    return {ours: count for ours, count in found.items() if count is not None}


# Privileges, and the commands for users who have them


def may_configure() -> bool:
    """Whether this process has CAP_NET_ADMIN, at least in its user namespace."""
    try:
        with open("/proc/self/status") as file:
            for line in file:
                if line.startswith("CapEff:"):
                    return bool(int(line.split()[1], 16) >> _CAP_NET_ADMIN & 1)
    except OSError:
        pass
    return False


def require_net_admin(what: str, *commands: str) -> None:
    """See that this process can configure interfaces, before anything is touched.

    what: what needs the privilege, for example "to make the tap x"
    commands: what an administrator can run instead

    Raises: HostError
    """
    if not may_configure():
        raise UnfitHost(
            f"{what}, this process needs CAP_NET_ADMIN, which it does not have; "
            f"{instead(list(commands))}"
        )


def tap_commands(name: str, owner: int, bridge: str = "") -> list[str]:
    """What an administrator can run in place of `taps.make_tap`."""
    from shlex import quote

    master = f" master {quote(bridge)}" if bridge else ""
    return [
        f"sudo ip tuntap add dev {quote(name)} mode tap user {_user(owner)}",
        f"sudo ip link set {quote(name)}{master} up",
    ]


def bridge_commands(name: str, address: str = "") -> list[str]:
    """What an administrator can run in place of `taps.make_bridge`."""
    from shlex import quote

    name = quote(name)
    addresses = [f"sudo ip address add {quote(address)} dev {name}"] if address else []
    return [f"sudo ip link add {name} type bridge", *addresses, f"sudo ip link set {name} up"]


def _remade(link: Interface, uid: int) -> list[str]:
    return [removal_command(link.name), *tap_commands(link.name, uid, link.bridge)]


def removal_command(name: str) -> str:
    """What an administrator can run to have an interface removed."""
    from shlex import quote

    return f"sudo ip link delete {quote(name)}"


def instead(commands: list[str]) -> str:
    """What an administrator can do, for a person."""
    return f"an administrator can: {' && '.join(commands)}"
