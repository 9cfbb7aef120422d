"""What kernel arguments ask of a kernel, and whether it can do that. One that cannot says nothing,
or panics about a root. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from umlctl.devices import vec, vhost
from umlctl.guest.words import key, split, unquoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from umlctl.kernels.find import ProbedKernel

NFS_ROOT: Final = "/dev/nfs"
VDE_SINCE: Final = (6, 12)
"""The first release of Linux whose `vec` has the transport vde."""
_IN_DRIVER_OF: Final = {"ucast": "mcast"}
"""Transports that are part of another one's driver."""


class Requirement(NamedTuple):
    """What an argument takes.

    Fields:
        about: what the argument is about, before its `=`
        symbol: of the kernel's configuration, without CONFIG_
        why: what more is to be known, and what a user can do
    """

    about: str
    symbol: str
    why: str


_LENT: Final = (
    Requirement(
        "vfio_uml.device",
        "UML_PCI_OVER_VFIO",
        "Linux has it since 6.16, where it was built so; take a --kernel that `umlctl kernel list` "
        "shows with vfio",
    ),
    Requirement(
        "virtio_uml.device",
        "VIRTIO_UML",
        "take a --kernel that `umlctl kernel list` shows with virtio",
    ),
)
_NFS: Final = Requirement(
    "root",
    "ROOT_NFS",
    "its NFS is no part of it as it boots: take one that was built with NFS_FS=y, IP_PNP=y and "
    "ROOT_NFS=y, give an --initrd that mounts it, or a --root that this host has mounted",
)
assert {each.about for each in _LENT} == vhost.OPTIONS.keys()


def _lacking_interface(kernel: ProbedKernel, word: str) -> str:
    """The same of an interface of the old kind, which a kernel that lacks it takes no notice of."""
    name, equals, value = word.partition("=")
    if not equals or not name.startswith("eth") or not name[3:].isdigit():
        return ""
    transport = value.partition(",")[0]
    has = kernel.transports if "eth" in kernel.capabilities else ()
    if _IN_DRIVER_OF.get(transport, transport) in has:
        return ""
    rest = f"it has {', '.join(has)} of that kind" if has else "it has no interface of that kind"
    better = "--nic switch=NAME and --nic user need none"
    return f"{word}: {kernel.path} ({kernel.version}) was built without: {rest}; {better}"


def _lacking_transport(kernel: ProbedKernel, word: str) -> str:
    """The same of a transport that came later, which a kernel before says nothing of until the
    interface is brought up."""
    is_nic = word.startswith(("vec", "transport="))
    is_vde = is_nic and f"transport={vec.VDE}" in word.replace(":", ",", 1).split(",")
    if not is_vde or not (0, 0) < kernel.release < VDE_SINCE:
        return ""
    has = "eth0=vde,DIRECTORY there, or " if "vde" in kernel.transports else ""
    since = ".".join(map(str, VDE_SINCE))
    return (
        f"{word}: the transport vde takes Linux {since}, and {kernel.path} is {kernel.version}: "
        f"{has}another --kernel"
    )


def lacking(kernel: ProbedKernel, arguments: Sequence[str], *, initrd: bool) -> str:
    """Why a kernel cannot do what its arguments ask; empty if it can, or does not say what it can.

    initrd: an initial RAM disk mounts the root
    """
    if not kernel.config:
        return ""
    told, _ = split(arguments)
    for word in map(unquoted, told):
        why = _lacking_interface(kernel, word) or _lacking_transport(kernel, word)
        if why:
            return why
        about, _, value = word.partition("=")
        needed = next((each for each in _LENT if each.about == about), None)
        if key(word) == "root" and value == NFS_ROOT and not initrd:
            needed = _NFS
        if needed is not None and kernel.config.get(needed.symbol) not in ("y", "m"):
            return (
                f"{word} takes CONFIG_{needed.symbol}, and {kernel.path} ({kernel.version}) was "
                f"built without: {needed.why}"
            )
    return ""
