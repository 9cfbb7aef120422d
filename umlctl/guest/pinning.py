"""Which processors of the host a guest runs on, in the words of its definition: `any`,
`map[,START]` or a LIST, as vkernel(7) has them. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from umlctl.errors import HostError, UsageError

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

ANY: Final = "any"
MAP: Final = "map"
_MAX_CPU: Final = 1 << 16
"""More than any host has."""
_LIST: Final = re.compile(r"\d{1,6}(-\d{1,6})?(,\d{1,6}(-\d{1,6})?)*", re.ASCII)
_MAP: Final = re.compile(r"map(?:,(\d{1,6}))?", re.ASCII)


def check(text: str) -> None:
    """See that a text can be meant.

    Raises: UsageError
    """
    if text in ("", ANY) or _MAP.fullmatch(text):
        return
    try:
        numbers(text)
    except ValueError as problem:
        raise UsageError(
            f"cpus are a list such as 0 or 0,2-3, any, or map or map,START, not {text!r}{problem}"
        ) from None


def numbers(text: str) -> frozenset[int]:
    """The processors of a list, as the kernel writes it too.

    Raises: ValueError: it is none; why, if it looks like one
    """
    if not _LIST.fullmatch(text):
        raise ValueError
    found: set[int] = set()
    for each in text.split(","):
        first, _, last = each.partition("-")
        low, high = int(first), int(last or first)
        if high >= _MAX_CPU:
            raise ValueError(f": no host has a CPU {high}")
        if low > high:
            raise ValueError(f": {each} is no range")
        found.update(range(low, high + 1))
    return frozenset(found)


def chosen(text: str, ncpus: int, can: AbstractSet[int], where: str) -> frozenset[int] | None:
    """The processors of the host that a guest runs on; None: nobody has chosen.

    ncpus: of the guest
    can: those that it can have
    where: words for them, such as "this host"

    Raises: HostError: it cannot have what is asked for
    """
    if text in ("", ANY):
        return None
    mapped = _MAP.fullmatch(text)
    if mapped is None:
        wanted = numbers(text)
        if lacking := sorted(wanted - can):
            raise HostError(
                f"--cpus {text}: {where} has no CPU {listed(lacking)} for guests; there is "
                f"{listed(can)}"
            )
        return wanted
    start = int(mapped[1] or 0)
    left = sorted(cpu for cpu in can if cpu >= start)
    if len(left) < ncpus:
        has = f"{ncpus} processor{'s' * (ncpus > 1)}"
        raise HostError(
            f"--cpus {text}: a guest with {has} takes {ncpus} of the host's from {start} on, "
            f"and {where} has {listed(left) or 'none'} there for guests"
        )
    return frozenset(left[:ncpus])


def listed(cpus: AbstractSet[int] | list[int]) -> str:
    """Processors as a list."""
    found: list[list[int]] = []
    for cpu in sorted(cpus):
        if found and found[-1][1] == cpu - 1:
            found[-1][1] = cpu
        else:
            found.append([cpu, cpu])
    return ",".join(f"{low}-{high}" if high > low else f"{low}" for low, high in found)
