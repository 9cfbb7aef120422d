"""What networks of guests take of this host, kind by kind of a NIC."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from umlctl.checks.findings import NOTE, WARNING, Finding, by_root, set_to
from umlctl.devices import needs, vec
from umlctl.errors import HostError, UnfitHost
from umlctl.host import processes, programs, settings
from umlctl.networks import definitions, interfaces, slirp, slirp_question
from umlctl.networks.taps import TUN_DEVICE

if TYPE_CHECKING:
    from collections.abc import Iterator

_TAPS: Final = "guests can have no NIC of the kinds `tap=NAME` and `tap=auto`"
_WITHOUT: Final = "`--nic user` and `--nic switch=NAME` take no privilege"
_OF_KERNEL: Final = (
    "vec0:transport=raw,ifname=eth0",
    "vec0:transport=hybrid,ifname=tap0",
    "vec0:transport=gre,src=10.0.0.1,dst=10.0.0.2",
    "vec0:transport=l2tpv3,src=10.0.0.1,dst=10.0.0.2,tx_session=1,rx_session=1",
)
"""One NIC of each kind of the kernel's own that may take a privilege."""
_BRIDGE_FILTER: Final = "net.bridge.bridge-nf-call-iptables"


def user() -> Iterator[Finding]:
    """`--nic user` works: the internet, without a privilege."""
    try:
        slirp.find_program()
    except UnfitHost as problem:
        what, _, remedy = problem.problem.partition(": ")
        yield Finding(
            WARNING,
            f"there is no {slirp_question.PROGRAM}",
            f"{what}: `--nic user`, `--profile lab` and networks with --user are refused",
            by_root(remedy),
        )


def tun() -> Iterator[Finding]:
    """Taps can be opened."""
    try:
        os.close(os.open(TUN_DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except OSError as problem:
        what = f"{TUN_DEVICE} cannot be opened: {problem.strerror}"
        if problem.errno in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
            remedy = f"{by_root('modprobe tun')}; in a container: --device {TUN_DEVICE}"
        else:
            remedy = f"{by_root(f'chmod 666 {TUN_DEVICE}')}, as most systems have it"
        yield Finding(WARNING, what, f"{_TAPS}; {_WITHOUT}", remedy)


def taps() -> Iterator[Finding]:
    """Taps and bridges can be made."""
    if interfaces.may_configure():
        return
    commands = interfaces.tap_commands("tap0", os.geteuid(), "br0")
    yield Finding(
        NOTE,
        "this process has no CAP_NET_ADMIN",
        "NICs of the kind `tap=auto` are refused, and `network create --bridge`; one of the kind "
        f"`tap=NAME` takes a tap that is yours; {_WITHOUT}",
        f"run umlctl as root, or have a tap made: {'; '.join(commands)}",
    )


def kernels_own() -> Iterator[Finding]:
    """NICs in the kernel's words have the privileges that they take."""
    lacking: dict[str, list[str]] = {}
    for text in _OF_KERNEL:
        device = vec.parse(text)
        for need in device.needs():
            if need.kind == needs.CAPABILITY and not processes.has_capability(need.value):
                lacking.setdefault(need.value, []).append(device.transport)
    for capability, transports in lacking.items():
        yield Finding(
            NOTE,
            f"this process has no {capability}",
            f"NICs of the transports {', '.join(transports)} are refused; {_WITHOUT}",
            "run umlctl as root for those",
        )


def sysfs() -> Iterator[Finding]:
    """Interfaces can be seen."""
    try:
        interfaces.bridges()
    except HostError as problem:
        what, _, _ = str(problem).partition("; ")
        remedy = by_root("mount -t sysfs sysfs /sys")
        yield Finding(WARNING, what, "taps and bridges are refused", remedy)


def ip() -> Iterator[Finding]:
    """Guests on this host's files can set their NICs up."""
    if programs.init_lacks("ip"):
        remedy = by_root(programs.INSTALL_IP)
        yield Finding(WARNING, programs.NO_IP, "its NICs are not set up", remedy)


def bridged_frames() -> Iterator[Finding]:
    """Frames between the members of a bridge pass no firewall."""
    if settings.number(_BRIDGE_FILTER, 0):
        yield Finding(
            NOTE,
            f"{_BRIDGE_FILTER} is 1",
            "frames between guests on one bridge pass the host's firewall, which may drop them, as "
            "docker's does",
            set_to(_BRIDGE_FILTER, 0),
        )


def written_down() -> Iterator[Finding]:
    """Networks that are written down can be read."""
    for problem in definitions.unreadable():
        yield Finding(
            WARNING,
            str(problem),
            "guests on that network do not start",
            "mend the file, or `umlctl network rm` and `create` it again",
        )
