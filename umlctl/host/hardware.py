"""The host's side of any device: whichever family it is of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from umlctl.errors import HostError
from umlctl.guest import words
from umlctl.guest.plug import Disk, Nic
from umlctl.host import disks, nics
from umlctl.host.inuse import Use

if TYPE_CHECKING:
    from collections.abc import Iterable

    from umlctl.host.records import Entry

PLUGGING: Final = "it is being plugged"
"""The problem of an entry between its being written down and the guest's having it."""


def prepare(
    asked: Disk | Nic,
    number: int,
    umid: str,
    directory: str,
    log: str,
    users: list[Use],
    *,
    insist: bool = False,
) -> Entry:
    """Have the host's side of a device ready; the caller holds `inuse.lock`.

    directory: of the guest's records
    insist: take a disk that a guest's writing destroys

    Raises: HostError, UsageError; nothing is left behind then
    """
    if isinstance(asked, Disk):
        return disks.prepare(asked, number, directory, users, insist=insist)
    return nics.prepare(asked, number, umid, log, users)


def prepare_all(
    asked: Iterable[Disk | Nic], umid: str, directory: str, log: str, users: list[Use]
) -> list[Entry]:
    """The same for all devices on a kernel's command line; their numbers have been given.

    users: the devices of all other guests

    Raises: HostError, UsageError; nothing is left behind then
    """
    entries: list[Entry] = []
    try:
        for each in asked:
            number = each.slot if isinstance(each, Disk) else each.number
            assert number is not None
            if isinstance(each, Disk) and each.discard and not words.can_be_given(directory):
                raise HostError(
                    f"ubd{number}: a COW file to discard would be in {directory}, and a kernel "
                    "argument can have no blank and no quote; set UMLCTL_DIR to a directory "
                    "without"
                )
            others = users + [Use(umid, entry) for entry in entries]
            entry = prepare(each, number, umid, directory, log, others)
            entry.boot = True
            entries.append(entry)
    except BaseException:
        undo_all(entries, umid, log)
        raise
    return entries


def renew(entry: Entry, pid: int) -> None:
    """The guest has rebooted: have the host's side of a device ready again.

    pid: of its kernel, the same as before

    Raises: HostError
    """
    if entry.name.startswith("ubd"):
        disks.renew(entry)
    elif entry.name.startswith(("vec", "eth")):
        nics.renew(entry, pid)


def note(entry: Entry) -> str:
    """What has become of the host's side of a device that the guest has; empty if nothing has."""
    if entry.name.startswith("ubd"):
        return disks.note(entry)
    try:
        return nics.note(entry)
    except HostError as problem:
        return str(problem)


def undo(entry: Entry, umid: str, log: str) -> str:
    """The device was not plugged after all: remove what was made for it; what failed."""
    if entry.name.startswith("ubd"):
        return disks.undo(entry)
    if entry.name.startswith(("vec", "eth")):
        return nics.release(entry, umid, log)
    return ""


def undo_all(entries: Iterable[Entry], umid: str, log: str) -> None:
    for entry in entries:
        undo(entry, umid, log)


def release(entry: Entry, umid: str, log: str) -> str:
    """The device is no longer there: let go what was made for it; what failed."""
    if entry.name.startswith("ubd"):
        return disks.release(entry)
    if entry.name.startswith(("vec", "eth")):
        return nics.release(entry, umid, log)
    return ""


def release_all(entries: Iterable[Entry], umid: str, log: str) -> list[str]:
    """A guest has ended: let everything go, the last first; what failed."""
    said = []
    for entry in reversed(list(entries)):
        try:
            said.append((undo if entry.problem == PLUGGING else release)(entry, umid, log))
        except Exception as problem:  # noqa: BLE001 - one that fails must not keep the others
            said.append(f"{entry.name}: {problem!r}")
    return [each for each in said if each]


def for_init(entries: Iterable[Entry]) -> str:
    """What our init program is to make of the NICs, see `cmdline.build`.

    Raises: HostError
    """
    words = []
    for entry in entries:
        if entry.name.startswith(("vec", "eth")) and entry.addr:
            way_out = nics.way_out(entry.asked, entry.network, entry.addr)
            words.append(",".join([entry.name, entry.addr, *way_out]))
    return ";".join(words)
