"""Any device, by the family that its text begins with.

The kernel takes a family by its first letters and goes on from there, so that `memory=` is `mem`,
and `remove ubd7x` removes ubd7. Here a text is one device or an error.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from umlctl.devices import check_request, eth, families, lines, mem, ubd, values, vec, vhost
from umlctl.errors import UsageError

MAX_SHARES: Final = 64
"""More directories than this are a mistake: no kernel sets a limit."""
_OF_THE_HOST: Final = frozenset({families.LENT, families.DIRECTORY})
"""Kinds that no kernel knows by the names that devices have here."""
Device: TypeAlias = ubd.Ubd | vec.Vec | eth.Eth | lines.Line | mem.Mem | vhost.Lent


def parse(text: str, *, insist: bool = False) -> Device:
    """Read a device as `config` takes it.

    insist: take what is dangerous too

    Raises: UsageError
    """
    check_request(text)
    if text.partition("=")[0] in vhost.OPTIONS:
        return vhost.parse(text)
    match _family(text):
        case families.UBD:
            return ubd.parse(text)
        case families.VEC:
            return vec.parse(text, insist=insist)
        case families.ETH:
            return eth.parse(text)
        case families.MEM:
            return mem.parse(text)
    return lines.parse(text, insist=insist)


def parse_name(text: str) -> str:
    """The name of a device as `remove` and the query take it: ubd0 of ubda.

    Raises: UsageError
    """
    check_request(text)
    if families.kind_of(text) == families.LENT:
        raise UsageError(f"the kernel takes no such device away while it runs: {text!r}")
    if families.kind_of(text) == families.DIRECTORY:
        number = values.unit(text.removeprefix(families.SHARE), families.SHARE, MAX_SHARES, text)
        return f"{families.SHARE}{number}"
    family = _family(text)
    rest = text[3:]
    if family == families.MEM:
        if rest:
            raise UsageError(f"memory is `mem`, not {text!r}")
        return text
    if family == families.UBD:
        slot, more = ubd.unit(text)
        if more:
            raise UsageError(f"a disk's name ends after its number, not with {more!r}: {text!r}")
        return f"{family}{slot}"
    counts = {families.VEC: vec.MAX_DEVICES, families.ETH: eth.MAX_DEVICES, **lines.LINE_COUNTS}
    return f"{family}{values.unit(rest, family, counts[family], text)}"


def _family(text: str) -> str:
    family = text[:3]
    if family == "udb":
        raise UsageError(f"there is no device `udb`; did you mean `ubd`? {text!r}")
    own = [each for each, kind in families.KINDS.items() if kind not in _OF_THE_HOST]
    if family not in own:
        known = ", ".join((*own, *vhost.OPTIONS))
        raise UsageError(f"a device begins with one of {known}, not {text!r}")
    return family
