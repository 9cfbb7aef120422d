"""Directories of this host that a guest has mounted, as its init program's lines show them.

The kernel knows no device for one: a command in the guest mounts it, see
`umlctl.supervisor.devices.sharing`.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Final

from umlctl.backends.interface import Backend
from umlctl.devices import families
from umlctl.devices.parse import MAX_SHARES
from umlctl.errors import HostError
from umlctl.guest import shares
from umlctl.state.records import DeviceEntry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from umlctl.backends.interface import GuestKernel
    from umlctl.guest.shares import Share

NOT_YET: Final = "the guest has not mounted it yet"
"""The problem of an entry whose guest still boots."""
REAL: Final = "real"
"""What an entry calls the real path of its directory, among what was made for it."""
_OCTAL: Final = re.compile(r"\\([0-7]{3})")
"""How /proc/mounts has letters that would end a field."""


class ShareBackend(Backend):
    """Directories."""

    limit = MAX_SHARES
    needs_host = True

    def renew(self, entry: DeviceEntry, _pid: int) -> None:
        """See that the directory is there."""
        check(shares.parse(entry.asked))

    async def observe(self, entry: DeviceEntry, kernel: GuestKernel) -> dict[str, Any] | None:
        """Where the guest has it."""
        share = shares.parse(entry.asked)
        mounts = await kernel.ask("proc 1/mounts")
        there = (share.target, entry.told or share.source) in mounted(mounts.text)
        return {"path": share.target} if there else None


SHARE: Final = ShareBackend(families.SHARE)


def check(share: Share) -> None:
    """See that a directory is there to be shared.

    Raises: HostError
    """
    if not os.path.isdir(share.source):
        raise HostError(f"{share.source} is no directory of this host, to be shared")


def entries_of(texts: tuple[str, ...]) -> list[DeviceEntry]:
    """The entries of what a guest is to share from its start on.

    Raises: HostError
    """
    found = list(map(shares.parse, texts))
    for each in found:
        check(each)
    return [
        entry_of(f"{SHARE.family}{number}", each, problem=NOT_YET)
        for number, each in enumerate(found)
    ]


def entry_of(name: str, share: Share, problem: str) -> DeviceEntry:
    """The entry of a directory, which is the one that its path leads to now: the guest may come to
    have a link there, where it shares what the directory is in."""
    entry = DeviceEntry(name=name, asked=str(share), kernel="", problem=problem)
    entry.made[REAL] = os.path.realpath(share.source)
    return entry


def late(entries: Iterable[DeviceEntry]) -> list[DeviceEntry]:
    """What a guest is yet to mount."""
    return [entry for entry in entries if entry.problem.startswith(NOT_YET)]


def mounted(mounts: str) -> set[tuple[str, str]]:
    """Where a guest has directories of its host, and which, by its /proc/mounts: what was mounted
    last at each place.

    Source: fs/hostfs/hostfs_kern.c, hostfs_show_options: the directory is the last of the options
    """
    found = {}
    for fields in map(str.split, mounts.splitlines()):
        if len(fields) > 3:
            _, place, kind, options = map(_unescaped, fields[:4])
            _, begin, rest = options.partition(",/")
            found[place] = f"/{rest}" if begin and kind == "hostfs" else ""
    return set(found.items())


def _unescaped(field: str) -> str:
    return _OCTAL.sub(lambda found: chr(int(found[1], 8)), field)
