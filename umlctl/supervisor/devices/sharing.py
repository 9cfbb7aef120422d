"""Directories that a guest shares with this host: a command in the guest mounts each, and takes it
away again. What the guest's kernel is confined to reaches the directory only meanwhile.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from socketproto.exchange import ANSWERED, Outcome
from umlctl.backends.registry import BEING_PLUGGED
from umlctl.backends.share import NOT_YET, REAL, SHARE, check, entry_of, late
from umlctl.errors import (
    HostError,
    NeverStarted,
    Refusal,
    TimedOut,
    UmlctlError,
    Unprepared,
    UsageError,
)
from umlctl.execution import in_guest
from umlctl.execution.running import Canceller
from umlctl.execution.session import Streams
from umlctl.guest import shares
from umlctl.guest.cmdline import has_agent
from umlctl.host import binds
from umlctl.supervisor.devices import bringing
from umlctl.supervisor.launch.place import shared_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from umlctl.guest.shares import Share
    from umlctl.state.records import DeviceEntry, Record
    from umlctl.supervisor.devices.table import DeviceTable
    from umlctl.supervisor.history import By
    from umlctl.supervisor.kernel import KernelClient

MOUNT_TIMEOUT: Final = 20.0
"""How long the guest may take to mount a directory, or to unmount it, seconds."""
TRY_TIMEOUT: Final = 5.0
"""The same where it is tried again, while other changes of devices wait, seconds."""
MAX_SAID_BYTES: Final = 4096
"""The most that is kept of what the guest says meanwhile, bytes."""
_NOTHING: Final = ("sh", "-c", ":")
"""The command of which the mount is only what comes before."""


async def add(table: DeviceTable, text: str, by: By) -> DeviceEntry:
    """Have the guest mount a directory of this host: it has it then, or all is as it was.

    Raises: Refusal
    """
    try:
        share = shares.parse(text)
    except UsageError as problem:
        raise Refusal(str(problem), -errno.EINVAL) from None
    async with table.changing():
        name = _free_name(table, share)
        check(share)
        entry = entry_of(name, share, problem=BEING_PLUGGED)
        with trio.CancelScope(shield=True):
            await table.in_thread(bring_in, table.record, entry)
            table.entries.append(entry)
            await table.save()
        try:
            async with table.talking():
                await mount(table, entry, table.kernel)
        except BaseException:
            with trio.CancelScope(shield=True):
                await _forget(table, entry)
            raise
        entry.problem = ""
        await table.save()
    table.history.add("device added", device=entry.name, text=entry.asked, **by)
    table.has_changed()
    return entry


async def remove(table: DeviceTable, name: str, by: By) -> Outcome:
    """Have the guest unmount a directory, and its kernel not reach it any more.

    Raises: Refusal
    """
    async with table.changing():
        entry = table.find(name)
        if entry is None:
            raise Refusal(f"the guest has no {name}: see `umlctl share list`", -errno.ENODEV)
        async with table.talking():
            await _unmount(table, entry)
        await _forget(table, entry)
    table.history.add("device removed", device=name, **by)
    table.has_changed()
    return Outcome(ANSWERED)


async def mount(
    table: DeviceTable, entry: DeviceEntry, kernel: KernelClient, limit: float = MOUNT_TIMEOUT
) -> None:
    """Have the guest mount a directory that its kernel reaches.

    limit: how long that may take, seconds

    Raises: Refusal
    """
    share = shares.parse(entry.asked)
    told = share._replace(source=entry.told or share.source)
    entry.observed = await SHARE.observe(entry, kernel)
    if entry.observed is not None:
        return
    await _command(table, entry.name, _NOTHING, mounts=(told,), limit=limit)
    entry.observed = await SHARE.observe(entry, kernel)
    if entry.observed is None:  # it is mounted all the same, where a link leads
        await _command(table, entry.name, ("umount", share.target))
        raise Refusal(
            f"{entry.name}: the guest does not have it at {share.target}, from where a link may "
            "lead elsewhere; name the directory itself",
            -errno.ENODEV,
        )


async def _unmount(table: DeviceTable, entry: DeviceEntry) -> None:
    """Raises: Refusal"""
    if await SHARE.observe(entry, table.kernel) is None:
        return  # somebody in the guest has
    target = shares.parse(entry.asked).target
    said, code = await _command(table, entry.name, ("umount", target))
    if code:
        why = said or f"umount there has ended with {code}"
        raise Refusal(f"{entry.name}: the guest keeps it: {why}", -errno.EBUSY)


async def begin(table: DeviceTable, entry: DeviceEntry, kernel: KernelClient) -> str:
    """Have a guest that has just booted mount a directory; why it has not. What begins with NOT_YET
    is tried again.

    kernel: answers this already, though not yet clients

    Raises: Refusal
    """
    entry.observed = None
    try:
        await table.in_thread(bring_in, table.record, entry)
    except HostError as problem:
        raise Refusal(str(problem), -errno.EIO) from None
    if not has_agent(table.record.definition):
        return NOT_YET  # nobody may hear of it for long
    try:
        await mount(table, entry, kernel)
    except Refusal as problem:
        return _of_boot(problem)
    return ""


def _of_boot(problem: Refusal) -> str:
    """Why a directory is not there; what begins with NOT_YET is tried again."""
    return f"{NOT_YET}: {problem}" if problem.error == -errno.ETIMEDOUT else str(problem)


async def try_again(table: DeviceTable) -> None:
    """Have the guest mount what it could not yet."""
    for entry in late(table.entries):
        async with table.lock:  # each by itself, so that others have their turn between
            if entry not in late(table.entries):
                continue
            try:
                await mount(table, entry, table.kernel, TRY_TIMEOUT)
                entry.problem = ""
            except Refusal as problem:
                entry.problem = _of_boot(problem)
            await table.save()
    table.has_changed()


async def _forget(table: DeviceTable, entry: DeviceEntry) -> None:
    await table.in_thread(take_out, table.record, entry)
    table.entries.remove(entry)
    await table.save()


def _free_name(table: DeviceTable, share: Share) -> str:
    """Raises: Refusal"""
    taken = {entry.name: entry for entry in table.entries}
    for entry in taken.values():
        if entry.name.startswith(SHARE.family) and shares.parse(entry.asked).target == share.target:
            raise Refusal(f"{entry.name} is there already: {entry.asked}", -errno.EBUSY)
    names = (f"{SHARE.family}{number}" for number in SHARE.numbers())
    name = next((each for each in names if each not in taken), None)
    if name is None:
        raise Refusal(f"all {SHARE.limit} of {SHARE.family}0.. are in use", -errno.EBUSY)
    return name


# The guest


async def _command(
    table: DeviceTable,
    name: str,
    words: Sequence[str],
    mounts: tuple[Share, ...] = (),
    limit: float = MOUNT_TIMEOUT,
) -> tuple[str, int]:
    """Run a command in the guest; what it has said, and what it exited with.

    name: of the device, for errors; mounts: what is mounted before

    Raises: Refusal
    """
    said = bytearray()

    def keep(data: bytes) -> None:
        said.extend(data[: MAX_SAID_BYTES - len(said)])

    canceller = Canceller()
    run = partial(
        in_guest.run,
        table.owner.umid,
        words,
        Streams(in_guest.NO_SOURCE, (keep, keep)),
        limit=limit,
        canceller=canceller,
        mounts=mounts,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_at_the_end, canceller)
        with trio.CancelScope(shield=True):
            code, problem = await trio.to_thread.run_sync(_outcome, run)
        nursery.cancel_scope.cancel()
    await trio.lowlevel.checkpoint_if_cancelled()
    if problem is not None:
        is_late = isinstance(problem, TimedOut | NeverStarted)
        late_too = is_late and not isinstance(problem, Unprepared)
        number = errno.ETIMEDOUT if late_too else errno.EIO
        raise Refusal(f"{name}: {problem}", -number)
    return said.decode("utf-8", "replace").strip(), code


def _outcome(run: Callable[[], int]) -> tuple[int, UmlctlError | None]:
    try:
        return run(), None
    except UmlctlError as problem:
        return 0, problem


async def _cancel_at_the_end(canceller: Canceller) -> None:
    try:
        await trio.sleep_forever()
    finally:
        canceller.cancel()


# The kernel


def bring_in(record: Record, entry: DeviceEntry) -> None:
    """Have a guest's kernel reach a directory; says in the entry where.

    Raises: HostError: it cannot, and how it could
    """
    if not bringing.is_confined(record):
        return
    share = shares.parse(entry.asked)
    if not record.binds:
        if entry.asked in record.definition.shares:
            return  # it was given it for good
        raise HostError(
            f"{entry.name}: this guest is confined without mounts of its own, and its kernel is "
            f"given nothing later; start it with --share {share}, or with --confine off"
        )
    place = _place(record, entry)
    try:
        source = entry.made.get(REAL) or os.path.realpath(share.source)
        if not _is_there(record, place, source):
            with suppress(FileExistsError):
                os.mkdir(place, 0o700)
            write = not share.readonly
            binds.bind_tree(record.pid, record.started, source, place, write=write)
    except OSError as problem:
        raise HostError(
            f"{entry.name}: {share.source} cannot be given to a guest that is confined: "
            f"{problem.strerror or problem}; start it with --confine off"
        ) from problem
    entry.told = place


def take_out(record: Record, entry: DeviceEntry) -> None:
    """Have a guest's kernel not reach a directory any more."""
    if not (bringing.is_confined(record) and record.binds):
        return
    place = _place(record, entry)
    with suppress(OSError):
        binds.unbind(record.pid, record.started, place)
    with suppress(OSError):
        os.rmdir(place)


def _place(record: Record, entry: DeviceEntry) -> str:
    return f"{shared_directory(record.definition)}/{entry.name}"


def _is_there(record: Record, place: str, source: str) -> bool:
    """Whether the kernel has it already, as after a reboot."""
    with suppress(OSError):
        return os.path.samefile(f"/proc/{record.pid}/root{place}", source)
    return False
