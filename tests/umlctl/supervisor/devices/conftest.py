from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any, cast

import pytest
import trio
import trio.testing

from socketproto.exchange import ANSWERED, REFUSED, TIMED_OUT, Outcome
from umlctl.devices import eth, lines, mem, ubd, vec
from umlctl.devices.parse import parse
from umlctl.devices.ubd import NULL_FILE
from umlctl.guest.definition import Definition
from umlctl.guest.specs import parse_disk, parse_nic
from umlctl.host import paths, processes
from umlctl.state import records
from umlctl.state.records import DeviceEntry, Record
from umlctl.supervisor.devices import hotplug, observing, plugging, restoring
from umlctl.supervisor.devices.table import DeviceTable
from umlctl.supervisor.history import History

if TYPE_CHECKING:
    from collections.abc import Callable

    from umlctl.supervisor.kernel import KernelClient

DEADLINE = 30.0
MB = 1 << 20
BY = {"uid": 1000, "pid": 4711}
SILENCE = Outcome(TIMED_OUT, reason="silence")
OPEN = Outcome(REFUSED, -errno.EBUSY, b"Device is currently open")


class FakeKernel:
    """Answers as a kernel does whose devices are a few tables.

    Fields:
        asked: what it was asked
        disks, nics, lines: what it has, by name: the files, the line's channels
        hidden: devices that it takes, and that the guest does not have all the same
        answers: what it says to one text instead of what it would say
        before: called with each text before it is answered
        mounts: the guest's /proc/mounts
        free: memory that the guest has, bytes
        away: how every exchange ends without being tried
        slow: texts that are never answered
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.disks = {"ubd0": "/dev/null"}
        self.nics: set[str] = set()
        self.lines = {"con0": "fd:3,fd:4", "con1": "none", "con2": "none"}
        self.hidden: set[str] = set()
        self.answers: dict[str, Outcome] = {}
        self.before: Callable[[str], None] = lambda _text: None
        self.mounts = "sysfs /sys sysfs rw 0 0\n"
        self.free = 200 * MB
        self.away: Outcome | None = None
        self.slow: set[str] = set()

    def reboot(self) -> None:
        """Everything is forgotten but for the command line."""
        self.disks = {"ubd0": "/dev/null"}
        self.nics = set()
        self.free = 200 * MB
        self.asked.clear()

    @property
    def told(self) -> list[str]:
        """What it was asked but for questions."""
        verbs = ("config", "remove")
        return [
            text
            for text in self.asked
            if text.startswith(verbs) and ("=" in text or text.startswith("remove") or ":" in text)
        ]

    def refusal(self, _text: str) -> Outcome | None:
        return self.away

    async def ask(self, text: str, _timeout: float = 0) -> Outcome:
        await trio.lowlevel.checkpoint()
        self.asked.append(text)
        self.before(text)
        if text in self.slow:
            await trio.sleep_forever()
        if text in self.answers:
            return self.answers[text]
        verb, _, argument = text.partition(" ")
        if text == "version":
            return ok("Linux")
        answer: Callable[[str], Outcome] = getattr(self, f"_{verb}")
        return answer(argument)

    def _config(self, text: str) -> Outcome:
        if "=" not in text:
            if text in self.lines:
                return ok(self.lines[text])
            return ok(self.disks.get(text, ""))
        device = parse(text, insist=True)
        if isinstance(device, ubd.Ubd):
            if device.name in self.disks:
                return refused("Device is already configured")
            self.disks[device.name] = ",".join(filter(None, device.files[:2]))
        elif isinstance(device, (vec.Vec, eth.Eth)):
            if device.name in self.nics:
                return refused("Device is already configured")
            self.nics.add(device.name)
        elif isinstance(device, lines.Line):
            self.lines[device.name] = ",".join(device.channels)
        else:
            assert isinstance(device, mem.Mem)
            self.free = max(self.free + device.change, 0)
        return ok()

    def _remove(self, name: str) -> Outcome:
        if name.startswith("ubd"):
            self.disks.pop(name, None)
            return ok()
        if name in self.nics:
            self.nics.remove(name)
            return ok()
        return refused("No such device", -errno.ENODEV)

    def _proc(self, path: str) -> Outcome:
        if path == "partitions":
            rows = [
                f"  98 {16 * int(n[3:])} 1024 {letter(n)}" for n in self.disks if self._shows(n)
            ]
            rows += [f"  98 1 512 {letter(n)}1" for n in self.disks if self._shows(n)]
            return ok("\n".join(["", "major minor  #blocks  name", "", *rows, ""]))
        if path in ("mounts", "1/mounts"):
            return ok(self.mounts)
        if path == "meminfo":
            return ok(
                f"MemTotal: {512 << 10} kB\nMemFree: {self.free >> 10} kB\n"
                f"MemAvailable: {self.free >> 10} kB\nHugetlb: 0 kB\nDirectMap\n"
            )
        *_, name, fact = path.split("/")
        if name not in self.nics or name in self.hidden:
            return refused("No such file", -errno.ENOENT)
        return ok({"address": "02:00:00:00:00:01\n", "operstate": "down\n"}.get(fact, "1"))

    def _shows(self, name: str) -> bool:
        return name not in self.hidden and self.disks[name] != NULL_FILE


def letter(name: str) -> str:
    return f"ubd{chr(ord('a') + int(name[3:]))}"


def ok(text: str = "") -> Outcome:
    return Outcome(ANSWERED, 0, text.encode())


def refused(text: str, error: int = 1) -> Outcome:
    return Outcome(REFUSED, error, text.encode())


class Guest:
    """A guest's table with its fake kernel, and what is kept of it on disk."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.kernel = FakeKernel()
        self.stopped = False
        self.history = History("demo")
        self.directory = paths.record_dir("demo")
        os.makedirs(self.directory)
        started = processes.start_time(os.getpid())
        assert started is not None
        self.record = Record(
            definition=Definition(umid="demo", kernel="/linux", cwd=path),
            supervisor_pid=1,
            pid=os.getpid(),
            started=started,
            boot_id=records.host_boot_id(),
            since=1.0,
        )
        records.save(self.record)
        self.devices = DeviceTable(
            self.record,
            self.directory,
            cast("KernelClient", self.kernel),
            self.history,
            f"{self.directory}/console.log",
            lambda: self.stopped,
        )
        for name in ("a.img", "b.img"):
            with open(f"{path}/{name}", "wb") as file:
                file.write(b"x" * 4096)

    async def plug(self, text: str, *, force: bool = False) -> DeviceEntry:
        nic = text.startswith(("vec", "eth", "switch", "transport"))
        asked = parse_nic(text) if nic else parse_disk(text, self.path)
        return await plugging.plug(self.devices, asked, BY, force=force)

    async def config(self, text: str, *, force: bool = False) -> Outcome:
        return await plugging.config(self.devices, text, BY, force=force)

    async def remove(self, name: str) -> Outcome:
        return await plugging.remove(self.devices, name, BY)

    async def reboot(self) -> None:
        self.kernel.reboot()
        await self.after_boot(again=True)

    async def after_boot(self, *, again: bool) -> None:
        await restoring.after_boot(self.devices, cast("KernelClient", self.kernel), again=again)

    @property
    def names(self) -> list[str]:
        """Of the devices in the table, on disk too."""
        kept = records.load("demo")
        assert kept is not None
        names = [entry.name for entry in self.devices.entries]
        assert [entry.name for entry in kept.devices] == names
        return names

    @property
    def files(self) -> set[str]:
        """Images and what is kept of the guest; a lock of all guests is no trace of one."""
        places = (self.path, self.directory)
        return {f"{place}/{name}" for place in places for name in os.listdir(place)}

    def events(self, event: str) -> list[dict[str, Any]]:
        return [each for each in self.history if each["event"] == event]

    def boots_with(self, name: str, kernel: str, **fields: Any) -> DeviceEntry:
        """A device of the command line."""
        entry = DeviceEntry(name=name, asked=kernel, kernel=kernel, boot=True, **fields)
        self.record.devices.append(entry)
        return entry


@pytest.fixture
def guest(house: str, monkeypatch: pytest.MonkeyPatch) -> Guest:
    monkeypatch.setattr(hotplug, "LOOK_INTERVAL", 0.0)
    monkeypatch.setattr(hotplug, "OPEN_TIMEOUT", DEADLINE)
    monkeypatch.setattr(observing, "HOST_TIMEOUT", DEADLINE)
    monkeypatch.setattr(processes, "open_file", lambda _pid, _number: "socket:[1]")
    made = Guest(house)
    made.history.add("started")
    return made
