"""The device table of one guest: what was asked for, what the guest has, and both kept the same.

The kernel says OK to devices that do not work, cannot list what it has, and forgets everything
at a reboot. So each device is written down before the kernel hears of it, looked for in the
guest afterwards, taken out again if it is not there, and plugged again after a reboot, before
anybody else's request.
"""

from __future__ import annotations

import errno
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import trio

from socketproto.exchange import ANSWERED, GONE, REFUSED, TIMED_OUT, Outcome
from umlctl import exitcodes
from umlctl.devices import eth, lines, mem, ubd, vec, vhost
from umlctl.devices.parse import parse, parse_name
from umlctl.errors import HostError, Refusal, UmlctlError, UsageError
from umlctl.guest import plug
from umlctl.guest.definition import check_for_user
from umlctl.host import disks, hardware, inuse, lost, records, segments
from umlctl.host.inuse import Use
from umlctl.host.records import Entry
from umlctl.supervisor import hostends, looks, memory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from umlctl.guest.plug import Disk, Nic
    from umlctl.host.records import Record
    from umlctl.protocol.status import Device
    from umlctl.supervisor.history import By, History
    from umlctl.supervisor.kernel import Kernel

UNSETTLED: Final = "the kernel may have it; it is taken out as soon as the kernel answers"
"""The problem of an entry whose plugging was given up, and whose removal could not be."""
ABSENT: Final = "the guest does not have it"
SWITCH: Final = 1.0
"""How long a switch may take to say who is on it, and the host to say what its files and taps are,
seconds."""
LOOKS: Final = 3
"""How often a new device is looked for in the guest."""
BETWEEN_LOOKS: Final = 0.05
LENT_BEFORE: Final = 64
"""So many devices that are not of its table a guest may have of a kind that it numbers."""
LET_GO: Final = 1.0
"""How long a new disk may be open yet for the scan of its partitions, seconds. Later kernels (7.2)
close it so late that a removal right after had no success in 30 of 30 trials."""


class Devices:
    """The table of one guest.

    Fields:
        entries: in the order in which they were plugged
        talk: held while the kernel is told about a device; who stops the guest waits for it
        changed: set when they have changed; another from then on
    """

    def __init__(
        self,
        record: Record,
        directory: str,
        kernel: Kernel,
        history: History,
        log: str,
        stopped: Callable[[], bool],
    ) -> None:
        """directory: of the guest's records; stopped: whether the guest is."""
        self._record = record
        self._umid = record.definition.umid
        self._directory = directory
        self._kernel = kernel
        self._history = history
        self._log = log
        self._stopped = stopped
        self._lock = trio.Lock()
        self.talk = trio.Lock()
        self._unrenewed: dict[str, str] = {}
        self._damaged = ""
        self.changed = trio.Event()

    @property
    def entries(self) -> list[Entry]:
        return self._record.devices

    def find(self, name: str) -> Entry | None:
        return next((entry for entry in self.entries if entry.name == name), None)

    def listing(self) -> list[Device]:
        """The table as `status` and `devices` show it."""
        return [records.shown(entry) for entry in self.entries]

    async def host_sides(self) -> dict[str, dict[str, Any]]:
        """What serves the NICs on switches, by device: the switch's pid and port, its uplink's."""
        found: dict[str, dict[str, Any]] = {}
        for network in self.networks():
            status: dict[str, Any] = {}
            with trio.move_on_after(SWITCH):
                try:
                    status = await trio.to_thread.run_sync(
                        segments.Segment(network).status, abandon_on_cancel=True
                    )
                except UmlctlError:
                    continue
            for entry in self.entries:
                if status and entry.network == network:
                    found[entry.name] = _host_side(entry, status, self._record.pid)
        return found

    async def notes(self) -> dict[str, str]:
        """What has become of the host's sides, by device, of those that are not as they were."""

        def look() -> dict[str, str]:
            return {entry.name: hardware.note(entry) for entry in there}

        there = [entry for entry in self.entries if entry.holds or entry.tap]
        found: dict[str, str] = {}
        if there:
            with trio.move_on_after(SWITCH):  # a file system over a network may not answer
                found = await trio.to_thread.run_sync(look, abandon_on_cancel=True)
        return {name: note for name, note in found.items() if note}

    def networks(self) -> set[str]:
        """The switches of ours that the guest is on."""
        return {entry.network for entry in self.entries if entry.network and not entry.problem}

    def _has_changed(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

    # What is asked for

    async def plug(self, asked: Disk | Nic, by: By, *, force: bool = False) -> Entry:
        """Plug a disk or a NIC: the guest has it then, or everything is as it was.

        A kernel that does not answer may take it all the same, later: then the entry stays, with
        its problem, until `settle`.

        force: leave out the looks at the guest

        Raises: Refusal
        """
        try:
            check_for_user(self._record.definition, asked)
        except UsageError as problem:
            raise Refusal(str(problem), -errno.EINVAL) from None
        if not force and isinstance(asked, plug.Nic) and asked.kind == plug.KERNEL:
            hostends.check_nic(asked, self._record.pid)
        async with self._locked():
            if self._damaged and not force and isinstance(asked, plug.Nic):
                raise Refusal(
                    f"this kernel could not open {self._damaged}, and may panic of another NIC; "
                    "reboot the guest first",
                    -errno.EIO,
                )
            name, number = self._name_for(asked)
            entry = await self._in_thread(self._write_down, asked, number, force)
            try:
                async with self._talking(force=force):
                    await self._give(entry, self._kernel, look=not force)
            except BaseException:
                with trio.CancelScope(shield=True):
                    if entry.problem == hardware.PLUGGING:
                        await trio.to_thread.run_sync(self._strike, entry)
                    else:
                        await self._save()
                raise
            entry.problem = ""
            await self._save()
        self._history.add("device added", device=name, text=entry.kernel, **by)
        self._has_changed()
        return entry

    async def config(self, text: str, by: By, *, force: bool = False) -> Outcome:
        """What `config DEVICE=...` means: the table's way for what the table knows.

        Raises: Refusal
        """
        try:
            device = parse(text, insist=force)
        except UsageError as problem:
            if force:
                return await self._kernel.ask(f"config {text}")
            raise Refusal(str(problem), -errno.EINVAL) from None
        if isinstance(device, ubd.Ubd):
            device = device.absolute(self._record.definition.cwd)  # as the kernel would
            await self.plug(plug.of_device(device), by, force=force)
        elif isinstance(device, (vec.Vec, eth.Eth)):
            await self.plug(plug.parse_nic(text, insist=force), by, force=force)
        elif isinstance(device, mem.Mem):
            await self._memory(device, by, force=force)
        elif isinstance(device, vhost.Lent):
            await self._lend(device, by, force=force)
        else:
            await self._line(device, by, force=force)
        return Outcome(ANSWERED)

    async def remove(self, text: str, by: By) -> Outcome:
        """Take a device away; its host's side goes with it.

        Raises: Refusal
        """
        try:
            name = parse_name(text)
        except UsageError as problem:
            raise Refusal(str(problem), -errno.EINVAL) from None
        async with self._locked():
            async with self._talking():
                outcome = await self._take_away(name, self._kernel)
                entry = self.find(name)
                if not outcome.ok:
                    if outcome.error == -errno.EBUSY or "open" in outcome.text:
                        raise Refusal(await self._who_opens(name, outcome), outcome.error)
                    if entry is None or not _is_gone(outcome):
                        return outcome
                    outcome = Outcome(ANSWERED)  # the kernel has nothing to take away
            if entry is not None:
                if entry.boot:
                    self._record.removed.append(name)
                said = await trio.to_thread.run_sync(self._let_go, entry)
                if said:
                    self._history.add("failed", request=f"remove {name}", text=said, **by)
        self._history.add("device removed", device=name, **by)
        self._has_changed()
        return outcome

    # After a boot

    async def renew(self) -> None:
        """The kernel begins anew: have the host's side ready before its init can use it."""
        self._unrenewed = {}
        self._damaged = ""
        for entry in list(self.entries):  # whoever has the lock may be waiting for a hook
            try:
                await trio.to_thread.run_sync(hardware.renew, entry, self._record.pid)
            except HostError as problem:
                self._unrenewed[entry.name] = str(problem)

    async def after_boot(self, kernel: Kernel, *, again: bool) -> None:
        """See what the guest has, and after a reboot give it again what it lacks.

        kernel: answers already, though not yet to others
        again: the guest has rebooted
        """
        if not (self.entries or self._record.removed):
            return
        async with self._lock:
            if again:
                for name in self._record.removed:
                    outcome = await self._take_away(name, kernel)
                    if not _is_gone(outcome):
                        said = str(outcome).strip()
                        self._history.add("failed", request=f"remove {name}", text=said)
            for entry in self.entries:
                entry.problem = await self._restore(entry, kernel, again=again)
                if entry.problem:
                    self._history.add("device lost", device=entry.name, text=entry.problem)
            await self._save()
        self._has_changed()

    async def _restore(self, entry: Entry, kernel: Kernel, *, again: bool) -> str:
        """Have a device in the guest as it was before; why it is not, or is of no use."""
        unable = self._unrenewed.get(entry.name, "")
        try:
            if again and not entry.boot:
                if unable and entry.name.startswith("ubd"):
                    entry.observed = None
                    return unable
                if entry.name.startswith(vhost.VIRTIO):
                    hostends.check_served(vhost.parse(entry.kernel))
                if entry.name == "mem":
                    await self._keep_spare(entry, kernel)
                await self._give(entry, kernel, look=True)
            else:
                entry.observed = await self._look(entry, kernel)
        except Refusal as problem:
            entry.observed = None
            return str(problem)
        return ABSENT if entry.observed is None else unable

    async def _keep_spare(self, entry: Entry, kernel: Kernel) -> None:
        """Take no more memory again than a guest that begins anew can spare: without any it dies
        of its boot."""
        there = await looks.memory(kernel)
        taken = -memory.change_of(entry)
        most = memory.most(there["free"]) if there else taken
        if taken > most > 0:
            entry.asked = entry.kernel = str(mem.Mem(-most))
            self._history.add("memory changed", change=taken - most, taken=most)

    async def settle(self) -> None:
        """The kernel answers again: take out what it may have got while it did not."""
        async with self._lock:
            for entry in [each for each in self.entries if each.problem == UNSETTLED]:
                if _is_gone(await self._take_away(entry.name, self._kernel)):
                    await trio.to_thread.run_sync(self._strike, entry)
                    self._history.add("device removed", device=entry.name, text="not plugged")
        self._has_changed()

    async def observe(self) -> None:
        """Look at every device again."""
        async with self._lock:
            for entry in self.entries:
                observed = await self._look(entry, self._kernel)
                if observed is not None:
                    entry.observed = observed
                    entry.problem = "" if entry.problem == ABSENT else entry.problem
                elif not entry.problem and (await self._kernel.ask("version")).ok:
                    # Somebody was at the kernel's own socket, or renamed it.
                    entry.observed, entry.problem = None, ABSENT
                    self._history.add("device lost", device=entry.name, text=ABSENT)

    async def bury(self) -> list[str]:
        """The guest has ended: let everything go that was made for its devices; what failed."""
        async with self._lock:
            return await trio.to_thread.run_sync(
                hardware.release_all, self.entries, self._umid, self._log
            )

    # The ways of a device

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[None]:
        """One change at a time; what the host finds wrong becomes the answer."""
        async with self._lock:
            unable = self._kernel.unable("config")
            if unable is not None:
                raise _refused("not now", unable)
            try:
                yield
            except Refusal:
                raise
            except UmlctlError as problem:
                cause = problem.__cause__
                number = cause.errno if isinstance(cause, OSError) and cause.errno else errno.EINVAL
                raise Refusal(str(problem), -number) from problem

    @asynccontextmanager
    async def _talking(self, *, force: bool = False) -> AsyncIterator[None]:
        """No `stop` comes between what the kernel is told: it would wedge the guest.

        Raises: Refusal
        """
        async with self.talk:
            if self._stopped() and not force:
                raise Refusal(
                    "the guest is paused, and a device would wedge it; send `go` first",
                    -errno.EBUSY,
                )
            yield

    async def _in_thread(self, work: Callable[..., Entry], *arguments: object) -> Entry:
        return await trio.to_thread.run_sync(work, *arguments)

    def _name_for(self, asked: Disk | Nic) -> tuple[str, int]:
        """The device's name and number.

        Raises: Refusal
        """
        taken = {entry.name for entry in self.entries}
        if isinstance(asked, plug.Disk):
            limit, prefix, number = ubd.SLOTS, "ubd", asked.slot
            order: Iterable[int] = (*range(1, limit), 0)  # last, as people take it for the root
        else:
            limit, prefix, number = plug.NICS, "vec", asked.number
            order = range(limit)
            if asked.text.startswith("eth"):
                prefix = "eth"
        if number is None:
            free = (n for n in order if f"{prefix}{n}" not in taken)
            number = next(free, None)
            if number is None:
                raise Refusal(f"all {limit} of {prefix}0.. are in use", -errno.EBUSY)
        name = f"{prefix}{number}"
        there = self.find(name)
        if there is not None:
            raise Refusal(
                f"{name} is in use: {there.asked}; take another, or `umlctl remove "
                f"{self._umid} {name}` first",
                -errno.EBUSY,
            )
        return name, number

    def _write_down(self, asked: Disk | Nic, number: int, insist: bool) -> Entry:
        """Check the host's side and reserve it, before any other supervisor can."""
        with inuse.lock():
            users = inuse.devices_of(lost.running(but=self._umid))
            users += [Use(self._umid, entry) for entry in self.entries]
            entry = hardware.prepare(
                asked, number, self._umid, self._directory, self._log, users, insist=insist
            )
            entry.problem = hardware.PLUGGING
            self.entries.append(entry)
            try:
                records.save(self._record)
            except BaseException as problem:
                self.entries.remove(entry)
                hardware.undo(entry, self._umid, self._log)
                if isinstance(problem, OSError):
                    raise HostError(f"{entry.name}: cannot be written down: {problem}") from problem
                raise
        return entry

    def _strike(self, entry: Entry) -> None:
        """It was not plugged after all."""
        self._drop(entry, hardware.undo(entry, self._umid, self._log))

    def _let_go(self, entry: Entry) -> str:
        said = hardware.release(entry, self._umid, self._log)
        self._drop(entry, "")
        return said

    def _drop(self, entry: Entry, said: str) -> None:
        self.entries.remove(entry)
        self._save_quietly()
        if said:
            trio.from_thread.run_sync(
                lambda: self._history.add("failed", request=f"undo {entry.name}", text=said)
            )

    async def _give(self, entry: Entry, kernel: Kernel, *, look: bool) -> None:
        """Have the kernel make the device, and see that the guest has it.

        Raises: Refusal: and the kernel does not have it either
        """
        taken = False
        if entry.name == "ubd0":  # /dev/null stands there until somebody wants it
            there = await kernel.ask("config ubd0")
            if there.ok and there.text.strip() == disks.NOTHING:
                taken = (await self._take_away("ubd0", kernel)).ok
        try:
            await self._make(entry, kernel, look=look)
        except BaseException:
            if taken:
                with trio.CancelScope(shield=True):
                    await kernel.ask(f"config ubd0r={disks.NOTHING}")
            raise

    async def _make(self, entry: Entry, kernel: Kernel, *, look: bool) -> None:
        entry.observed = None  # not what was seen before a reboot
        undo = True
        try:
            outcome = await kernel.ask(f"config {entry.kernel}")
            if outcome.kind == REFUSED:
                undo = False
            if not outcome.ok:
                raise _refused(entry.name, outcome)
            if not look or await self._appears(entry, kernel):
                undo = False
                return
        finally:
            if undo:
                with trio.CancelScope(shield=True):
                    await self._take_out(entry, kernel)
        if entry.name.startswith("eth"):
            self._damaged = entry.name  # it forgets what it has half made, and goes on using it
        said = f"{entry.name}: the kernel took it, and the guest does not have it"
        if entry.problem not in ("", hardware.PLUGGING):
            said += f"; {entry.problem}"
        raise Refusal(f"{said}; `umlctl logs {self._umid}` may say why", -errno.ENODEV)

    async def _take_out(self, entry: Entry, kernel: Kernel) -> None:
        """Undo a `config`. If that cannot be, the entry's problem says so."""
        if entry.name.startswith((vhost.VIRTIO, vhost.VFIO)):
            return  # nothing takes it out, and what does not work is not there
        outcome = await self._take_away(entry.name, kernel)
        if _is_gone(outcome):
            return
        if outcome.kind == REFUSED:
            entry.problem = f"it cannot be taken out again: {outcome.text.strip()}"
        else:
            entry.problem = UNSETTLED

    async def _take_away(self, name: str, kernel: Kernel) -> Outcome:
        """Have the kernel remove a device; one that is open for a moment only, a moment later."""
        end = trio.current_time() + LET_GO
        while True:
            outcome = await kernel.ask(f"remove {name}")
            busy = outcome.error == -errno.EBUSY and name.startswith("ubd")
            if not busy or trio.current_time() > end or await self._mounts(name, kernel):
                return outcome
            await trio.sleep(BETWEEN_LOOKS)

    async def _mounts(self, name: str, kernel: Kernel) -> list[str]:
        """Where a disk is mounted in the guest."""
        node = f"/dev/{looks.block_of(name)}"
        mounts = await kernel.ask("proc mounts")
        lines = (line.split() for line in mounts.text.splitlines())
        return [fields[1] for fields in lines if len(fields) > 2 and looks.is_of(fields, node)]

    async def _appears(self, entry: Entry, kernel: Kernel) -> bool:
        """Whether the guest has what its kernel has taken; it may need a moment."""
        for _ in range(LOOKS):
            entry.observed = await self._look(entry, kernel)
            if entry.observed is not None:
                return True
            await trio.sleep(BETWEEN_LOOKS)
        return False

    async def _look(self, entry: Entry, kernel: Kernel) -> dict[str, Any] | None:
        """What the guest has under the name of an entry; None if it has nothing."""
        if entry.name.startswith("ubd"):
            return await looks.look_at_disk(entry, kernel)
        if entry.name.startswith(("vec", "eth")):
            return await looks.look_at_nic(entry, kernel)
        if entry.name == "mem":
            return await looks.memory(kernel)
        if entry.name.startswith(vhost.VIRTIO):
            return await looks.look_at_virtio(entry, kernel)
        if entry.name.startswith(vhost.VFIO):
            return {}
        answer = await kernel.ask(f"config {entry.name}")
        return {"config": answer.text.strip()} if answer.ok else None

    async def _who_opens(self, name: str, outcome: Outcome) -> str:
        """Why a device cannot be removed, as far as can be known from outside."""
        if name.startswith("ubd"):
            where = await self._mounts(name, self._kernel)
            if where:
                return f"{name} is mounted in the guest on {', '.join(where)}; unmount it first"
            return f"{name} is open in the guest, by a process or as swap; it is not mounted"
        if name.startswith(("vec", "eth")):
            return f"{name} is up in the guest; `ip link set {name} down` there first"
        return f"{name}: {outcome.text.strip()}"

    # Lent devices, lines and memory

    async def _lend(self, device: vhost.Lent, by: By, *, force: bool) -> None:
        """Pass on a device of the host's. The guest numbers it, and keeps it until it ends."""
        if not force:
            hostends.check_served(device)
        async with self._locked(), self._talking(force=force):
            entry = Entry(name=device.kind, asked=str(device), kernel=str(device))
            await self._number(entry, device.kind, force=force)
            await self._make(entry, self._kernel, look=not force)
            self.entries.append(entry)
            await self._save()
        self._history.add("device added", device=entry.name, text=entry.kernel, **by)
        self._has_changed()

    async def _number(self, entry: Entry, kind: str, *, force: bool) -> None:
        """Name a device as the guest will, which may have some of its kernel's command line.

        Raises: Refusal
        """
        first = sum(each.name.startswith(kind) for each in self.entries)
        for number in range(first, first + LENT_BEFORE):
            entry.name = f"{kind}{number}"
            taken = kind == vhost.VIRTIO and await looks.look_at_virtio(entry, self._kernel)
            if not taken:
                return
        if force:
            return
        raise Refusal(
            f"{kind}: the guest says that it has {kind}{first} to {entry.name} already, and a new "
            "one could not be told from those; --force has it plugged all the same",
            -errno.EBUSY,
        )

    async def _line(self, device: lines.Line, by: By, *, force: bool) -> None:
        name = device.name
        if not force:
            hostends.check_line(device, self._record.pid)
        async with self._locked():
            before = await self._kernel.ask(f"config {name}")
            outcome = await self._kernel.ask(f"config {device}")
            if not outcome.ok:
                was = before.text.strip()
                if before.ok and was and was != "none":
                    # A string that the kernel cannot read costs the old one.
                    await self._kernel.ask(f"config {name}={was}")
                raise _refused(name, outcome)
            entry = self.find(name)
            if entry is None:
                entry = Entry(name=name, asked=str(device), kernel=str(device))
                self.entries.append(entry)
            entry.asked = entry.kernel = str(device)
            entry.boot, entry.problem = False, ""
            if not force:
                entry.observed = await self._look(entry, self._kernel)
            await self._save()
        self._history.add("device added", device=name, text=str(device), **by)

    async def _memory(self, device: mem.Mem, by: By, *, force: bool) -> None:
        """Take memory from the guest, or give back what was taken."""
        async with self._locked():
            entry = self.find("mem")
            taken = -memory.change_of(entry) if entry else 0
            before = await looks.memory(self._kernel)
            if before is None:
                raise Refusal("mem: the guest does not say how much it has", -errno.EIO)
            if not force:
                memory.check(device.change, taken, before["free"])
            outcome = await self._kernel.ask(f"config {device}")
            if not outcome.ok:
                raise _refused("mem", outcome)
            after = await looks.memory(self._kernel)
            taken += memory.really_taken(device.change, before["free"], after)
            if entry is None:
                entry = Entry(name="mem", asked="", kernel="")
                self.entries.append(entry)
            if taken <= 0:
                self.entries.remove(entry)
            entry.asked = entry.kernel = str(mem.Mem(-taken)) if taken > 0 else ""
            entry.observed, entry.problem = after, ""
            await self._save()
        self._history.add("memory changed", change=device.change, taken=max(0, taken), **by)

    # On disk

    async def _save(self) -> None:
        await trio.to_thread.run_sync(self._save_quietly)

    def _save_quietly(self) -> None:
        try:
            records.save(self._record)
        except OSError as problem:
            said = str(problem)
            trio.from_thread.run_sync(lambda: self._history.add("not recorded", text=said))


def _host_side(entry: Entry, status: dict[str, Any], pid: int) -> dict[str, Any]:
    """What a switch says of one NIC's end; a port is known by its MAC once it has sent."""
    ports = [port for port in status["ports"] if port["pid"] == pid]
    if len(ports) > 1:
        ports = [port for port in ports if entry.mac in port["macs"]]
    uplink = status.get("uplink") or {}
    return {
        "switch_pid": status["pid"],
        "port": ports[0]["id"] if len(ports) == 1 else None,
        "uplink_pid": uplink.get("pid"),
    }


def _is_gone(outcome: Outcome) -> bool:
    """What a `remove` has come to: the kernel does not have the device."""
    return (
        outcome.ok
        or outcome.kind == GONE
        or outcome.error == -errno.ENODEV
        or "configured as 'none'" in outcome.text
    )


def _refused(name: str, outcome: Outcome) -> Refusal:
    if outcome.kind in (GONE, TIMED_OUT):
        number = -errno.ECONNRESET if outcome.kind == GONE else -errno.ETIMEDOUT
        return Refusal(f"{name}: {outcome.reason}", number)
    said = outcome.text.strip()
    if name.startswith("eth") and said in ("", "Bad configuration option"):
        said = "this kernel has no such transport; `umlctl kernel list` shows what it has"
    elif name.startswith((vhost.VIRTIO, vhost.VFIO)) and said == "Bad configuration option":
        said = "this kernel takes no such device while it runs; Linux 7.2 with its driver does"
    elif not said and outcome.error == -errno.EAGAIN and name.startswith("ubd"):
        said = "another process of this host has its file locked"
    elif not said and outcome.error < 0:
        said = os.strerror(-outcome.error)
    elif not said:
        said = "the kernel cannot, and does not say why; its log may"
    return Refusal(f"{name}: {said}", outcome.error or exitcodes.FAILED)
