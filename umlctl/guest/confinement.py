"""How far a guest's kernel is confined on this host, in the words of a definition; pure."""

from __future__ import annotations

from typing import Final, Protocol

from umlctl.errors import UnfitHost, UsageError

WRITES: Final = "writes"
STRICT: Final = "strict"
OFF: Final = "off"
MODES: Final = (WRITES, STRICT, OFF)


class ConfinementOptions(Protocol):
    """What a definition says of it; without a mode it is WRITES wherever the host can.

    WRITES: the kernel writes nothing but what the guest was given
    STRICT: it reads nothing else either
    OFF: it does what its user can
    """

    @property
    def confine(self) -> str: ...

    @property
    def ro(self) -> tuple[str, ...]: ...

    @property
    def rw(self) -> tuple[str, ...]: ...

    @property
    def hide(self) -> tuple[str, ...]: ...


def check(wishes: ConfinementOptions) -> None:
    """See that it can be meant.

    Raises: UsageError
    """
    if wishes.confine and wishes.confine not in MODES:
        raise UsageError(f"confine is one of {', '.join(MODES)}, not {wishes.confine!r}")
    for option in ("ro", "rw", "hide"):
        for path in getattr(wishes, option):
            if not path.startswith("/"):
                raise UsageError(f"{option} takes an absolute path, not {path!r}")
            if wishes.confine == OFF:
                raise UsageError(f"{option} is for a guest that is confined, and this one is not")


def mode_of(wishes: ConfinementOptions, unable: str) -> str:
    """How a kernel is confined on a host.

    unable: why the host confines none; empty if it does

    Raises: UnfitHost: it cannot be as it was asked for
    """
    if not unable or wishes.confine == OFF:
        return wishes.confine or WRITES
    if wishes.confine or wishes.ro or wishes.rw or wishes.hide:
        raise UnfitHost(
            f"this host cannot confine a guest: {unable}; `--confine off` starts it as it is"
        )
    return OFF
