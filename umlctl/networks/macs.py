"""Hardware addresses of guests: the same at every boot, and different for each device.

A kernel takes a random address if it is given none. Leases, firewall rules and the names that a
guest's udev gives out would then change at every boot.
"""

from __future__ import annotations

import hashlib
import string

from umlctl.errors import UsageError

__all__ = ["mac_of", "normal"]


def mac_of(umid: str, index: int, kind: str = "vec") -> str:
    """The address of a device of a guest, from their names alone.

    44 bits are of a hash. The others say: one station, locally administered, by an administrator as
    opposed to a protocol (IEEE 802c: the second digit is 2).
    """
    octets = bytearray(hashlib.sha256(f"umlctl mac\0{umid}\0{kind}{index}".encode()).digest()[:6])
    octets[0] = octets[0] & 0xF0 | 0x02
    return octets.hex(":")


def normal(mac: str) -> str:
    """The address in lower case, if a guest's device can have it.

    Raises: UsageError
    """
    octets = mac.split(":")
    if len(octets) != 6 or any(len(octet) != 2 or set(octet) - _DIGITS for octet in octets):
        raise UsageError(f"not a hardware address, which looks like 02:00:00:12:34:56: {mac!r}")
    if int(octets[0], 16) & 1:
        raise UsageError(
            f"{mac} is an address of many (multicast), and no device can have it; "
            "take one whose second digit is 2, 6, a or e"
        )
    if set(mac) == set("0:"):
        raise UsageError(f"{mac} is no address: it means that there is none")
    return mac.lower()


_DIGITS = frozenset(string.hexdigits)
