"""Keeping a guest's connections to its switches when the switches end.

A kernel whose switch hangs up burns half a CPU until a user sets the link down and up inside the
guest. So the supervisor holds duplicates of the connections. When a switch is killed, the guest
does not notice, and the next switch takes the connections over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import trio

from umlctl.errors import HostError, UsageError
from umlctl.host import naming, netns
from umlctl.networks import definitions
from umlctl.networks.holder import Holder
from umlctl.networks.segments import Segment, revive
from umlctl.supervisor.rate_limits import EventLimit

if TYPE_CHECKING:
    from umlctl.supervisor.history import History

FIRST_RETRY_INTERVAL: Final = 0.1
MAX_RETRY_INTERVAL: Final = 5.0
"""The time between two tries to have a switch again, seconds: at first, then twice as long each
time, up to the most."""


class OnNetworks(Protocol):
    """A guest's device table, as far as switches need it.

    Fields:
        changed: set when the table has changed; replaced by another event then
    """

    changed: trio.Event

    def networks(self) -> set[str]: ...

    def taps(self, network: str) -> list[tuple[str, str, str]]: ...

    def addresses(self, network: str) -> list[str]: ...


async def keep_links(devices: OnNetworks, pid: int, history: History) -> None:
    """Hold the connections of the kernel's process to the switches in its guest's table."""
    held: dict[str, trio.CancelScope] = {}

    async def hold(network: str, scope: trio.CancelScope) -> None:
        with scope:
            await _hold(network, pid, history, devices)
        if held.get(network) is scope:
            del held[network]  # it was cancelled on purpose; there may be another of its name

    async with trio.open_nursery() as nursery:
        while True:
            changed = devices.changed
            wanted = devices.networks()
            for network in held.keys() - wanted:
                held.pop(network).cancel()
            for network in wanted - held.keys():
                held[network] = trio.CancelScope()
                nursery.start_soon(hold, network, held[network])
            await changed.wait()


def _start(network: str) -> None:
    """Have the switch running: as it was, or as it is defined if it ended for want of guests.

    Raises: HostError, UsageError
    """
    try:
        revive(network)
    except HostError:
        if naming.PRIVATE_MARK in network:
            raise
        definitions.start_switch(network)


async def _keep_taps(network: str, pid: int, history: History, devices: OnNetworks) -> None:
    """Have the taps on the network's bridge that the guest's NICs are to have. Without a supervisor
    nobody tells a switch of a NIC that is down in the guest, and it may have ended with its taps.
    """
    taps = devices.taps(network)

    def keep() -> None:
        for name, mac, guest in taps:
            Segment(network).make_tap(name, mac, guest, netns.inode_of(pid), kept=True)

    try:
        if taps:
            await trio.to_thread.run_sync(keep)
    except HostError as problem:
        history.add("network lost", network=network, text=str(problem))


async def _keep_names(network: str, history: History, devices: OnNetworks) -> None:
    """Have somebody on the network whom the guest asks for names, if it has an address there: who
    has started the switch may not have known.
    """
    given = devices.addresses(network)

    def keep() -> None:
        of = definitions.range_of(network)
        if any(of.has(each) for each in given):
            Segment(network).serve_names()

    try:
        if given:
            await trio.to_thread.run_sync(keep)
    except HostError as problem:
        history.add("network lost", network=network, text=str(problem))


async def _hold(network: str, pid: int, history: History, devices: OnNetworks) -> None:
    holder = None
    sparing = EventLimit()
    lost = False
    pause = FIRST_RETRY_INTERVAL
    said = ""
    try:
        while True:
            try:
                if holder is None:
                    await trio.to_thread.run_sync(_start, network)
                    holder = await trio.to_thread.run_sync(Holder, network, pid)
                    await _keep_taps(network, pid, history, devices)
                    await _keep_names(network, history, devices)
                elif lost:
                    await trio.to_thread.run_sync(_start, network)
                    await trio.to_thread.run_sync(holder.reconnect)
                    await _keep_taps(network, pid, history, devices)
                    await _keep_names(network, history, devices)
                    history.add("network back", network=network)
                    lost = False
                pause, said = FIRST_RETRY_INTERVAL, ""
            except (HostError, UsageError) as problem:
                if str(problem) != said:  # told once, though it is tried for ever
                    said = str(problem)
                    history.add("network lost", network=network, text=said)
                await trio.sleep(pause)
                pause = min(2 * pause, MAX_RETRY_INTERVAL)
                continue
            lives = holder.fileno() >= 0  # else the switch has ended while it was asked to hold
            if lives:
                await trio.lowlevel.wait_readable(holder.fileno())
                lives = holder.read()
            _note_restarts(holder, sparing, history)
            if lives:
                continue
            if holder.ended:
                history.add("network ended", network=network)
                return
            history.add("network lost", network=network, text="its switch has ended")
            lost = True
    finally:
        if holder is not None:
            holder.close()


def _note_restarts(holder: Holder, sparing: EventLimit, history: History) -> None:
    for program in holder.restarted:
        left_out = sparing.take(trio.current_time())
        if left_out is not None:
            history.add(
                "helper restarted",
                helper=program,
                network=holder.name,
                left_out=left_out or None,
            )
    holder.restarted.clear()
