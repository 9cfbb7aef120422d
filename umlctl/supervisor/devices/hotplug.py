"""Telling a kernel of one device, looking for the device in the guest, and else undoing it."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

import trio

from socketproto.exchange import GONE, REFUSED, TIMED_OUT, Outcome
from umlctl import exitcodes
from umlctl.backends import registry
from umlctl.backends.registry import BEING_PLUGGED
from umlctl.errors import Refusal
from umlctl.supervisor.devices.table import UNSETTLED, unanswered

if TYPE_CHECKING:
    from umlctl.state.records import DeviceEntry
    from umlctl.supervisor.devices.table import DeviceTable
    from umlctl.supervisor.kernel import KernelClient

LOOKS: Final = 3
"""How often the guest is looked at for a new device."""
LOOK_INTERVAL: Final = 0.05
"""The time between two looks, and between two tries to remove a device that is open, seconds."""
OPEN_TIMEOUT: Final = 1.0
"""How long a new disk may still be open for the scan of its partitions, seconds. Later kernels
(7.2) close it so late that a removal right after had no success in 30 of 30 trials."""


async def make_device(
    table: DeviceTable, entry: DeviceEntry, kernel: KernelClient, *, look: bool
) -> None:
    """Have the kernel make a device, and see that the guest has it. A stand-in that holds its name
    until then is removed first.

    look: whether to see that the guest has it

    Raises: Refusal: and the kernel does not have the device either
    """
    taken = False
    stand_in = registry.of(entry.name).stand_in(entry.name)
    if stand_in:
        there = await kernel.ask(f"config {entry.name}")
        if there.ok and there.text.strip() == stand_in.partition("=")[2]:
            taken = (await remove_device(entry.name, kernel)).ok
    try:
        await make_free_device(table, entry, kernel, look=look)
    except BaseException:
        if taken:
            with trio.CancelScope(shield=True):
                await kernel.ask(f"config {stand_in}")
        raise


async def make_free_device(
    table: DeviceTable, entry: DeviceEntry, kernel: KernelClient, *, look: bool
) -> None:
    """Have the kernel make a device whose name is free, and see that the guest has it.

    Raises: Refusal: and the kernel does not have the device either
    """
    entry.observed = None  # what was seen before a reboot no longer counts
    undo = True
    try:
        outcome = await kernel.ask(f"config {entry.told or entry.kernel}")
        if outcome.kind == REFUSED:
            undo = False
        if not outcome.ok:
            raise refused(entry.name, outcome)
        if not look or await _appears(entry, kernel):
            undo = False
            return
    finally:
        if undo:
            with trio.CancelScope(shield=True):
                await _undo(entry, kernel)
    if registry.of(entry.name).spoils:
        # The kernel forgets what it has half made, and goes on using it.
        table.spoilt_by = entry.name
    said = f"{entry.name}: the kernel took it, and the guest does not have it"
    if entry.problem not in ("", BEING_PLUGGED):
        said += f"; {entry.problem}"
    raise Refusal(f"{said}; `umlctl logs {table.owner.umid}` may say why", -errno.ENODEV)


async def _appears(entry: DeviceEntry, kernel: KernelClient) -> bool:
    """Whether the guest has a device that its kernel has taken; it may need a moment."""
    for _ in range(LOOKS):
        entry.observed = await registry.of(entry.name).observe(entry, kernel)
        if entry.observed is not None:
            return True
        await trio.sleep(LOOK_INTERVAL)
    return False


async def _undo(entry: DeviceEntry, kernel: KernelClient) -> None:
    """Undo a `config`. If that cannot be done, the entry's problem says so."""
    if not registry.of(entry.name).removable:
        return  # and a device of such a family that does not work is not there
    outcome = await remove_device(entry.name, kernel)
    if is_gone(outcome):
        return
    if outcome.kind == REFUSED:
        entry.problem = f"it cannot be taken out again: {outcome.text.strip()}"
    else:
        entry.problem = UNSETTLED


async def remove_device(name: str, kernel: KernelClient) -> Outcome:
    """Have the kernel remove a device. One that is open only for a moment is removed a moment
    later."""
    end = trio.current_time() + OPEN_TIMEOUT
    while True:
        outcome = await kernel.ask(f"remove {name}")
        if outcome.error != -errno.EBUSY or trio.current_time() > end:
            return outcome
        if not await registry.of(name).lets_go(name, kernel):
            return outcome
        await trio.sleep(LOOK_INTERVAL)


def is_gone(outcome: Outcome) -> bool:
    """Whether the kernel does not have the device, by the outcome of a `remove`."""
    return (
        outcome.ok
        or outcome.kind == GONE
        or outcome.error == -errno.ENODEV
        or "configured as 'none'" in outcome.text
    )


def refused(name: str, outcome: Outcome) -> Refusal:
    """The refusal for a device that the kernel did not take, by its answer.

    name: of the device
    """
    if outcome.kind in (GONE, TIMED_OUT):
        return unanswered(name, outcome)
    said = registry.of(name).explain(outcome.text.strip(), outcome.error)
    return Refusal(f"{name}: {said}", outcome.error or exitcodes.FAILED)
