"""Plugging the devices that clients ask for, and removing them.

The order of the steps keeps a guest and its files whole: write the device down, then tell the
kernel, then look at the guest, else undo.
"""

from __future__ import annotations

import errno
from contextlib import ExitStack
from typing import TYPE_CHECKING

import trio

from socketproto.exchange import ANSWERED, Outcome
from umlctl.backends import registry
from umlctl.backends.nic import NicBackend
from umlctl.backends.registry import BEING_PLUGGED
from umlctl.devices import eth, families, mem, ubd, vec, vhost
from umlctl.devices.parse import parse, parse_name
from umlctl.errors import HostError, Refusal, UsageError
from umlctl.guest import specs
from umlctl.guest.definition import check_for_user
from umlctl.recovery import discover
from umlctl.state import leases, records
from umlctl.state.leases import Use
from umlctl.supervisor.devices import bringing, hotplug, lent, lines, memory

if TYPE_CHECKING:
    from collections.abc import Iterable

    from umlctl.backends.interface import Owner
    from umlctl.guest.specs import Disk, Nic
    from umlctl.state.records import DeviceEntry
    from umlctl.supervisor.devices.table import DeviceTable
    from umlctl.supervisor.history import By


async def plug(
    table: DeviceTable, asked: Disk | Nic, by: By, *, force: bool = False
) -> DeviceEntry:
    """Plug a disk or a NIC: the guest has it then, or all is as it was.

    A kernel that does not answer may take the device all the same, later. Then the entry stays,
    with its problem, until `restoring.settle`.

    force: leave out the looks at the guest

    Raises: Refusal
    """
    backend = registry.of_asked(asked)
    try:
        check_for_user(table.record.definition, asked)
    except UsageError as problem:
        raise Refusal(str(problem), -errno.EINVAL) from None
    if not force:
        backend.check(str(asked), table.record.pid)
    async with table.changing():
        if table.spoilt_by and not force and isinstance(backend, NicBackend):
            raise Refusal(
                f"this kernel could not open {table.spoilt_by}, and may panic of another NIC; "
                "reboot the guest first",
                -errno.EIO,
            )
        entry = await _write_down(table, asked, _number_for(table, asked), insist=force)
        try:
            async with table.talking(force=force):
                await hotplug.make_device(table, entry, table.kernel, look=not force)
        except BaseException:
            with trio.CancelScope(shield=True):
                if entry.problem == BEING_PLUGGED:
                    await table.roll_back(entry)
                else:
                    await table.save()
            raise
        entry.problem = ""
        await table.save()
    table.history.add("device added", device=entry.name, text=entry.kernel, **by)
    table.has_changed()
    return entry


def _number_for(table: DeviceTable, asked: Disk | Nic) -> int:
    """The number that a device gets.

    Raises: Refusal
    """
    backend = registry.of_asked(asked)
    number = asked.slot if isinstance(asked, specs.Disk) else asked.number
    if number is None:
        taken = {entry.name for entry in table.entries}
        free = (n for n in backend.numbers() if f"{backend.family}{n}" not in taken)
        number = next(free, None)
        if number is None:
            raise Refusal(f"all {backend.limit} of {backend.family}0.. are in use", -errno.EBUSY)
    name = f"{backend.family}{number}"
    there = table.find(name)
    if there is not None:
        raise Refusal(
            f"{name} is in use: {there.asked}; take another, or `umlctl remove "
            f"{table.owner.umid} {name}` first",
            -errno.EBUSY,
        )
    return number


async def _write_down(
    table: DeviceTable, asked: Disk | Nic, number: int, *, insist: bool
) -> DeviceEntry:
    """Check the host's side of a device and reserve it, before any other supervisor can. Once
    begun, this is not given up halfway.

    Raises: HostError, UsageError; nothing is left behind then
    """
    with trio.CancelScope(shield=True), ExitStack() as held:
        await trio.to_thread.run_sync(held.enter_context, leases.lock())
        own = [Use(table.owner.umid, entry) for entry in table.entries]
        entry = await table.in_thread(_prepare, asked, number, table.owner, own, insist)
        entry.problem = BEING_PLUGGED
        table.entries.append(entry)
        try:
            await table.in_thread(bringing.bring_in, table.record, entry)
            await table.in_thread(records.save, table.record)
        except BaseException as problem:
            table.entries.remove(entry)
            await table.in_thread(bringing.take_out, table.record, entry)
            await table.in_thread(registry.of(entry.name).undo, entry, table.owner)
            if isinstance(problem, OSError):
                raise HostError(f"{entry.name}: cannot be written down: {problem}") from problem
            raise
    return entry


def _prepare(
    asked: Disk | Nic, number: int, owner: Owner, own: Iterable[Use], insist: bool
) -> DeviceEntry:
    users = [*leases.devices_of(discover.running(but=owner.umid)), *own]
    return registry.of_asked(asked).prepare(asked, number, owner, users, insist=insist)


async def config(table: DeviceTable, text: str, by: By, *, force: bool = False) -> Outcome:
    """Do what `config DEVICE=...` asks, in the way of the device's family where umlctl knows that.

    Raises: Refusal
    """
    try:
        device = parse(text, insist=force)
    except UsageError as problem:
        if force:
            return await table.kernel.ask(f"config {text}")
        raise Refusal(str(problem), -errno.EINVAL) from None
    if isinstance(device, ubd.Ubd):
        device = device.absolute(table.record.definition.cwd)  # as the kernel would take it
        await plug(table, specs.of_device(device), by, force=force)
    elif isinstance(device, (vec.Vec, eth.Eth)):
        await plug(table, specs.parse_nic(text, insist=force), by, force=force)
    elif isinstance(device, mem.Mem):
        await memory.change(table, device, by, force=force)
    elif isinstance(device, vhost.Lent):
        await lent.plug(table, device, by, force=force)
    else:
        await lines.change(table, device, by, force=force)
    return Outcome(ANSWERED)


async def remove(table: DeviceTable, text: str, by: By) -> Outcome:
    """Remove a device; its host's side goes with it.

    Raises: Refusal
    """
    try:
        name = parse_name(text)
    except UsageError as problem:
        raise Refusal(str(problem), -errno.EINVAL) from None
    if families.kind_of(name) == families.DIRECTORY:
        from umlctl.supervisor.devices import sharing  # which few guests need

        return await sharing.remove(table, name, by)
    async with table.changing():
        async with table.talking():
            outcome = await hotplug.remove_device(name, table.kernel)
            entry = table.find(name)
            if not outcome.ok:
                if outcome.error == -errno.EBUSY or "open" in outcome.text:
                    said = outcome.text.strip()
                    why = await registry.of(name).why_open(name, said, table.kernel)
                    raise Refusal(why, outcome.error)
                if entry is None or not hotplug.is_gone(outcome):
                    return outcome
                outcome = Outcome(ANSWERED)  # the kernel has nothing to take away
        if entry is not None:
            if entry.boot:
                table.record.removed.append(name)
            said = await table.release(entry)
            if said:
                table.history.add("failed", request=f"remove {name}", text=said, **by)
    table.history.add("device removed", device=name, **by)
    table.has_changed()
    return outcome
