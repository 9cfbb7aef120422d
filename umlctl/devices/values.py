"""Rules for the values that several families share: numbers, MAC addresses, interface names.

The kernel reads numbers with base 0, so that 010 is 8: a leading zero is refused.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from umlctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_IFNAME_BYTES: Final = 15
"""IFNAMSIZ less the NUL, bytes: the kernel silently cuts a longer name."""
MAX_UNIX_PATH_BYTES: Final = 107
"""sun_path less the NUL, bytes. Source: MAX_UN_LEN in arch/um/drivers/vector_user.c"""

_MAC: Final = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")
_INTEGER: Final = re.compile(r"-?(0[xX][0-9A-Fa-f]{1,16}|0|[1-9][0-9]{0,19})")
_IFNAME: Final = re.compile(r"[^\s/:%\0]+")
_HOST: Final = re.compile(r"[A-Za-z0-9._:%-]+")


class Rule:
    """What a value may be.

    Fields:
        says: the rule in words: "a number from 1 to 256"
        takes: whether a value keeps to it
    """

    __slots__ = ("says", "takes")

    def __init__(self, says: str, takes: Callable[[str], object]) -> None:
        self.says = says
        self.takes = takes

    def check(self, what: str, value: str, text: str) -> None:
        """See that a value keeps to the rule.

        what: the value's name, text: the whole device, both for the error

        Raises: UsageError
        """
        if not self.takes(value):
            raise UsageError(f"{what} is {self.says}, not {value!r}: {text!r}")


def decimal(text: str) -> int:
    """The number that a text is, for umlctl and for the kernel; -1 if it is none."""
    if not (text.isascii() and text.isdigit()) or len(text) > 10:
        return -1
    return -1 if text[0] == "0" and text != "0" else int(text)


def between(least: int, most: int) -> Rule:
    return Rule(f"a number from {least} to {most}", lambda text: least <= decimal(text) <= most)


def integer(least: int, most: int, note: str = "") -> Rule:
    """A decimal or hexadecimal number."""

    def takes(text: str) -> bool:
        return bool(_INTEGER.fullmatch(text)) and least <= int(text, 0) <= most

    return Rule(f"a number from {least:#x} to {most:#x}{note}", takes)


def _is_mac(text: str) -> bool:
    if not _MAC.fullmatch(text):
        return False
    return not int(text[:2], 16) & 1 and text != "00:00:00:00:00:00"


def _is_ipv4(text: str) -> bool:
    parts = text.split(".")
    return len(parts) == 4 and all(0 <= decimal(part) <= 255 for part in parts)


def _is_ifname(text: str) -> bool:
    fits = len(text.encode("utf-8", "surrogateescape")) <= MAX_IFNAME_BYTES
    return fits and bool(_IFNAME.fullmatch(text)) and text not in (".", "..")


def _is_path(text: str) -> bool:
    return text.startswith("/") and "\n" not in text and text == text.rstrip()


def _is_socket(text: str) -> bool:
    return _is_path(text) and len(text.encode("utf-8", "surrogateescape")) <= MAX_UNIX_PATH_BYTES


FLAG: Final = Rule("0 or 1", lambda text: text in ("0", "1"))
PORT: Final = between(1, 65535)
# The kernel reports another address in its log only, and makes up its own.
MAC: Final = Rule(
    "a unicast MAC address of six hex octets, such as 02:00:00:00:00:01",
    _is_mac,
)
IFNAME: Final = Rule(
    f"an interface of 1 to {MAX_IFNAME_BYTES} bytes without blank, '/', ':' or '%'", _is_ifname
)
HOST: Final = Rule("a host name or an address", _HOST.fullmatch)
IPV4: Final = Rule("an IPv4 address", _is_ipv4)
MULTICAST: Final = Rule(
    "an IPv4 multicast address, 224.0.0.0 to 239.255.255.255",
    lambda text: _is_ipv4(text) and 224 <= int(text.partition(".")[0]) <= 239,
)
# A relative path is taken from the directory of the kernel, which is not the user's.
PATH: Final = Rule("an absolute path on one line, without blank at its end", _is_path)
SOCKET: Final = Rule(f"an absolute path of at most {MAX_UNIX_PATH_BYTES} bytes", _is_socket)


def unit(digits: str, family: str, count: int, text: str) -> int:
    """The number of a device.

    family: "vec", count: how many there can be, text: the whole device, for the error

    Raises: UsageError
    """
    number = decimal(digits)
    if not 0 <= number < count:
        raise UsageError(
            f"{family} has a number from 0 to {count - 1} without leading zeros, "
            f"not {digits!r}: {text!r}"
        )
    return number
