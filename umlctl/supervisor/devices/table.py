"""The device table of one guest: its rows, who may change them, and where they are kept.

Trio alone changes rows. Work that waits for this host runs in a worker thread, and returns a value.
"""

from __future__ import annotations

import errno
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, TypeVar

import trio

from socketproto.exchange import GONE, REFUSED
from umlctl.backends import registry
from umlctl.backends.interface import Owner
from umlctl.errors import Refusal, UmlctlError
from umlctl.host import limits, netns
from umlctl.networks.namespaces import PORT
from umlctl.state import records
from umlctl.supervisor.devices import bringing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from socketproto.exchange import Outcome
    from umlctl.protocol.status import Device
    from umlctl.state.records import DeviceEntry, Record
    from umlctl.supervisor.history import History
    from umlctl.supervisor.kernel import KernelClient

UNSETTLED: Final = "the kernel may have it; it is taken out as soon as the kernel answers"
"""The problem of an entry whose plugging was given up, and which could not be removed."""
AWAY: Final = "its COW file is being merged or emptied; it is plugged again then"
"""The problem of a disk that is out of the guest meanwhile."""
ABSENT: Final = "the guest does not have it"

T = TypeVar("T")


class DeviceTable:
    """The table of one guest.

    Fields:
        record: what is kept of the guest; the rows are in it
        owner: the guest that the host's sides are made for
        kernel: of the guest
        history: of the guest
        talk: held while the kernel is told about a device; a `stop` waits for it
        changed: set when the rows have changed; replaced by another event then
        unrenewed: why the host's side of a device was not ready after a reboot, by its name
        away: the disk that is AWAY; else empty
        spoilt_by: a NIC that this kernel could not open: it may panic of another; else empty
    """

    def __init__(
        self,
        record: Record,
        directory: str,
        kernel: KernelClient,
        history: History,
        log: str,
        stopped: Callable[[], bool],
    ) -> None:
        """directory: of the guest's records; stopped: whether the guest is stopped"""
        self.record = record
        umid, namespace = record.definition.umid, netns.inode_of(record.pid)
        self.owner = Owner(umid, directory, log, namespace)
        self.kernel = kernel
        self.history = history
        self.talk = trio.Lock()
        self.changed = trio.Event()
        self.unrenewed: dict[str, str] = {}
        self.away = ""
        self.spoilt_by = ""
        self.lock = trio.Lock()
        self._stopped = stopped
        # The holder of the lock of all devices must not wait for a thread behind tasks that wait
        # for that lock.
        self._threads = trio.CapacityLimiter(1)

    @property
    def entries(self) -> list[DeviceEntry]:
        """The rows, in the order in which the devices were plugged."""
        return self.record.devices

    def find(self, name: str) -> DeviceEntry | None:
        return next((entry for entry in self.entries if entry.name == name), None)

    def listing(self) -> list[Device]:
        """The table as `status` and `devices` show it."""
        return [records.device_status(entry) for entry in self.entries]

    def taps(self, network: str) -> list[tuple[str, str, str]]:
        """The taps of NICs on a network's bridge: name, MAC address and guest."""
        return [
            (entry.made[PORT], entry.mac, self.owner.umid)
            for entry in self.entries
            if entry.network == network and PORT in entry.made
        ]

    def addresses(self, network: str) -> list[str]:
        """The addresses that NICs on a network were given."""
        return [entry.addr for entry in self.entries if entry.network == network and entry.addr]

    def networks(self) -> set[str]:
        """The switches of umlctl's that the guest is on."""
        return {entry.network for entry in self.entries if entry.network and not entry.problem}

    def has_changed(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

    # Who may change it

    @asynccontextmanager
    async def changing(self) -> AsyncIterator[None]:
        """Make one change at a time; what the host finds wrong becomes the answer.

        Raises: Refusal
        """
        async with self.lock:
            unable = self.kernel.refusal("config")
            if unable is not None:
                raise unanswered("not now", unable)
            try:
                yield
            except Refusal:
                raise
            except UmlctlError as problem:
                cause = problem.__cause__
                number = cause.errno if isinstance(cause, OSError) and cause.errno else errno.EINVAL
                raise Refusal(limits.explained(problem), -number) from problem

    @asynccontextmanager
    async def talking(self, *, force: bool = False) -> AsyncIterator[None]:
        """Tell the kernel something with no `stop` in between: that would wedge the guest.

        Raises: Refusal
        """
        async with self.talk:
            if self._stopped() and not force:
                raise Refusal(
                    "the guest is paused, and a device would wedge it; send `go` first",
                    -errno.EBUSY,
                )
            yield

    # This host

    async def in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        """Run work that may wait, one piece at a time; the caller has `lock`."""
        return await trio.to_thread.run_sync(work, *arguments, limiter=self._threads)

    async def save(self) -> None:
        """Write the rows down; if they cannot be, that is told, and no more."""
        try:
            await self.in_thread(records.save, self.record)
        except OSError as problem:
            self.history.add("not recorded", text=str(problem))

    async def roll_back(self, entry: DeviceEntry) -> None:
        """Remove a device that was not plugged after all: what was made for it, and its row."""
        await self.in_thread(bringing.take_out, self.record, entry)
        said = await self.in_thread(registry.of(entry.name).undo, entry, self.owner)
        self.entries.remove(entry)
        await self.save()
        if said:
            self.history.add("failed", request=f"undo {entry.name}", text=said)

    async def release(self, entry: DeviceEntry) -> str:
        """Release the host's side of a device that is gone, and remove its row; return what
        failed."""
        await self.in_thread(bringing.take_out, self.record, entry)
        said = await self.in_thread(registry.of(entry.name).release, entry, self.owner)
        self.entries.remove(entry)
        await self.save()
        return said


def unanswered(what: str, outcome: Outcome) -> Refusal:
    """The refusal for a kernel that does not answer, or must not be asked."""
    if outcome.kind == REFUSED:
        return Refusal(f"{what}: {outcome.text.strip()}", outcome.error)
    number = -errno.ECONNRESET if outcome.kind == GONE else -errno.ETIMEDOUT
    return Refusal(f"{what}: {outcome.reason}", number)
