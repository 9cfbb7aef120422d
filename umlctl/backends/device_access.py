"""What the devices of a guest need of this host beside files: devices of the host, sockets and
capabilities. Pure.

What a confined kernel has of it is settled when it starts: it gets none of it later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from umlctl.devices import eth, lines, vec
from umlctl.devices.families import ETH, LENT, LINE, NIC, VIRTIO, family_of, kind_of
from umlctl.devices.needs import CAPABILITY, CONTROL, PROGRAM, TAP, TTY
from umlctl.errors import UsageError
from umlctl.guest.words import unquoted
from umlctl.host.seccomp import AF_INET, AF_INET6, AF_NETLINK, AF_PACKET

if TYPE_CHECKING:
    from collections.abc import Iterable

TUN: Final = "/dev/net/tun"
VFIO: Final = "/dev/vfio"
TERMINALS: Final = ("/dev/pts", "/dev/tty")
ALWAYS: Final = (
    *("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"),
    *("/dev/ptmx", "/dev/pts/ptmx"),  # what it makes there is its own
)
"""Devices that every kernel may open: they lead to nothing of anybody's."""
_PROGRAMS: Final = {"port": (), "xterm": TERMINALS}
"""What lines are that a program of their own serves, which talks to it over a stream and to others
by TCP, and the devices that it opens."""
_INTERNET: Final = frozenset({AF_INET, AF_INET6, AF_NETLINK})
"""The last is what a C library asks for addresses by."""
_FAMILIES: Final = {
    **dict.fromkeys(("gre", "l2tpv3", "mcast", "ucast", "slirp", "slip", "ethertap"), _INTERNET),
    **dict.fromkeys(("raw", "hybrid"), frozenset({AF_PACKET})),
    "pcap": _INTERNET | {AF_PACKET},
}
"""By the transport of a network card. Taps, switches and lent descriptors need none."""


class Means(NamedTuple):
    """What devices need.

    Fields:
        paths: devices of this host, or directories of them
        capabilities: of root's
        streams: sockets of the family unix that are streams
        tcp: to connect to others, and to be connected to
        families: AF_... of the sockets that are not of the family unix
    """

    paths: frozenset[str] = frozenset()
    capabilities: frozenset[str] = frozenset()
    streams: bool = False
    tcp: bool = False
    families: frozenset[int] = frozenset()

    def beside(self, other: Means) -> Means:
        """What both need."""
        return Means(
            self.paths | other.paths,
            self.capabilities | other.capabilities,
            self.streams or other.streams,
            self.tcp or other.tcp,
            self.families | other.families,
        )


def of_command(words: Iterable[str]) -> Means:
    """What the devices on a kernel's command line need."""
    found = Means(frozenset(ALWAYS))
    for word in words:
        found = found.beside(of_device(unquoted(word)))
    return found


def of_device(word: str) -> Means:
    """What a device needs; nothing, if the word is none.

    word: in its kernel's words
    """
    kind = kind_of(word)
    try:
        if kind == LENT and family_of(word) == VIRTIO:
            return Means(streams=True)
        if kind == LENT:
            return Means(frozenset({VFIO}))
        if kind == LINE:
            return _of_line(lines.parse(word, insist=True))
        if kind == NIC:
            return _of_nic(word)
    except UsageError:
        pass  # console=, or what the kernel itself does not understand
    return Means()


def _of_line(line: lines.Line) -> Means:
    served = _PROGRAMS.keys() & {channel.partition(":")[0] for channel in line.channels}
    paths = {need.value for need in line.needs() if need.kind == TTY}
    paths |= {path for kind in served for path in _PROGRAMS[kind]}
    families = _INTERNET if served else frozenset()
    return Means(frozenset(paths), streams=bool(served), tcp=bool(served), families=families)


def _nic(word: str) -> eth.Eth | vec.Vec:
    """Raises: UsageError"""
    return eth.parse(word) if family_of(word) == ETH else vec.parse(word, insist=True)


def _of_nic(word: str) -> Means:
    """Raises: UsageError"""
    device = _nic(word)
    is_vde = isinstance(device, vec.Vec) and device.transport == vec.VDE
    is_tunnel = isinstance(device, vec.Vec) and device.is_tunnel
    needs = device.needs()
    kinds = {need.kind for need in needs}
    return Means(
        frozenset({TUN} if TAP in kinds else ()),
        frozenset(need.value for need in needs if need.kind == CAPABILITY),
        streams=bool(kinds & {CONTROL, PROGRAM}),
        tcp=PROGRAM in kinds and not is_vde,
        families=_INTERNET if is_tunnel else _FAMILIES.get(device.transport, frozenset()),
    )


def switches(word: str) -> list[str]:
    """The directories of this host that a NIC has vde_plug make a socket in: that of a vde_switch.

    word: in its kernel's words; any other has none
    """
    try:
        needs = _nic(word).needs() if kind_of(word) == NIC else ()
    except UsageError:
        return []
    plugs = any(need.kind == PROGRAM for need in needs)
    return [need.value for need in needs if plugs and need.kind == CONTROL]


def lacking(has: Means, given: Iterable[str], word: str) -> str:
    """How a confined guest would have to be started to have a device that it cannot have now;
    empty if it can.

    has: what its kernel has; given: files and directories that it may write
    word: the device in its kernel's words
    """
    needs = of_device(word)
    if (
        needs.capabilities - has.capabilities
        or needs.families - has.families
        or (needs.streams and not has.streams)
        or (needs.tcp and not has.tcp)
    ):
        return "with it, or with --confine off"
    given = [*given, *has.paths]
    wanted = {*needs.paths, *switches(word)}
    missing = sorted(path for path in wanted if not any(is_below(path, each) for each in given))
    return f"with --rw {missing[0]}" if missing else ""


def is_below(path: str, directory: str) -> bool:
    """A path is the directory's, or leads to something in it."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")
