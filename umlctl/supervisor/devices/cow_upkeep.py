"""COW files of disks that a running guest has: merged into their backing files, or emptied.

The disk is out of the guest meanwhile, and in again afterwards, whatever comes of it. That it is
out is written down before, for the supervisor that may have to adopt the guest: it undoes the
merge, or finishes the reset, and plugs the disk again.
"""

from __future__ import annotations

import errno
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import trio

from umlctl.backends import registry
from umlctl.devices import families
from umlctl.devices.parse import parse_name
from umlctl.errors import HostError, Refusal, UsageError
from umlctl.recovery import discover
from umlctl.state import leases
from umlctl.state.file_identity import check_users
from umlctl.state.files_in_use import check_lone, taken
from umlctl.state.leases import Use
from umlctl.storage import cow, journal, merge, reset
from umlctl.storage.cow_file import open_backing, open_cow
from umlctl.supervisor.devices import hotplug
from umlctl.supervisor.devices.table import AWAY

if TYPE_CHECKING:
    from collections.abc import Callable

    from umlctl.state.records import DeviceEntry
    from umlctl.supervisor.devices.table import DeviceTable
    from umlctl.supervisor.history import By
    from umlctl.supervisor.kernel import KernelClient

    Work = Callable[[str, Callable[[], list[Use]]], int]

COMMIT = "disk commit"
RESET = "disk reset"


class Renewed(msgspec.Struct, frozen=True, kw_only=True):
    """A disk whose COW file was merged or emptied.

    Fields:
        name: of the disk
        cow, backing: its files
        bytes: how much was in the COW file
    """

    name: str
    cow: str
    backing: str
    bytes: int


async def commit(table: DeviceTable, text: str, by: By) -> Renewed:
    """Merge a disk's COW file into its backing file, and leave it empty over that.

    Raises: Refusal: and the disk is as it was
    """
    renewed = await _renew(table, text, COMMIT, _merged)
    table.history.add("disk committed", device=renewed.name, text=renewed.backing, **by)
    return renewed


async def empty(table: DeviceTable, text: str, by: By) -> Renewed:
    """Forget what was written to a disk with a COW file.

    Raises: Refusal: and the disk is as it was
    """
    renewed = await _renew(table, text, RESET, _emptied)
    table.history.add("disk reset", device=renewed.name, text=renewed.cow, **by)
    return renewed


async def _renew(table: DeviceTable, text: str, what: str, work: Work) -> Renewed:
    async with table.changing():
        entry = _find(table, text)
        with trio.CancelScope(shield=True):  # once the disk is out, it is in again
            top, backing = await table.in_thread(files_of, what, entry)
            users = partial(_users, table, entry)
            await table.in_thread(_check, what, entry, top, backing, users)
            await _take_out(table, entry, what, top)
            try:
                count = await table.in_thread(work, top, users)
            finally:
                await _give_back(table, entry)
    table.has_changed()
    return Renewed(name=entry.name, cow=top, backing=backing, bytes=count)


def _find(table: DeviceTable, text: str) -> DeviceEntry:
    """Raises: Refusal"""
    try:
        name = parse_name(text)
    except UsageError as problem:
        raise Refusal(str(problem), -errno.EINVAL) from None
    entry = table.find(name)
    if entry is None or families.kind_of(name) != families.DISK:
        raise Refusal(f"{name} is no disk of this guest", -errno.ENODEV)
    if entry.problem:
        raise Refusal(f"{name} is not in the guest: {entry.problem}", -errno.ENODEV)
    return entry


def files_of(what: str, entry: DeviceEntry) -> tuple[str, str]:
    """The COW file of a disk, and its backing file.

    Raises: HostError
    """
    path = entry.holds[0].path if entry.holds else ""
    header = None
    try:
        header = cow.read(path) if path else None
    except OSError as problem:
        raise HostError(f"{what}: cannot read {path}: {problem.strerror}") from problem
    if header is None:
        raise HostError(
            f"{what}: {entry.name} has no COW file; what the guest writes is in "
            f"{path or 'no file'} already"
        )
    return path, header.backing


def _users(table: DeviceTable, but: DeviceEntry) -> list[Use]:
    """The devices of all guests, without one."""
    umid = table.owner.umid
    own = [Use(umid, entry) for entry in table.entries if entry is not but]
    return [*leases.devices_of(discover.running(but=umid)), *own]


def _check(
    what: str, entry: DeviceEntry, top: str, backing: str, users: Callable[[], list[Use]]
) -> None:
    """Refuse, before the disk is out, what is seen to be in the way.

    Raises: HostError
    """
    if entry.shared:
        raise HostError(f"{what}: {entry.name} is shared, and others may be using it")
    if not all(hold.write for hold in entry.holds[:1]):
        raise HostError(f"{what}: {entry.name} is plugged read-only")
    holds = [msgspec.structs.replace(hold, write=True) for hold in entry.holds[1:]]
    if what == COMMIT:
        check_users(what, holds, users())
        _check_lone(what, top, backing)


def _check_lone(what: str, top: str, backing: str) -> None:
    """Raises: HostError"""
    try:
        check_lone(what, top, backing)
    except OSError as problem:
        raise HostError(f"{what}: {backing}: {problem.strerror}") from problem


async def _take_out(table: DeviceTable, entry: DeviceEntry, what: str, top: str) -> None:
    """Raises: Refusal: it is open in the guest, which is as it was"""
    async with table.talking():
        entry.problem, table.away = AWAY, entry.name
        await table.save()
        outcome = await hotplug.remove_device(entry.name, table.kernel)
        if hotplug.is_gone(outcome):
            return
        entry.problem = table.away = ""
        await table.save()
        if outcome.error == -errno.EBUSY:
            said = outcome.text.strip()
            why = await registry.of(entry.name).why_open(entry.name, said, table.kernel)
            instead = (
                f"`umlctl cow merge --in-place {top}` does it"
                if what == COMMIT
                else f"remove {top}, and it is made anew"
            )
            raise Refusal(f"{why}; or, when the guest has ended, {instead}", outcome.error)
        raise hotplug.refused(entry.name, outcome)


async def _give_back(table: DeviceTable, entry: DeviceEntry) -> None:
    """Raises: Refusal: it is written down that the guest is to have it again"""
    try:
        async with table.talking():
            await put_back(table, entry, table.kernel)
    finally:
        table.away = ""
        await table.save()


async def put_back(table: DeviceTable, entry: DeviceEntry, kernel: KernelClient) -> None:
    """Plug a disk again whose COW file was to be merged or emptied.

    Raises: Refusal, HostError
    """
    await table.in_thread(_settle, entry)
    entry.observed = await registry.of(entry.name).observe(entry, kernel)
    if entry.observed is None:
        await hotplug.make_device(table, entry, kernel, look=True)
    entry.problem = ""


# In a worker thread


def _settle(entry: DeviceEntry) -> None:
    """Undo a merge that was interrupted, or finish a reset.

    Raises: HostError
    """
    path = entry.holds[0].path
    if not journal.interrupted(path):
        return
    try:
        with (
            open_cow(path, write=True, lock=True) as of,
            open_backing(of, merge.backing_of(of), write=True, lock=True) as backing,
        ):
            merge.give_up(of, backing)
            reset.finish(of)
    except OSError as problem:
        raise HostError(f"{entry.name}: {path}: {problem.strerror}") from problem


def _merged(top: str, users: Callable[[], list[Use]]) -> int:
    """Raises: HostError: and a guest reads what it has read before"""
    try:
        with taken(COMMIT, top, users, write=True, write_backing=True) as pair:
            _check_lone(COMMIT, top, pair.name)
            try:
                return merge.into_backing(pair.of, pair.backing, lambda _count: None)
            except OSError:
                merge.give_up(pair.of, pair.backing)
                raise
    except OSError as problem:
        raise HostError(f"{COMMIT}: {problem.strerror}; the disk is as it was") from problem


def _emptied(top: str, users: Callable[[], list[Use]]) -> int:
    """Raises: HostError"""
    try:
        with taken(RESET, top, users, write=True) as pair:
            return reset.reset(pair.of, pair.backing)
    except OSError as problem:
        raise HostError(f"{RESET}: {problem.strerror}") from problem
