"""A NIC that somebody names on the command line: of which guest, and where its frames go."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from umlctl.errors import UsageError

if TYPE_CHECKING:
    from umlctl.state.records import DeviceEntry, Record

NAME: Final = re.compile(r"(vec|eth)?[0-9]{1,4}")
"""What names a NIC."""


def find(record: Record, name: str, what: str) -> DeviceEntry:
    """A NIC of a guest that is on a switch, a tap or a bridge; without a name, the one that it has.

    what: is to be done with its frames, for errors

    Raises: UsageError
    """
    umid = record.definition.umid
    nics = {each.name: each for each in record.devices if each.network or each.bridge or each.tap}
    if name.isdigit():
        name = f"vec{name}"
    if not name and len(nics) == 1:
        return next(iter(nics.values()))
    if name in nics:
        return nics[name]
    there = ", ".join(sorted(nics)) or "none"
    if not name and nics:
        raise UsageError(f"{umid} has several NICs: name one of {there}")
    raise UsageError(
        f"{umid} has not {name or 'a NIC'} on a switch, a tap or a bridge, where frames can be "
        f"{what}; of these it has: {there}"
    )
