"""Network interfaces of the old kind, which kernels have up to 6.15; `vec` is the new kind.

    ethN=TRANSPORT,...      a field that is left empty keeps its default

    tuntap,TAP[,MAC[,IP]]
    daemon[,MAC[,unix[,SOCKET]]]                            uml_switch
    vde[,DIRECTORY[,MAC[,PORT[,GROUP[,MODE[,DESCRIPTION]]]]]]
    mcast[,MAC[,ADDRESS[,PORT[,TTL]]]]
    ucast,[MAC],ADDRESS[,PORT[,REMOTE PORT]]
    slirp, slip, ethertap, pcap                             taken as they stand

The kernel says nothing when it takes a field for another one than was meant: a bad MAC address,
too many fields and a switch that is not there are in the guest's log only. There is no query.
Source: arch/um/drivers/{net,daemon,vde,umcast}_kern.c, arch/um/os-Linux/drivers/tuntap_kern.c
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from umlctl.devices import check_request
from umlctl.devices.needs import CONTROL, PROGRAM, TAP, Need
from umlctl.devices.values import (
    IFNAME,
    IPV4,
    MAC,
    MULTICAST,
    PATH,
    PORT,
    SOCKET,
    Rule,
    between,
    unit,
)
from umlctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_DEVICES: Final = 2**31
SWITCH_SOCKET: Final = "/tmp/uml.ctl"  # noqa: S108 - the kernel's default, and uml_switch's
UNIX: Final = Rule("`unix`", lambda text: text == "unix")
MODE: Final = Rule("an octal mode, such as 0700", lambda text: text and not text.strip("01234567"))
ANYTHING: Final = Rule("any text", lambda _: True)

FIELDS: Final[Mapping[str, tuple[tuple[str, Rule], ...]]] = {
    "tuntap": (("tap", IFNAME), ("mac", MAC), ("ip", IPV4)),
    "daemon": (("mac", MAC), ("type", UNIX), ("socket", SOCKET)),
    "vde": (
        *(("switch", PATH), ("mac", MAC), ("port", between(0, 65535)), ("group", ANYTHING)),
        *(("mode", MODE), ("description", ANYTHING)),
    ),
    "mcast": (("mac", MAC), ("address", MULTICAST), ("port", PORT), ("ttl", between(0, 255))),
    "ucast": (("mac", MAC), ("address", IPV4), ("port", PORT), ("remote port", PORT)),
}
"""The fields that follow a transport, in this order."""
REQUIRED_FIELDS: Final = {"tuntap": "tap", "ucast": "address"}
"""Fields that a transport must have. Without a tap the kernel asks the setuid program uml_net for
one."""
VDE_PLUG: Final = "vde_plug"
"""The program that the kernel runs to connect to a VDE switch. It comes with one; seen on 6.1."""
OPAQUE_TRANSPORTS: Final[Mapping[str, int | None]] = {
    "slirp": 0,
    "ethertap": 1,
    "slip": None,
    "pcap": None,
}
"""Transports whose fields are the user's own business, but for the place of the MAC address."""


class Eth:
    """One interface.

    Fields:
        number: N of ethN
        transport: the first field
        args: the fields after it, empty ones too
    """

    __slots__ = ("args", "number", "transport")

    def __init__(self, number: int, transport: str, args: tuple[str, ...]) -> None:
        self.number = number
        self.transport = transport
        self.args = args

    def __str__(self) -> str:
        return f"{self.name}={','.join((self.transport, *self.args))}"

    def __repr__(self) -> str:
        return f"Eth({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Eth):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[object, ...]:
        args = list(self.args)
        place = _place_of_mac(self.transport)
        if place is not None and place < len(args):
            args[place] = args[place].lower()
        while args and not args[-1]:
            args.pop()
        return self.number, self.transport, tuple(args)

    @property
    def name(self) -> str:
        return f"eth{self.number}"

    @property
    def mac(self) -> str:
        """The MAC address in lower case; empty if there is none, and the kernel makes one up."""
        place = _place_of_mac(self.transport)
        return "" if place is None else self._arg(place).lower()

    def get(self, field: str) -> str:
        """A field of FIELDS by its name; empty if it is not given."""
        names = [name for name, _ in FIELDS.get(self.transport, ())]
        return self._arg(names.index(field)) if field in names else ""

    def with_mac(self, mac: str) -> Eth:
        """The same interface with this MAC address; itself, if its transport takes none.

        Raises: UsageError
        """
        place = _place_of_mac(self.transport)
        if place is None:
            return self
        args = [*self.args, *[""] * (place + 1 - len(self.args))]
        args[place] = mac
        return parse(str(Eth(self.number, self.transport, tuple(args))))

    def needs(self) -> tuple[Need, ...]:
        """What the host must have."""
        if self.transport == "tuntap":
            return (Need(TAP, self.get("tap")),)
        if self.transport == "daemon":
            return (Need(CONTROL, self.get("socket") or SWITCH_SOCKET),)
        if self.transport == "vde":
            switch = self.get("switch")
            plug = Need(PROGRAM, VDE_PLUG)
            return (Need(CONTROL, switch), plug) if switch else (plug,)
        if self.transport == "slirp":
            return (Need(PROGRAM, self._arg(1) or self.transport),)
        return ()

    def _arg(self, place: int) -> str:
        return self.args[place] if place < len(self.args) else ""


def parse(text: str) -> Eth:
    """Read `ethN=TRANSPORT,...`.

    Raises: UsageError
    """
    check_request(text)
    name, equals, value = text.partition("=")
    if not name.startswith("eth") or not equals:
        raise UsageError(f"an old interface is ethN=TRANSPORT,..., not {text!r}")
    number = unit(name[3:], "eth", MAX_DEVICES, text)
    transport, *args = value.split(",")
    eth = Eth(number, transport, tuple(args))
    if transport in OPAQUE_TRANSPORTS:
        if eth.mac:
            MAC.check("mac", eth.mac, text)
        return eth
    if transport not in FIELDS:
        known = ", ".join((*FIELDS, *OPAQUE_TRANSPORTS))
        raise UsageError(f"an old interface has one of {known}, not {transport!r}: {text!r}")
    fields = FIELDS[transport]
    if len(args) > len(fields):
        names = ", ".join(name for name, _ in fields)
        raise UsageError(
            f"{transport} has {names} and no more, not {args[len(fields)]!r}: {text!r}"
        )
    for (field, rule), arg in zip(fields, args, strict=False):
        if arg:
            rule.check(f"{field} of {transport}", arg, text)
    required = REQUIRED_FIELDS.get(transport)
    if required and not eth.get(required):
        raise UsageError(f"{transport} needs its {required}: {text!r}")
    return eth


def _place_of_mac(transport: str) -> int | None:
    if transport in OPAQUE_TRANSPORTS:
        return OPAQUE_TRANSPORTS[transport]
    names = [name for name, _ in FIELDS[transport]]
    return names.index("mac")
