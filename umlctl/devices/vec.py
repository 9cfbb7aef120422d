"""Network interfaces: what stands behind `vec` in `config` and on the kernel command line.

    vecN:transport=TRANSPORT,OPTION=VALUE,...

The kernel answers OK to almost anything. It opens the host's side when the guest sets the link up;
what is wrong then is in the guest's log only, what it cannot read it leaves out, and a session, key
or cookie without its partner, or too large, panics it (seen on 6.1). There is no query.
Source: arch/um/drivers/vector_{kern,user,transports}.c,
Documentation/virt/uml/user_mode_linux_howto_v2.rst
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from umlctl.devices import check_request
from umlctl.devices.eth import MODE, VDE_PLUG
from umlctl.devices.needs import (
    ADDRESS,
    CAPABILITY,
    CONTROL,
    INTERFACE,
    PROGRAM,
    SEQPACKET,
    TAP,
    Need,
)
from umlctl.devices.values import (
    FLAG,
    HOST,
    IFNAME,
    MAC,
    MAX_UNIX_PATH_BYTES,
    PATH,
    PORT,
    SOCKET,
    Rule,
    between,
    integer,
    unit,
)
from umlctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_DEVICES: Final = 2**31
MAX_OPTIONS: Final = 20
"""The most options of one interface. Source: MAXVARGS in vector_user.h: the kernel would write more
past the end of its table. No transport has more than that below, and none may be given twice.
"""

VDE: Final = "vde"
"""The transport that has the kernel run vde_plug, since Linux 6.12.
Source: user_init_vde_fds in vector_user.c: `vde_plug --descr D --port2 P --mod2 M --group2 G
seqpacket://FD VNL`"""
_SWITCH: Final = "vde://"
_MAX_SWITCH_BYTES: Final = MAX_UNIX_PATH_BYTES - len("/ctl")
_INTERNET_NETWORK: Final = re.compile(r"(?:vxvde|vxlan|udp)://[0-9A-Za-z.:/-]*")
NETWORKS: Final = "vde:///DIRECTORY of a vde_switch, vxvde://, vxlan:// or udp://"
"""Networks of VDE that run nothing on the host."""
# vde_plug would take another one for an option.
VNL: Final = Rule(
    f"a network of VDE, without '-' before it: {NETWORKS}", lambda text: not text.startswith("-")
)
_WORD: Final = Rule(
    "a word of letters, digits, '.', '_' and '-', which begins with none of these three",
    re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]*").fullmatch,
)
# kstrtoint() reads sessions and keys, and calls 0xffffffff out of range.
SIGNED: Final = integer(-(2**31), 2**31 - 1, " (the kernel's are signed: -1 for 0xffffffff)")
COMMON_OPTIONS: Final[Mapping[str, Rule]] = {
    "depth": between(1, 256),  # packets, each with a buffer of up to 64 KiB
    "mac": MAC,
    "gro": FLAG,
    "mtu": between(576, 65534),  # another one is silently 1500. Source: get_mtu
    "headroom": between(0, 65535),  # an skb counts it in 16 bits
    "vec": FLAG,
}
"""Options of every transport."""
HOOK_OPTIONS: Final[Mapping[str, Rule]] = {"bpffile": PATH, "bpfflash": FLAG, "ifup": PATH}
TUNNEL_OPTIONS: Final[Mapping[str, Rule]] = {"src": HOST, "dst": HOST, "v6": FLAG}
OPTIONS: Final[Mapping[str, Mapping[str, Rule]]] = {
    "tap": {"ifname": IFNAME, "ifup": PATH},
    "hybrid": {"ifname": IFNAME, **HOOK_OPTIONS},
    "raw": {"ifname": IFNAME, **HOOK_OPTIONS},
    "gre": {
        **TUNNEL_OPTIONS,
        "rx_key": SIGNED,
        "tx_key": SIGNED,
        "sequence": FLAG,
        "pin_sequence": FLAG,
    },
    "l2tpv3": {
        **TUNNEL_OPTIONS,
        "udp": FLAG,
        "srcport": PORT,
        "dstport": PORT,
        "rx_session": SIGNED,
        "tx_session": SIGNED,
        "rx_cookie": integer(0, 2**64 - 1),
        "tx_cookie": integer(0, 2**64 - 1),
        "cookie64": FLAG,
        "counter": FLAG,
        "pin_counter": FLAG,
    },
    "bess": {"src": SOCKET, "dst": SOCKET},
    "fd": {"fd": between(0, 2**31 - 1)},
    VDE: {
        "vnl": VNL,
        "port": between(0, 65535),
        "mode": MODE,
        "group": _WORD,
        "descr": _WORD,
    },
}
"""Options of each transport, besides COMMON_OPTIONS."""
REQUIRED_OPTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "tap": ("ifname",),  # without, the kernel tries random names, for ever if there is no tun
    "hybrid": ("ifname",),
    "raw": ("ifname",),
    "gre": ("src", "dst"),
    "l2tpv3": ("src", "dst", "rx_session", "tx_session"),
    "bess": ("dst",),
    "fd": ("fd",),
    VDE: ("vnl",),
}
PAIRED_OPTIONS: Final = (("rx_key", "tx_key"), ("rx_cookie", "tx_cookie"), ("srcport", "dstport"))
"""Options that make sense together only."""
GUARDED_OPTIONS: Final[Mapping[str, str]] = {
    "bpffile": "it loads a program into the host's kernel",
    "bpfflash": "it lets the guest load programs into the host's kernel, with 0 as well as with 1",
    "ifup": "it runs a program on the host, as the guest's user",
}
"""Options that are taken with `insist` only, and why."""
GUARDED_NETWORKS: Final = (
    f"another network than {NETWORKS} may run a program on the host, as the guest's user: a path "
    "alone, too, since it may be a file that names a network"
)
"""Why some networks of VDE are taken with `insist` only. cmd:// runs what follows, others read a
file that names networks or have some in them, as vlan://{...}, and the first part finds a library.
"""


class Vec:
    """One interface.

    Fields:
        number: N of vecN
        options: name and value, in the order given
    """

    __slots__ = ("number", "options")

    def __init__(self, number: int, options: tuple[tuple[str, str], ...]) -> None:
        self.number = number
        self.options = options

    def __str__(self) -> str:
        return f"{self.name}:{','.join(f'{key}={value}' for key, value in self.options)}"

    def __repr__(self) -> str:
        return f"Vec({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Vec):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[object, ...]:
        return self.number, self.mac, frozenset(each for each in self.options if each[0] != "mac")

    @property
    def name(self) -> str:
        return f"vec{self.number}"

    @property
    def transport(self) -> str:
        return self.get("transport")

    @property
    def mac(self) -> str:
        """The MAC address in lower case; empty if there is none, and the kernel makes one up."""
        return self.get("mac").lower()

    def get(self, key: str) -> str:
        """An option's value; empty if it is not given."""
        return next((value for name, value in self.options if name == key), "")

    def with_mac(self, mac: str) -> Vec:
        """The same interface with this MAC address.

        Raises: UsageError
        """
        options = dict(self.options)
        options["mac"] = mac
        return parse(str(Vec(self.number, tuple(options.items()))), insist=True)

    def needs(self) -> tuple[Need, ...]:
        """What the host must have."""
        raw = Need(CAPABILITY, "CAP_NET_RAW")
        match self.transport:
            case "tap":
                return (Need(TAP, self.get("ifname")),)
            case "hybrid":
                name = self.get("ifname")
                return (Need(TAP, name), Need(INTERFACE, name), raw)
            case "raw":
                return (Need(INTERFACE, self.get("ifname")), raw)
            case "gre" | "l2tpv3":
                tunnel = Need(ADDRESS, self._tunnel())
                return (tunnel,) if self.get("udp") == "1" else (tunnel, raw)
            case "bess":
                return (Need(SEQPACKET, self.get("dst")),)
            case "vde":
                plug = Need(PROGRAM, VDE_PLUG)
                switch = switch_of(self.get("vnl"))
                return (Need(CONTROL, switch), plug) if switch else (plug,)
        return ()

    @property
    def is_tunnel(self) -> bool:
        """Whether it is on a network of VDE that leads through that of the host."""
        return bool(_INTERNET_NETWORK.fullmatch(self.get("vnl")))

    def _tunnel(self) -> str:
        """`TRANSPORT SRC DST`; over UDP the ports tell tunnels apart, and are part of it."""
        src, dst = self.get("src"), self.get("dst")
        if self.get("udp") == "1":
            src, dst = f"{src}:{self.get('srcport')}", f"{dst}:{self.get('dstport')}"
        return f"{self.transport} {src} {dst}"


def switch_of(vnl: str) -> str:
    """The directory of the vde_switch that a network of VDE is; empty if it is another one, or is
    said in another way."""
    directory = vnl.removeprefix(_SWITCH)
    plain = directory.startswith("/") and not re.search(r"[\s\[\]{}]", directory)
    fits = len(directory.encode("utf-8", "surrogateescape")) <= _MAX_SWITCH_BYTES
    return directory if vnl.startswith(_SWITCH) and plain and fits else ""


def runs_nothing(vnl: str) -> bool:
    """Whether a network of VDE is one of NETWORKS."""
    return bool(switch_of(vnl) or _INTERNET_NETWORK.fullmatch(vnl))


def parse(text: str, *, insist: bool = False) -> Vec:
    """Read `vecN:transport=...`.

    insist: take an option that is dangerous too

    Raises: UsageError
    """
    check_request(text)
    name, colon, value = text.partition(":")
    if not name.startswith("vec") or not colon:
        raise UsageError(f"an interface is vecN:transport=TRANSPORT,OPTION=VALUE,..., not {text!r}")
    number = unit(name[3:], "vec", MAX_DEVICES, text)
    vec = Vec(number, tuple(_option(part, text) for part in value.split(",")))
    options = dict(vec.options)
    if len(vec.options) > len(options):
        names = [key for key, _ in vec.options]
        twice = next(key for key in names if names.count(key) > 1)
        raise UsageError(f"{twice} is given twice: {text!r}")
    transport = options.pop("transport", "")
    if transport not in OPTIONS:
        known = ", ".join(OPTIONS)
        raise UsageError(
            f"an interface has transport= one of {known}, not {transport!r}: {text!r}"
            + _older(transport)
        )
    rules = {**COMMON_OPTIONS, **OPTIONS[transport]}
    for key, given in options.items():
        if key not in rules:
            raise UsageError(_unknown(key, transport, text))
        rules[key].check(key, given, text)
        if key in GUARDED_OPTIONS and not insist:
            raise UsageError(
                f"{key} is refused unless you insist: {GUARDED_OPTIONS[key]}: {text!r}"
            )
        if key == "vnl" and not insist and not runs_nothing(given):
            raise UsageError(f"vnl={given} is refused unless you insist: {GUARDED_NETWORKS}")
    _check_together(transport, options, text)
    _check_widths(transport, options, text)
    return vec


def _older(transport: str) -> str:
    """A hint for a transport that only the older interfaces have; empty for any other."""
    from umlctl.devices import eth

    if transport not in (*eth.FIELDS, *eth.OPAQUE_TRANSPORTS):
        return ""
    return (
        f"; {transport} is of the older interfaces: `umlctl config GUEST eth0={transport},...`, or "
        f"--nic eth0={transport},... at the start"
    )


def _option(part: str, text: str) -> tuple[str, str]:
    key, equals, value = part.partition("=")
    if not key or not equals or not value or "=" in value:
        raise UsageError(
            f"an interface takes OPTION=VALUE, and a value has neither ',' nor '=', not {part!r}: "
            f"{text!r}"
        )
    return key, value


def _unknown(key: str, transport: str, text: str) -> str:
    rules = {**COMMON_OPTIONS, **OPTIONS[transport]}
    meant = next((name for name in rules if _folded(name) == _folded(key)), "")
    if meant:
        return f"the kernel spells it {meant}=, not {key!r}: {text!r}"
    return f"{transport} takes {', '.join(rules)}, not {key!r}: {text!r}"


def _folded(key: str) -> str:
    return key.lower().replace("_", "").replace("-", "")


def _check_together(transport: str, options: Mapping[str, str], text: str) -> None:
    """See that options which are right by themselves fit each other.

    Raises: UsageError
    """
    for key in REQUIRED_OPTIONS[transport]:
        if key not in options:
            raise UsageError(f"{transport} needs {key}=: {text!r}")
    for one, other in PAIRED_OPTIONS:
        if (one in options) != (other in options):
            given, missing = (one, other) if one in options else (other, one)
            raise UsageError(f"{given}= needs {missing}= beside it: {text!r}")
    if transport == "l2tpv3" and (options.get("udp") == "1") != ("srcport" in options):
        raise UsageError(f"udp=1 and the ports srcport= and dstport= go together: {text!r}")


def _check_widths(transport: str, options: Mapping[str, str], text: str) -> None:
    """See that an option which another one widens is not too wide without it.

    Raises: UsageError
    """
    if options.get("cookie64") != "1":
        for key in ("rx_cookie", "tx_cookie"):
            if int(options.get(key, "0"), 0) >= 2**32:
                raise UsageError(
                    f"{key} has 32 bits without cookie64=1, not {options[key]!r}: {text!r}"
                )
    if "v6" in OPTIONS[transport] and options.get("v6") != "1":
        for key in ("src", "dst"):
            if ":" in options[key]:
                raise UsageError(f"{key}={options[key]} needs v6=1 beside it: {text!r}")
