"""What a confined process keeps of root's privileges."""

from __future__ import annotations

from errno import EINVAL, EPERM
from struct import pack
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from umlctl.host.call_list import CallList

_CAPSET: Final = 126
_VERSION_3: Final = 0x20080522
_PRCTL: Final = 157
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_CAPBSET_DROP: Final = 24
_MAX_CAPABILITIES: Final = 64
CAPABILITIES: Final = {
    "CAP_CHOWN": 0,
    "CAP_DAC_OVERRIDE": 1,
    "CAP_DAC_READ_SEARCH": 2,
    "CAP_FOWNER": 3,
    "CAP_FSETID": 4,
    "CAP_NET_ADMIN": 12,
    "CAP_NET_RAW": 13,
}
"""Those that a confined process may keep."""
OF_FILES: Final = tuple(name for name, bit in CAPABILITIES.items() if bit < 5)
"""What root may do with files that are not root's."""


def keep(calls: CallList, capabilities: Iterable[str], *, namespace: bool) -> None:
    """Have who makes these calls keep no capability but these, if it has them, and gain none.

    They are those of this process; in a user namespace of its own it keeps none.

    Raises: OSError: what this process has cannot be seen
    """
    kept = 0
    if not namespace:
        kept = sum(1 << CAPABILITIES[name] for name in set(capabilities)) & _permitted()
    low, high = kept & 0xFFFFFFFF, kept >> 32
    # Else root would seem to be given all again as it becomes another program, and that clears what
    # its personality(2) is, such as addresses that are not random.
    for bit in range(_MAX_CAPABILITIES):
        if not kept & 1 << bit:
            words = ("cannot drop capabilities", _PRCTL, _PR_CAPBSET_DROP, bit)
            calls.call(*words, tolerated=[EINVAL, EPERM])  # there is none; nobody would gain it
    header, data = pack("=Ii", _VERSION_3, 0), pack("=6I", low, low, 0, high, high, 0)
    calls.call("cannot drop capabilities", _CAPSET, header, data)
    # Without it, root would have all again as it becomes another program.
    calls.call("cannot give privileges up", _PRCTL, _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _permitted() -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1], 16) for line in file if line.startswith("CapPrm:"))
