"""Two common kinds of guests, each a word for options that exist: `lab` and `server`.

What a profile stands for is written into the definition; no other module knows of profiles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from umlctl.devices.values import IFNAME
from umlctl.errors import UsageError
from umlctl.guest import policy, specs
from umlctl.guest.definition import is_device

if TYPE_CHECKING:
    from collections.abc import Iterable

LAB: Final = "lab"
SERVER: Final = "server"
BRIDGE: Final = "br0"
"""The bridge of a server's NIC, unless the user names another."""


class Profile(NamedTuple):
    """What a profile stands for.

    Fields:
        nics: of a guest that was given none
        restart: of a guest that was given none
    """

    nics: tuple[str, ...]
    restart: str


def parse(text: str) -> Profile:
    """Read `lab` or `server[:BRIDGE]`.

    Raises: UsageError
    """
    name, colon, bridge = text.partition(":")
    if name == LAB and not colon:
        return Profile((specs.USER,), policy.NO)
    if name != SERVER:
        raise UsageError(f"a profile is {LAB}, {SERVER} or {SERVER}:BRIDGE, not {text!r}")
    bridge = bridge if colon else BRIDGE
    IFNAME.check("a bridge", bridge, text)
    if "," in bridge:
        raise UsageError(f"a bridge with a ',' in its name cannot be had: {text!r}")
    nic = specs.Nic(kind=specs.TAP, name=specs.AUTO, bridge=bridge)
    return Profile((str(nic),), policy.ON_FAILURE)


def has_nic(words: Iterable[str]) -> bool:
    """Whether there is a NIC among kernel arguments."""
    return any(is_device(word) and not word.startswith("ubd") for word in words)
