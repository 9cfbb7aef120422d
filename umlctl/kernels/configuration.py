"""What a kernel that is built is to have: features by name as settings of its configuration, and
whether it got them. Pure.

A setting is a symbol without CONFIG_, and its value: `y`, `m`, `n` for one that is not set, a
number, or a text with its quotes. Source: Documentation/kbuild/kconfig.rst
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from umlctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SET: Final = re.compile(r"CONFIG_(\w+)=(\S.*|)")
_NOT_SET: Final = re.compile(r"# CONFIG_(\w+) is not set")


class Feature(NamedTuple):
    """Something that a kernel can be built with.

    Fields:
        help: what it is, in a few words
        settings: what it takes; a tree that has not all of them cannot have it
        wanted: what goes with it, where the tree has that
        excludes: a feature that it cannot be together with, and why
    """

    help: str
    settings: Mapping[str, str]
    wanted: Mapping[str, str] = {}
    excludes: tuple[str, str] = ("", "")


def _on(*symbols: str) -> dict[str, str]:
    return dict.fromkeys(symbols, "y")


BASE: Final[Mapping[str, str]] = {
    **_on("MCONSOLE", "MAGIC_SYSRQ", "BLK_DEV_UBD", "BLK_DEV_INITRD", "BLK_DEV_LOOP", "EXT4_FS"),
    **_on("HOSTFS", "OVERLAY_FS", "TMPFS", "DEVTMPFS", "DEVTMPFS_MOUNT", "BINFMT_SCRIPT"),
    # What is written over other files has marks of its own, without which no directory is removed.
    **_on("TMPFS_XATTR", "EXT4_FS_SECURITY", "AUTOFS_FS"),
    **_on("NAMESPACES", "UTS_NS", "IPC_NS", "PID_NS", "USER_NS", "NET_NS"),
    **_on("NET", "UNIX", "INET", "IPV6", "PACKET", "UML_NET_VECTOR", "TUN", "DUMMY", "VETH"),
    **_on("BRIDGE", "VLAN_8021Q", "VIRTIO_UML", "VIRTIO_NET", "VIRTIO_BLK", "FUSE_FS", "VIRTIO_FS"),
    **_on("UML_RANDOM", "PRINTK_TIME", "IKCONFIG", "IKCONFIG_PROC", "DEBUG_INFO_NONE"),
    "LOG_BUF_SHIFT": "18",
}
"""What guests of umlctl use, where the tree has it."""

FEATURES: Final[Mapping[str, Feature]] = {
    "kunit": Feature(
        "tests that are built in, for `umlctl test --kunit`",
        _on("KUNIT"),
        _on("DEBUG_FS", "KUNIT_DEBUGFS", "KUNIT_ALL_TESTS", "KUNIT_EXAMPLE_TEST"),
    ),
    "time-travel": Feature(
        "a clock that does not wait, for --virtual-time",
        {"UML_TIME_TRAVEL_SUPPORT": "y", "RAID6_PQ_BENCHMARK": "n"},
        excludes=("smp", "the kernel's clock is simulated for one processor alone"),
    ),
    "smp": Feature(
        "several processors, for --ncpus; since Linux 6.19", {"SMP": "y"}, {"NR_CPUS": "8"}
    ),
    "wireguard": Feature("tunnels of WireGuard", _on("WIREGUARD")),
    "nftables": Feature(
        "packet filters, as of nft(8)",
        _on("NETFILTER", "NF_TABLES"),
        _on(
            *("NF_TABLES_INET", "NF_CONNTRACK", "NF_NAT", "NFT_CT", "NFT_NAT", "NFT_MASQ"),
            *("NFT_REJECT", "NFT_LOG", "NFT_LIMIT", "NETFILTER_ADVANCED"),
        ),
    ),
    "debug": Feature(
        "symbols for gdb(1) and for panics",
        {"DEBUG_INFO_NONE": "n", "DEBUG_INFO_DWARF_TOOLCHAIN_DEFAULT": "y"},
        _on("FRAME_POINTER"),
    ),
}


def check_features(names: Sequence[str]) -> tuple[str, ...]:
    """The features of these names, each once, in the order of the table.

    Raises: UsageError: there is no such feature, or two of them exclude each other
    """
    for name in names:
        if name not in FEATURES:
            near = difflib.get_close_matches(name, FEATURES, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(FEATURES)}"
            raise UsageError(f"--with {name}: there is no such feature; {hint}")
    for name in names:
        other, why = FEATURES[name].excludes
        if other in names:
            raise UsageError(f"--with {name} and {other} exclude each other: {why}")
    return tuple(name for name in FEATURES if name in names)


def required(features: Sequence[str]) -> dict[str, str]:
    """The settings without which features cannot be had."""
    return {symbol: value for name in features for symbol, value in FEATURES[name].settings.items()}


def settings(features: Sequence[str], own: Mapping[str, str]) -> dict[str, str]:
    """All that is asked of a kernel. What is in `own` wins over `features`, those over BASE."""
    found = dict(BASE)
    for name in features:
        found |= FEATURES[name].wanted
    return {**found, **required(features), **own}


def write(asked: Mapping[str, str]) -> str:
    """Settings in the words of a kernel's configuration, a line each."""
    return "".join(
        f"# CONFIG_{symbol} is not set\n" if value == "n" else f"CONFIG_{symbol}={value}\n"
        for symbol, value in asked.items()
    )


def read(text: str, name: str) -> dict[str, str]:
    """The settings of a configuration; a symbol that is given twice has its last value.

    name: of its file, for what is wrong in it

    Raises: UsageError
    """
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if match := _SET.fullmatch(stripped) or _NOT_SET.fullmatch(stripped):
            found[match[1]] = match[2] if match.re is _SET else "n"
        elif stripped and not stripped.startswith("#"):
            raise UsageError(
                f"{name}, line {number}: a setting is CONFIG_SYMBOL=VALUE, or "
                f"# CONFIG_SYMBOL is not set, and not {stripped[:60]!r}"
            )
    return found


def lacking(asked: Mapping[str, str], got: Mapping[str, str]) -> list[str]:
    """The symbols that a configuration does not have as they are asked for. What is asked for as a
    module may be built in."""
    return [
        symbol
        for symbol, value in asked.items()
        if got.get(symbol, "n") not in (("m", "y") if value == "m" else (value,))
    ]
