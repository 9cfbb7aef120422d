"""Which other users may use a guest's socket, written down: `NAME`, `NAME:read` or
`NAME:control`."""

from __future__ import annotations

from typing import Final, NamedTuple

from umlctl.errors import UsageError

READ: Final = "read"
CONTROL: Final = "control"


class Grant(NamedTuple):
    """Leave for one user, or for the members of one group.

    Fields:
        name: of the user or group, or its number
        level: READ or CONTROL
    """

    name: str
    level: str


def parse_grant(text: str) -> Grant:
    """Read one grant; a bare name may only read.

    Raises: UsageError
    """
    name, colon, level = text.partition(":")
    if not text:
        raise UsageError("leave is for a user or a group, and none is named")
    if colon and level not in (READ, CONTROL):
        raise UsageError(f"leave is NAME:read or NAME:control, not {text!r}")
    if not name or name.startswith("-") or any(c.isspace() or not c.isprintable() for c in name):
        raise UsageError(f"leave begins with the name or number of a user or group, not {text!r}")
    return Grant(name, level or READ)
