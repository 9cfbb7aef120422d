"""A network interface of an xl file: `mac=MAC,bridge=BRIDGE` and more. Pure.

Source: xl-network-configuration(5)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from umlctl.guest import specs
from umlctl.guest.readers.xl_without import IS_XEN, UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Mapping

BRIDGE: Final = "xenbr0"
"""The bridge that xl takes where none is named."""
OF_VIF: Final[Mapping[str, tuple[str, str]]] = {
    "script": (
        "a tap joins its bridge by itself",
        "what is more is up to the hooks of a network, see umlctl-network(1)",
    ),
    **dict.fromkeys(("model", "type"), ("all NICs of UML are the kernel's own vecN", "")),
    "rate": ("a tap has no such limit", "`tc` sets one; on a switch `umlctl nic set --rate` does"),
    "mtu": ("the guest sets it", "mtu= of a NIC in the kernel's words does, too"),
    **dict.fromkeys(("backend", "devid", "gatewaydev", "netdev", "trusted"), (IS_XEN, "")),
}
"""Options without a counterpart: why, and what to use instead."""
_TAP: Final = (
    "a tap that is made for a guest is named after it",
    "tap=NAME takes one that is there; `umlctl nic list` shows how it is named",
)


class XenNic(NamedTuple):
    """A NIC of a domain.

    Fields:
        nic: a tap on its bridge; NAT where it has none
        left: options without a counterpart, each with the reason and what to use instead
    """

    nic: specs.Nic
    left: tuple[tuple[str, str, str], ...]


def parse(text: str) -> XenNic:
    """Read a NIC, whose addresses and names are looked at elsewhere."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    found = {word.partition("=")[0].strip(): word.partition("=")[2].strip() for word in words}
    bridge = found.pop("bridge", "")
    nic = specs.Nic(
        kind=specs.TAP if bridge else specs.USER,
        name=specs.AUTO if bridge else "",
        bridge=bridge,
        mac=found.pop("mac", "").lower(),
        addr=found.pop("ip", ""),
    )
    reasons = {"vifname": _TAP, **OF_VIF}
    left = (
        (f"{key}={value}" if value else key, *reasons.get(key, UNKNOWN))
        for key, value in found.items()
    )
    return XenNic(nic, tuple(left))
