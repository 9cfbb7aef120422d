"""What a check finds, and what a check is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Severity = Literal["fatal", "warning", "note"]
"""fatal: no guest starts, or the guest that was asked about is of no use
warning: something does not work that many expect to
note: good to know
"""
FATAL: Final[Severity] = "fatal"
WARNING: Final[Severity] = "warning"
NOTE: Final[Severity] = "note"
SEVERITIES: Final[tuple[Severity, ...]] = (FATAL, WARNING, NOTE)


class Finding(NamedTuple):
    """One thing that is wrong.

    Fields:
        what: is so
        why: it matters
        remedy: what mends it, a command where one does
    """

    severity: Severity
    what: str
    why: str
    remedy: str


class Check(NamedTuple):
    """One thing that is looked at.

    Fields:
        name: of it, for programs; of its subject, none has the same
        subject: what it is about
        look: says what is wrong with it; an OSError or an UmlctlError of it is told as such
    """

    name: str
    subject: str
    look: Callable[[], Iterable[Finding]]


def by_root(command: str) -> str:
    """A command that root alone can give, as this user can give it."""
    return f"sudo {command}" if os.geteuid() else command


def set_to(name: str, value: int) -> str:
    """The command that sets what sysctl(8) knows."""
    return by_root(f"sysctl -w {name}={value}")
