from __future__ import annotations

import errno
import os
import socket
import threading
from typing import TYPE_CHECKING, Any, cast

import pytest
import trio
import trio.testing

from socketproto.exchange import ANSWERED, GONE, REFUSED, TIMED_OUT, Outcome
from umlctl.devices import eth, lines, mem, ubd, vec
from umlctl.devices.parse import parse
from umlctl.errors import HostError, Refusal
from umlctl.guest.definition import Definition
from umlctl.guest.plug import parse_disk, parse_nic
from umlctl.host import disks, hardware, paths, processes, records
from umlctl.host.hardware import PLUGGING
from umlctl.host.records import Entry, Record
from umlctl.supervisor import devices as module
from umlctl.supervisor import memory
from umlctl.supervisor.devices import ABSENT, UNSETTLED, Devices
from umlctl.supervisor.history import History

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from umlctl.supervisor.kernel import Kernel

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

    def unable(self, _text: str) -> Outcome | None:
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
        return name not in self.hidden and self.disks[name] != disks.NOTHING


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
        self.devices = Devices(
            self.record,
            self.directory,
            cast("Kernel", self.kernel),
            self.history,
            f"{self.directory}/console.log",
            lambda: self.stopped,
        )
        for name in ("a.img", "b.img"):
            with open(f"{path}/{name}", "wb") as file:
                file.write(b"x" * 4096)

    async def plug(self, text: str, *, force: bool = False) -> Entry:
        nic = text.startswith(("vec", "eth", "switch", "transport"))
        asked = parse_nic(text) if nic else parse_disk(text, self.path)
        return await self.devices.plug(asked, BY, force=force)

    async def reboot(self) -> None:
        self.kernel.reboot()
        await self.devices.after_boot(cast("Kernel", self.kernel), again=True)

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

    def boots_with(self, name: str, kernel: str, **fields: Any) -> Entry:
        """A device of the command line."""
        entry = Entry(name=name, asked=kernel, kernel=kernel, boot=True, **fields)
        self.record.devices.append(entry)
        return entry


@pytest.fixture
def guest(house: str, monkeypatch: pytest.MonkeyPatch) -> Guest:
    monkeypatch.setattr(module, "BETWEEN_LOOKS", 0.0)
    monkeypatch.setattr(processes, "open_file", lambda _pid, _number: "socket:[1]")
    made = Guest(house)
    made.history.add("started")
    return made


# Plugging


async def test_plugged_disk_is_in_the_guest_in_the_table_and_on_disk(guest: Guest) -> None:
    changed = guest.devices.changed
    entry = await guest.plug("a.img,serial=S")
    assert guest.kernel.told == [f"config ubd1={guest.path}/a.img,,S"]
    assert entry.observed == {"block": "ubdb", "size": MB, "partitions": ["ubdb1"]}
    assert (entry.name, entry.problem, entry.boot) == ("ubd1", "", False)
    kept = records.load("demo")
    assert kept is not None
    assert kept.devices == [entry]
    (event,) = guest.events("device added")
    assert (event["device"], event["text"], event["uid"], event["pid"]) == (
        *("ubd1", entry.kernel),
        *(1000, 4711),
    )
    assert changed.is_set()
    assert not guest.devices.changed.is_set()


async def test_plugged_nic_is_looked_at_in_the_guest(guest: Guest) -> None:
    entry = await guest.plug("transport=fd,fd=3")
    assert guest.kernel.nics == {"vec0"}
    assert entry.observed == {"address": "02:00:00:00:00:01", "operstate": "down", "mtu": "1"}


async def test_nic_of_a_guest_without_sysfs_is_seen_all_the_same(guest: Guest) -> None:
    """Its kernel would log every file that is not there."""
    guest.kernel.mounts = "none /proc proc rw 0 0\n"
    assert (await guest.plug("transport=fd,fd=3")).observed == {}
    assert not [text for text in guest.kernel.asked if "/sys/class" in text]


async def test_device_is_written_down_before_the_kernel_hears_of_it(guest: Guest) -> None:
    """A supervisor that is killed then leaves a note, and others keep off the file."""
    seen: list[tuple[str, str]] = []

    def before(text: str) -> None:
        kept = records.load("demo")
        assert kept is not None
        if text.startswith("config ubd1="):
            seen.extend((entry.name, entry.problem) for entry in kept.devices)

    guest.kernel.before = before
    await guest.plug("a.img")
    assert seen == [("ubd1", PLUGGING)]


@pytest.mark.parametrize("text", ["a.img", "a.img,cow=new.cow", "a.img,discard"])
@pytest.mark.parametrize("said", ["Failed to parse", ""])
async def test_device_that_the_kernel_refuses_leaves_nothing(
    guest: Guest, text: str, said: str
) -> None:
    before = guest.files
    device = parse_disk(f"{text},slot=3", guest.path)
    name = f"{guest.directory}/ubd3.cow" if device.discard else device.cow
    guest.kernel.answers[f"config {device.device(3, name)}"] = refused(said, -errno.EINVAL)
    with pytest.raises(Refusal, match=f"ubd3: {said or 'Invalid argument'}") as refusal:
        await guest.plug(f"{text},slot=3")
    assert refusal.value.error == -errno.EINVAL
    assert guest.names == []
    assert guest.files == before
    assert not guest.events("device added")
    assert "remove ubd3" not in guest.kernel.asked, "another device may be there"


@pytest.mark.parametrize("text", ["a.img", "a.img,cow=new.cow", "a.img,discard"])
async def test_device_that_the_guest_does_not_have_is_taken_out_again(
    guest: Guest, text: str
) -> None:
    before = guest.files
    guest.kernel.hidden.add("ubd1")
    with pytest.raises(Refusal, match="ubd1: the kernel took it, and the guest does not have it"):
        await guest.plug(text)
    assert guest.kernel.disks == {"ubd0": "/dev/null"}
    assert guest.names == []
    assert guest.files == before


async def test_kernel_that_could_not_open_an_older_nic_gets_no_other_until_it_reboots(
    guest: Guest,
) -> None:
    """Seen on 6.1: the next one, of either kind, is its end."""
    guest.kernel.hidden.add("eth0")
    with pytest.raises(Refusal, match="eth0: the kernel took it, and the guest does not have it"):
        await guest.plug("eth0=mcast")
    guest.kernel.hidden.clear()
    for text in ("eth0=mcast", "eth1=mcast", "transport=fd,fd=3"):
        with pytest.raises(Refusal, match="could not open eth0, and may panic of another NIC"):
            await guest.plug(text)
    await guest.plug("a.img")
    await guest.plug("eth1=mcast", force=True)
    await guest.devices.renew()
    await guest.plug("eth0=mcast")


async def test_device_with_other_files_than_were_asked_for_is_not_it(guest: Guest) -> None:
    guest.kernel.answers["config ubd1"] = ok("/another.img")
    with pytest.raises(Refusal, match="the guest does not have it"):
        await guest.plug("a.img")
    assert guest.names == []


async def test_device_that_appears_late_is_waited_for(guest: Guest) -> None:
    looks = []

    def before(text: str) -> None:
        if text == "proc partitions":
            looks.append(text)
            if len(looks) == 3:
                guest.kernel.hidden.clear()

    guest.kernel.hidden.add("ubd1")
    guest.kernel.before = before
    assert (await guest.plug("a.img")).problem == ""


async def test_forced_device_is_not_looked_for(guest: Guest) -> None:
    guest.kernel.hidden.add("ubd1")
    entry = await guest.plug("a.img", force=True)
    assert entry.observed is None
    assert guest.kernel.asked == [f"config {entry.kernel}"]
    assert guest.names == ["ubd1"]


async def test_request_that_is_given_up_leaves_nothing(guest: Guest) -> None:
    before = guest.files
    guest.kernel.slow.add(f"config ubd1={guest.path}/new.cow,{guest.path}/a.img")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(guest.plug, "a.img,cow=new.cow")
        with trio.fail_after(DEADLINE):
            while not guest.kernel.told:  # noqa: ASYNC110 - the fake has nobody to tell
                await trio.sleep(0.001)
        nursery.cancel_scope.cancel()
    assert guest.kernel.asked[-1] == "remove ubd1", "the kernel may have taken it"
    assert guest.names == []
    assert guest.files == before


async def test_device_of_a_silent_kernel_is_taken_out_when_it_answers_again(guest: Guest) -> None:
    """It may have taken it: until then the file is held, and the slot is in use."""
    before = guest.files
    kernel = guest.kernel

    def silent(text: str) -> None:
        if text.startswith("config ubd1="):
            kernel._config(text.removeprefix("config "))  # it takes it, later
            kernel.answers[text] = kernel.answers["remove ubd1"] = SILENCE

    kernel.before = silent
    with pytest.raises(Refusal, match="ubd1: silence") as refusal:
        await guest.plug("a.img,cow=new.cow")
    assert refusal.value.error == -errno.ETIMEDOUT
    assert guest.names == ["ubd1"]
    assert guest.devices.entries[0].problem == UNSETTLED
    assert guest.devices.entries[0].holds
    await guest.devices.settle()
    assert guest.names == ["ubd1"], "it is silent still"
    kernel.answers.clear()
    kernel.before = lambda _text: None
    await guest.devices.settle()
    assert guest.names == []
    assert kernel.disks == {"ubd0": "/dev/null"}
    assert guest.files == before


async def test_device_that_cannot_be_taken_out_again_is_kept_with_its_problem(guest: Guest) -> None:
    guest.kernel.hidden.add("ubd1")
    guest.kernel.answers["remove ubd1"] = OPEN
    with pytest.raises(Refusal, match="cannot be taken out again: Device is currently open"):
        await guest.plug("a.img,cow=new.cow")
    assert guest.names == ["ubd1"]
    assert os.path.exists(f"{guest.path}/new.cow"), "the guest writes to it"  # noqa: ASYNC240
    kept = records.load("demo")
    assert kept is not None
    assert "cannot be taken out" in kept.devices[0].problem


async def test_stopped_guest_is_not_told_about_devices(guest: Guest) -> None:
    entry = await guest.plug("b.img")
    guest.kernel.asked.clear()
    guest.stopped = True
    for request in (guest.plug("a.img"), guest.devices.remove(entry.name, BY)):
        with pytest.raises(Refusal, match="the guest is paused") as refusal:
            await request
        assert refusal.value.error == -errno.EBUSY
    assert guest.kernel.told == []
    assert guest.names == [entry.name]


@pytest.mark.parametrize("text", ["/\udcff.img", "a.img,serial=\udcff"])
async def test_what_is_no_utf8_never_reaches_the_table(guest: Guest, text: str) -> None:
    from umlctl.errors import UsageError

    with pytest.raises(UsageError, match="UTF-8"):
        parse_disk(text, guest.path)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (None, "the kernel has no descriptor 5 open"),
        ("/dev/shm/#17 (deleted)", "which cannot be"),
        ("anon_inode:[eventpoll]", "which cannot be"),
    ],
)
async def test_descriptor_of_the_kernels_own_is_no_device(
    guest: Guest, monkeypatch: pytest.MonkeyPatch, target: str | None, said: str
) -> None:
    """The memory of the guest, for one."""
    monkeypatch.setattr(processes, "open_file", lambda _pid, _number: target)
    for text in ("vec0:transport=fd,fd=5", "con1=fd:5", "ssl0=null,fd:5"):
        with pytest.raises(Refusal, match=said):
            await guest.devices.config(text, BY)
    with pytest.raises(Refusal, match=said):
        await guest.plug("transport=fd,fd=5")
    assert guest.kernel.told == []
    await guest.devices.config("con1=fd:5", BY, force=True)
    assert guest.names == ["con1"]


async def test_nic_is_a_socket_and_a_line_is_a_terminal(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "open_file", lambda _pid, _number: "/dev/pts/1")
    with pytest.raises(Refusal, match="descriptor 5 is /dev/pts/1, which cannot be a NIC's"):
        await guest.plug("transport=fd,fd=5")
    await guest.devices.config("con1=fd:5", BY)
    for path in ("/nonexistent", "/dev/null", guest.path):
        with pytest.raises(Refusal, match=r"con2: .* is no terminal of this host"):
            await guest.devices.config(f"con2=tty:{path}", BY)
    assert guest.names == ["con1"]


async def test_facts_of_a_hostile_guest_are_kept_short_and_sound(guest: Guest) -> None:
    path = "proc 1/root/sys/class/net/vec0/address"
    guest.kernel.answers[path] = Outcome(ANSWERED, 0, b"\xff" + b"x" * 10_000)
    entry = await guest.plug("transport=fd,fd=3")
    assert entry.observed is not None
    assert entry.observed["address"].startswith("\\xffxx")
    assert len(entry.observed["address"]) == 64
    assert guest.names == ["vec0"]


async def test_device_that_somebody_took_away_is_missed_and_can_be_dropped(guest: Guest) -> None:
    for text in ("a.img", "transport=fd,fd=3"):
        entry = await guest.plug(text)
        guest.kernel.disks.pop(entry.name, None)
        guest.kernel.nics.discard(entry.name)
        await guest.devices.observe()
        assert (entry.problem, entry.observed) == (ABSENT, None)
        guest.kernel.answers[f"remove {entry.name}"] = refused("no such device", -errno.ENODEV)
        assert (await guest.devices.remove(entry.name, BY)).ok
        assert guest.names == []
    assert [event["device"] for event in guest.events("device lost")] == ["ubd1", "vec0"]


async def test_file_that_was_changed_is_not_plugged_again(guest: Guest) -> None:
    await guest.plug("a.img")
    await guest.plug("b.img,cow=new.cow")
    os.rename(f"{guest.path}/a.img", f"{guest.path}/old.img")
    os.mkdir(f"{guest.path}/a.img")
    os.utime(f"{guest.path}/b.img", (1, 1))
    await guest.devices.renew()
    await guest.reboot()
    assert guest.kernel.told == []
    first, second = guest.devices.entries
    assert "another file was put in the place of" in first.problem
    assert "does not fit its backing file" in second.problem


async def test_what_the_host_finds_wrong_is_the_answer(guest: Guest) -> None:
    with pytest.raises(Refusal, match=f"cannot read {guest.path}/none: No such file") as refusal:
        await guest.plug("none")
    assert refusal.value.error == -errno.ENOENT
    with pytest.raises(Refusal, match="a network's name") as refusal:
        await guest.plug("switch=a/b")
    assert refusal.value.error == -errno.EINVAL
    await guest.plug("a.img")
    with pytest.raises(Refusal, match="is written by demo as its ubd1"):
        await guest.plug("a.img")
    assert guest.names == ["ubd1"]


async def test_device_that_cannot_be_written_down_is_not_plugged(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_record: Record) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = guest.files
    with monkeypatch.context() as patch:
        patch.setattr(records, "save", full)
        with pytest.raises(Refusal, match=r"ubd1: cannot be written down: .*No space") as refusal:
            await guest.plug("a.img,cow=new.cow")
    assert refusal.value.error == -errno.ENOSPC
    assert not guest.kernel.asked
    assert guest.names == []
    assert guest.files == before


async def test_record_that_cannot_be_written_later_is_told_and_no_more(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = records.save

    def full_later(record: Record) -> None:
        if not any(entry.problem for entry in record.devices):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(record)

    monkeypatch.setattr(records, "save", full_later)
    assert (await guest.plug("a.img")).problem == ""
    assert "No space left" in guest.events("not recorded")[0]["text"]


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (Outcome(GONE, reason="the guest is dead"), -errno.ECONNRESET),
        (Outcome(TIMED_OUT, reason="the kernel has not answered"), -errno.ETIMEDOUT),
    ],
)
async def test_kernel_that_cannot_answer_is_not_asked(
    guest: Guest, outcome: Outcome, error: int
) -> None:
    before = guest.files
    guest.kernel.away = outcome
    for request in (
        guest.plug("a.img,cow=new.cow"),
        guest.devices.config("mem=-8M", BY),
        guest.devices.config("con1=null", BY),
        guest.devices.remove("ubd1", BY),
    ):
        with pytest.raises(Refusal, match=outcome.reason) as refusal:
            await request
        assert refusal.value.error == error
    assert not guest.kernel.asked
    assert guest.files == before


# Names


async def test_first_free_slot_is_taken_and_never_the_first_of_all(guest: Guest) -> None:
    assert (await guest.plug("a.img,ro,slot=2")).name == "ubd2"
    found = [(await guest.plug("a.img,ro")).name for _ in range(3)]
    assert found == ["ubd1", "ubd3", "ubd4"]
    await guest.devices.remove("ubd1", BY)
    assert (await guest.plug("a.img,ro")).name == "ubd1"


async def test_nics_are_numbered_from_zero_by_their_family(guest: Guest) -> None:
    guest.boots_with("vec1", "vec1:transport=fd,fd=3")
    names = [(await guest.plug("transport=fd,fd=3")).name for _ in range(3)]
    assert names == ["vec0", "vec2", "vec3"]
    assert (await guest.plug("eth0=mcast")).name == "eth0"


async def test_requests_at_once_take_their_turns(guest: Guest) -> None:
    found: list[str] = []

    async def plug() -> None:
        found.append((await guest.plug("a.img,ro")).name)

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(plug)
    assert sorted(found) == guest.names == [f"ubd{slot}" for slot in range(1, 6)]


async def test_slot_in_use_is_refused_with_what_is_there(guest: Guest) -> None:
    await guest.plug("a.img,slot=3")
    guest.kernel.asked.clear()
    with pytest.raises(
        Refusal,
        match=rf"ubd3 is in use: {guest.path}/a.img,slot=3; take another, or `umlctl",
    ) as refusal:
        await guest.plug("b.img,slot=3")
    assert refusal.value.error == -errno.EBUSY
    assert not guest.kernel.asked


async def test_guest_that_is_full_is_told_so(guest: Guest) -> None:
    for slot in range(1, 16):
        guest.boots_with(f"ubd{slot}", f"ubd{slot}=/x{slot}")
    assert (await guest.plug("a.img")).name == "ubd0", "the last that is free, without a root on it"
    guest.kernel.asked.clear()
    with pytest.raises(Refusal, match="all 16 of ubd"):
        await guest.plug("b.img")
    for number in range(64):
        guest.boots_with(f"vec{number}", f"vec{number}:transport=fd,fd=3")
    with pytest.raises(Refusal, match="all 64 of vec"):
        await guest.plug("transport=fd,fd=3")
    assert not guest.kernel.asked


# The first disk


async def test_first_disk_takes_the_place_of_none(guest: Guest) -> None:
    await guest.plug("a.img,slot=0")
    assert guest.kernel.told == ["remove ubd0", f"config ubd0={guest.path}/a.img"]
    await guest.reboot()
    assert guest.kernel.told == ["remove ubd0", f"config ubd0={guest.path}/a.img"]
    assert not guest.events("device lost")


async def test_first_disk_that_fails_leaves_none_in_its_place(guest: Guest) -> None:
    with pytest.raises(Refusal, match="No such file"):
        await guest.plug("none,slot=0")
    assert not guest.kernel.asked
    guest.kernel.answers[f"config ubd0={guest.path}/a.img"] = refused("no")
    with pytest.raises(Refusal, match="ubd0: no"):
        await guest.plug("a.img,slot=0")
    assert guest.kernel.disks == {"ubd0": "/dev/null"}
    guest.kernel.answers.clear()
    guest.kernel.hidden.add("ubd0")
    with pytest.raises(Refusal, match="does not have it"):
        await guest.plug("a.img,slot=0")
    assert guest.kernel.disks == {"ubd0": "/dev/null"}


async def test_first_disk_that_is_one_is_not_taken_away(guest: Guest) -> None:
    guest.kernel.disks["ubd0"] = "/root.img"
    with pytest.raises(Refusal, match="already configured"):
        await guest.plug("a.img,slot=0")
    assert guest.kernel.disks == {"ubd0": "/root.img"}


# The kernel's words


async def test_config_plugs_what_the_table_knows(guest: Guest) -> None:
    assert (await guest.devices.config("ubd1r=a.img", BY)).ok
    assert (await guest.devices.config("vec2:transport=fd,fd=3", BY)).ok
    assert (await guest.devices.config("con1=null", BY)).ok
    assert (await guest.devices.config("mem=-8M", BY)).ok
    assert guest.names == ["ubd1", "vec2", "con1", "mem"]
    assert guest.devices.entries[0].kernel == f"ubd1r={guest.path}/a.img"


@pytest.mark.parametrize("text", ["ubd99=/a", "vec0:nonsense", "udb1=/a", "foo=bar", "mem=1"])
async def test_what_is_no_device_goes_to_the_kernel_only_if_forced(guest: Guest, text: str) -> None:
    with pytest.raises(Refusal) as refusal:
        await guest.devices.config(text, BY)
    assert refusal.value.error == -errno.EINVAL
    assert not guest.kernel.asked
    guest.kernel.answers[f"config {text}"] = ok("done")
    assert (await guest.devices.config(text, BY, force=True)).text == "done"
    assert guest.names == []


async def test_dangerous_nic_is_plugged_only_if_forced(guest: Guest) -> None:
    text = "vec0:transport=fd,fd=3,ifup=/bin/sh"
    for dangerous in (text, "con1=port:9000"):
        with pytest.raises(Refusal):
            await guest.devices.config(dangerous, BY)
    assert (await guest.devices.config("con1=port:9000", BY, force=True)).ok
    assert guest.names == ["con1"]


# Removing


async def test_removed_device_is_gone_with_what_was_made_for_it(guest: Guest) -> None:
    before = guest.files
    await guest.plug("a.img,discard")
    changed = guest.devices.changed
    assert (await guest.devices.remove("ubdb", BY)).ok
    assert guest.kernel.told[-1] == "remove ubd1"
    assert guest.names == []
    assert guest.files == before
    (event,) = guest.events("device removed")
    assert (event["device"], event["uid"], event["pid"]) == ("ubd1", 1000, 4711)
    assert changed.is_set()


async def test_removed_device_keeps_the_cow_file_that_stays(guest: Guest) -> None:
    await guest.plug("a.img,cow=new.cow")
    await guest.devices.remove("ubd1", BY)
    assert f"{guest.path}/new.cow" in guest.files


async def test_hook_that_fails_is_told(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    await guest.plug("transport=fd,fd=3")
    monkeypatch.setattr(hardware, "release", lambda *_: "the `down` hook failed")
    assert (await guest.devices.remove("vec0", BY)).ok
    assert guest.events("failed")[0]["text"] == "the `down` hook failed"
    assert guest.names == []


@pytest.mark.parametrize(
    ("mounts", "said"),
    [
        ("/dev/ubdb /data ext4 rw 0 0\n", "ubd1 is mounted in the guest on /data; unmount it"),
        (
            "none /proc proc rw 0 0\n/dev/ubdb1 /a ext4\n/dev/ubdb2 /b ext4\n/dev/ubdc /c ext4\n",
            "ubd1 is mounted in the guest on /a, /b; unmount it",
        ),
        ("/dev/ubdc /c ext4\nrubbish\n\n", "ubd1 is open in the guest, by a process or as swap"),
    ],
)
async def test_disk_that_is_open_stays_and_it_is_said_where(
    guest: Guest, mounts: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LET_GO", 0.0)
    await guest.plug("a.img,discard")
    guest.kernel.answers["remove ubd1"] = OPEN
    guest.kernel.mounts = mounts
    with pytest.raises(Refusal, match=said) as refusal:
        await guest.devices.remove("ubd1", BY)
    assert refusal.value.error == -errno.EBUSY
    assert guest.names == ["ubd1"]
    assert f"{guest.directory}/ubd1.cow" in guest.files


async def test_disk_that_is_still_scanned_for_partitions_is_removed_a_moment_later(
    guest: Guest,
) -> None:
    def before(text: str) -> None:
        if guest.kernel.asked.count("remove ubd1") == 3:
            guest.kernel.answers.clear()

    await guest.plug("a.img")
    guest.kernel.answers["remove ubd1"] = OPEN
    guest.kernel.before = before
    assert (await guest.devices.remove("ubd1", BY)).ok
    assert guest.kernel.asked.count("remove ubd1") == 3
    assert guest.names == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (-errno.EAGAIN, "ubd1: another process of this host has its file locked"),
        (-errno.EISDIR, "ubd1: Is a directory"),
        (1, "ubd1: the kernel cannot, and does not say why; its log may"),
    ],
)
async def test_what_the_kernel_refuses_without_words_is_told_in_words(
    guest: Guest, error: int, said: str
) -> None:
    device = f"config ubd1={guest.path}/a.img"
    guest.kernel.before = lambda text: (
        guest.kernel.answers.update({text: refused("", error)})
        if (text.startswith(device))
        else None
    )
    with pytest.raises(Refusal, match=said) as caught:
        await guest.plug("a.img")
    assert caught.value.error == error


@pytest.mark.parametrize(
    ("name", "said"),
    [("vec0", "vec0 is up in the guest; `ip link set vec0 down`"), ("con1", "con1: Device is")],
)
async def test_other_device_that_is_open_stays(guest: Guest, name: str, said: str) -> None:
    await guest.plug("transport=fd,fd=3")
    guest.kernel.answers[f"remove {name}"] = OPEN
    with pytest.raises(Refusal, match=said):
        await guest.devices.remove(name, BY)
    assert guest.names == ["vec0"]


async def test_what_the_kernel_says_of_a_device_that_is_not_there_is_the_answer(
    guest: Guest,
) -> None:
    outcome = await guest.devices.remove("vec7", BY)
    assert (outcome.kind, outcome.error) == (REFUSED, -errno.ENODEV)
    assert not guest.events("device removed")


@pytest.mark.parametrize("text", ["", "ubd", "ubd16", "ubd1x", "vec", "foo1", "memory"])
async def test_what_is_no_name_is_refused(guest: Guest, text: str) -> None:
    with pytest.raises(Refusal) as refusal:
        await guest.devices.remove(text, BY)
    assert refusal.value.error == -errno.EINVAL
    assert not guest.kernel.asked


# Devices that a program of the host serves


@pytest.fixture
def served(guest: Guest) -> Iterator[str]:
    """A device that somebody serves, in the kernel's words."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{guest.path}/s")
        yield f"virtio_uml.device={guest.path}/s:26"


def virtio(number: int) -> str:
    return f"proc 1/root/sys/bus/virtio/devices/virtio{number}/device"


async def test_device_that_is_served_is_passed_on_and_given_again_after_a_reboot(
    guest: Guest, served: str
) -> None:
    def before(text: str) -> None:
        if text == f"config {served}":
            guest.kernel.answers[virtio(1)] = ok("0x001a")

    guest.kernel.mounts = "sysfs /sys sysfs rw 0 0\n"
    guest.kernel.answers |= {virtio(0): ok("0x0001"), f"config {served}": ok()}
    guest.kernel.before = before
    assert (await guest.devices.config(served, BY)).ok
    entry = guest.devices.entries[0]
    assert (entry.name, entry.observed) == ("virtio1", {"device": "0x001a"})
    await guest.reboot()
    assert f"config {served}" in guest.kernel.asked
    assert not entry.problem
    os.unlink(f"{guest.path}/s")
    await guest.reboot()
    assert "nobody serves a device at" in entry.problem


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (refused("Bad configuration option"), "this kernel takes no such device"),
        (ok(), "the guest does not have it"),
        (refused("", -errno.EINVAL), "virtio0: Invalid argument"),
    ],
)
async def test_device_that_the_guest_does_not_get_is_not_in_the_table(
    guest: Guest, served: str, answer: Outcome, said: str
) -> None:
    guest.kernel.mounts = "sysfs /sys sysfs rw 0 0\n"
    guest.kernel.answers[f"config {served}"] = answer
    with pytest.raises(Refusal, match=said):
        await guest.devices.config(served, BY)
    assert guest.names == []


async def test_guest_that_shows_devices_without_end_holds_nobody_up(
    guest: Guest, served: str
) -> None:
    """Its root can put what it likes where its /sys should be."""

    def before(text: str) -> None:
        if text.startswith("proc 1/root/sys/bus/virtio/"):
            guest.kernel.answers[text] = ok("0x0001")

    guest.kernel.mounts = "sysfs /sys sysfs rw 0 0\n"
    guest.kernel.answers[f"config {served}"] = ok()
    guest.kernel.before = before
    with trio.fail_after(60), pytest.raises(Refusal, match="has virtio0 to virtio63 already"):
        await guest.devices.config(served, BY)
    assert guest.names == []
    await guest.plug("a.img")
    assert (await guest.devices.config(served, BY, force=True)).ok
    assert guest.names == ["ubd1", "virtio63"]


async def test_device_that_nobody_serves_is_refused(guest: Guest) -> None:
    with pytest.raises(Refusal, match="nobody serves a device at /none") as caught:
        await guest.devices.config("virtio_uml.device=/none:26", BY)
    assert caught.value.error == -errno.ENOENT
    assert not guest.kernel.asked


# What has become of the host's side


async def test_what_has_become_of_a_file_is_noted_while_the_guest_has_it(guest: Guest) -> None:
    await guest.plug("a.img")
    await guest.plug("b.img")
    for entry in guest.devices.entries:
        entry.observed = {"size": 4096}
    assert await guest.devices.notes() == {}
    os.truncate(f"{guest.path}/b.img", 1024)
    os.unlink(f"{guest.path}/a.img")
    notes = await guest.devices.notes()
    assert "b.img has 1024 bytes now" in notes["ubd2"]
    assert "a.img is gone" in notes["ubd1"]


async def test_host_that_does_not_answer_for_its_files_holds_nobody_up(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a file system over a network may not."""
    asked = threading.Event()
    monkeypatch.setattr(hardware, "note", lambda _entry: asked.wait())
    monkeypatch.setattr(module, "SWITCH", 0.01)
    await guest.plug("a.img")
    try:
        assert await guest.devices.notes() == {}
    finally:
        asked.set()


# After a boot


async def test_devices_of_the_command_line_are_looked_at(guest: Guest) -> None:
    guest.boots_with("ubd1", "ubd1=/x")
    guest.boots_with("ubd2", "ubd2=/y")
    guest.kernel.disks["ubd1"] = "/x"
    changed = guest.devices.changed
    await guest.devices.after_boot(cast("Kernel", guest.kernel), again=False)
    there, lacking = guest.devices.entries
    assert there.observed is not None
    assert there.problem == ""
    assert (lacking.observed, lacking.problem) == (None, "the guest does not have it")
    (event,) = guest.events("device lost")
    assert (event["device"], event["text"]) == ("ubd2", lacking.problem)
    assert guest.kernel.told == []
    assert changed.is_set()


async def test_guest_without_devices_is_not_asked(guest: Guest) -> None:
    await guest.devices.after_boot(cast("Kernel", guest.kernel), again=False)
    await guest.reboot()
    assert not guest.kernel.asked


async def test_image_that_was_emptied_does_not_come_back_and_it_is_said_why(guest: Guest) -> None:
    await guest.plug("a.img")
    os.truncate(f"{guest.path}/a.img", 0)
    await guest.devices.renew()
    await guest.reboot()
    (entry,) = guest.devices.entries
    assert "a.img is empty" in entry.problem
    assert guest.events("device lost")


async def test_device_that_the_guest_lacks_after_a_reboot_is_said_in_one_sentence(
    guest: Guest,
) -> None:
    await guest.plug("a.img")
    guest.kernel.hidden.add("ubd1")
    await guest.reboot()
    assert guest.devices.entries[0].problem == (
        "ubd1: the kernel took it, and the guest does not have it; `umlctl logs demo` may say why"
    )


async def test_devices_come_back_in_order_after_a_reboot(guest: Guest) -> None:
    texts = ("b.img,slot=5", "a.img,ro,slot=2", "transport=fd,fd=3", "a.img,ro,slot=1")
    for text in texts:
        await guest.plug(text)
    await guest.devices.config("con1=null", BY)
    await guest.devices.config("mem=-16M", BY)
    told = guest.kernel.told
    await guest.reboot()
    assert guest.kernel.told == told
    assert not guest.events("device lost")
    for entry in guest.devices.entries:
        assert entry.problem == ""
        assert entry.observed is not None
    assert guest.kernel.free == 184 * MB


async def test_device_of_the_command_line_that_was_removed_stays_away(guest: Guest) -> None:
    guest.boots_with("ubd1", "ubd1=/x")
    guest.kernel.disks["ubd1"] = "/x"
    await guest.devices.remove("ubd1", BY)
    kept = records.load("demo")
    assert kept is not None
    assert kept.removed == ["ubd1"]
    entry = await guest.plug("a.img,slot=1")
    guest.kernel.reboot()
    guest.kernel.disks["ubd1"] = "/x"
    await guest.devices.after_boot(cast("Kernel", guest.kernel), again=True)
    assert guest.kernel.told == ["remove ubd1", f"config {entry.kernel}"]
    assert guest.kernel.disks["ubd1"] == f"{guest.path}/a.img"


async def test_device_that_is_lost_is_told_and_tried_again(guest: Guest) -> None:
    entry = await guest.plug("a.img")
    await guest.plug("b.img")
    guest.kernel.answers[f"config {entry.kernel}"] = refused("out of memory")
    await guest.reboot()
    assert (entry.observed, entry.problem) == (None, "ubd1: out of memory")
    (event,) = guest.events("device lost")
    assert (event["device"], event["text"]) == ("ubd1", "ubd1: out of memory")
    assert guest.devices.find("ubd2").problem == ""  # type: ignore[union-attr]
    guest.kernel.answers.clear()
    await guest.reboot()
    assert entry.problem == ""
    assert entry.observed is not None


async def test_nic_that_is_lost_can_be_removed(guest: Guest) -> None:
    entry = await guest.plug("transport=fd,fd=3")
    guest.kernel.hidden.add("vec0")
    await guest.reboot()
    assert entry.problem
    assert (await guest.devices.remove("vec0", BY)).ok
    assert guest.names == []


async def test_host_that_is_not_ready_again_is_a_problem_of_the_device(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def renew(entry: Entry, _pid: int) -> None:
        if entry.name == "vec0":
            raise HostError("its tap is still open")

    entry = guest.boots_with("vec0", "vec0:transport=fd,fd=3")
    other = await guest.plug("transport=fd,fd=3")
    monkeypatch.setattr(hardware, "renew", renew)
    for problem in ("its tap is still open", ""):
        guest.kernel.reboot()
        guest.kernel.nics.add("vec0")
        await guest.devices.renew()
        await guest.devices.after_boot(cast("Kernel", guest.kernel), again=True)
        assert entry.problem == problem
        assert entry.observed is not None
        assert other.problem == ""
        monkeypatch.setattr(hardware, "renew", lambda *_: None)


async def test_request_waits_until_the_devices_are_back(guest: Guest) -> None:
    await guest.plug("a.img,ro")
    guest.kernel.reboot()
    order: list[str] = []

    async def back() -> None:
        await guest.devices.after_boot(cast("Kernel", guest.kernel), again=True)
        order.append("back")

    async def plug() -> None:
        order.append((await guest.plug("a.img,ro")).name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(back)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(plug)
    assert sorted(order) == ["back", "ubd2"]
    assert [text.partition("=")[0] for text in guest.kernel.told] == [
        "config ubd1r",
        "config ubd2r",
    ]


# What is seen


async def test_table_shows_what_the_guest_has_now(guest: Guest) -> None:
    await guest.plug("a.img")
    await guest.plug("transport=fd,fd=3")
    guest.kernel.answers["proc 1/root/sys/class/net/vec0/operstate"] = ok("up\n")
    await guest.devices.observe()
    disk, nic = guest.devices.listing()
    assert (disk.name, disk.asked, disk.boot) == ("ubd1", f"{guest.path}/a.img", False)
    assert (nic.observed or {})["operstate"] == "up"
    assert nic.mac
    for empty in ("problem", "made", "tap", "shared", "addr"):
        assert not getattr(disk, empty)


async def test_guest_is_on_the_switches_of_its_nics(guest: Guest) -> None:
    assert guest.devices.networks() == set()
    guest.boots_with("vec0", "vec0:transport=fd,fd=3", network="lan")
    guest.boots_with("vec1", "vec1:transport=fd,fd=3", network="lan")
    guest.boots_with("vec2", "vec2:transport=fd,fd=3", network="lost", problem="lost")
    assert guest.devices.networks() == {"lan"}


# Lines


async def test_line_is_changed_and_seen(guest: Guest) -> None:
    assert (await guest.devices.config("con1=null", BY)).ok
    (entry,) = guest.devices.entries
    assert (entry.name, entry.kernel, entry.observed) == ("con1", "con1=null", {"config": "null"})
    await guest.devices.config("con1=fd:5", BY)
    assert (entry.kernel, entry.observed) == ("con1=fd:5", {"config": "fd:5"})
    assert guest.names == ["con1"]
    assert [event["text"] for event in guest.events("device added")] == ["con1=null", "con1=fd:5"]


async def test_line_that_the_kernel_cannot_read_leaves_the_old_one(guest: Guest) -> None:
    await guest.devices.config("con1=fd:5", BY)

    def lose(text: str) -> None:
        if text == "config con1=null":
            guest.kernel.lines["con1"] = "none"

    guest.kernel.before = lose
    guest.kernel.answers["config con1=null"] = refused("Failed to parse channel pair")
    with pytest.raises(Refusal, match="con1: Failed to parse"):
        await guest.devices.config("con1=null", BY)
    assert guest.kernel.lines["con1"] == "fd:5"
    assert guest.devices.entries[0].kernel == "con1=fd:5"


async def test_line_that_was_none_is_not_restored(guest: Guest) -> None:
    guest.kernel.answers["config con1=null"] = refused("no")
    with pytest.raises(Refusal, match="con1: no"):
        await guest.devices.config("con1=null", BY)
    assert guest.kernel.told == ["config con1=null"]
    assert guest.names == []


async def test_line_that_was_lost_is_well_again(guest: Guest) -> None:
    await guest.devices.config("con1=null", BY)
    guest.kernel.answers["config con1=null"] = refused("no")
    await guest.reboot()
    assert guest.devices.entries[0].problem == "con1: no"
    await guest.devices.config("con1=fd:5", BY)
    assert guest.devices.entries[0].problem == ""


# Memory


async def test_memory_is_taken_and_given_back(guest: Guest) -> None:
    await guest.devices.config("mem=-64M", BY)
    await guest.devices.config("mem=-16M", BY)
    (entry,) = guest.devices.entries
    assert entry.kernel == entry.asked == "mem=-80M"
    assert entry.observed is not None
    assert entry.observed["available"] == 120 * MB
    await guest.devices.config("mem=+79M", BY)
    assert entry.kernel == "mem=-1M"
    await guest.devices.config("mem=+1M", BY)
    assert guest.names == []
    assert guest.kernel.free == 200 * MB
    taken = [(event["change"], event["taken"]) for event in guest.events("memory changed")]
    assert taken == [(-64 * MB, 64 * MB), (-16 * MB, 80 * MB), (79 * MB, MB), (MB, 0)]


@pytest.mark.parametrize(
    ("taken", "change", "said", "error"),
    [
        ("", "+4K", "nothing was taken from it; start it with a larger --mem", errno.EINVAL),
        ("mem=-8M", "+8196K", "8192K was taken from it", errno.EINVAL),
        ("", "-193M", "204800K free and keeps 8192K of it; 197632K", errno.ENOMEM),
        ("", "-1G", "is too much", errno.ENOMEM),
    ],
)
async def test_memory_that_the_guest_does_not_have_is_refused(
    guest: Guest, taken: str, change: str, said: str, error: int
) -> None:
    if taken:
        await guest.devices.config(taken, BY)
    before = list(guest.kernel.told)
    with pytest.raises(Refusal, match=said) as refusal:
        await guest.devices.config(f"mem={change}", BY)
    assert refusal.value.error == -error
    assert guest.kernel.told == before


async def test_last_spare_page_can_be_taken(guest: Guest) -> None:
    guest.kernel.free = memory.SPARE + 4096
    assert (await guest.devices.config("mem=-4K", BY)).ok
    with pytest.raises(Refusal, match="is too much"):
        await guest.devices.config("mem=-4K", BY)


async def test_memory_is_taken_beyond_reason_if_forced(guest: Guest) -> None:
    guest.kernel.free = 4 * MB
    assert (await guest.devices.config("mem=-2M", BY, force=True)).ok
    assert (await guest.devices.config("mem=+16M", BY, force=True)).ok
    assert guest.names == []


async def test_what_is_written_down_is_what_the_guest_has_lost(guest: Guest) -> None:
    """The kernel says OK, and takes what there is."""
    guest.kernel.free = 40 * MB
    await guest.devices.config("mem=-30M", BY)
    await guest.devices.config("mem=-200M", BY, force=True)
    assert guest.devices.entries[0].kernel == "mem=-40M"
    await guest.devices.config("mem=-8M", BY, force=True)
    assert guest.devices.entries[0].kernel == "mem=-40M"
    with pytest.raises(Refusal, match="40960K was taken from it"):
        await guest.devices.config("mem=+41M", BY)
    await guest.devices.config("mem=+40M", BY)
    assert guest.names == []


async def test_guest_that_begins_anew_keeps_what_it_boots_with(guest: Guest) -> None:
    guest.kernel.free = 100 * MB
    await guest.devices.config("mem=-200M", BY, force=True)
    guest.kernel.reboot()
    guest.kernel.free = 90 * MB
    await guest.devices.after_boot(cast("Kernel", guest.kernel), again=True)
    (entry,) = guest.devices.entries
    assert (entry.kernel, entry.problem) == (f"mem=-{90 - (memory.SPARE >> 20)}M", "")
    assert guest.kernel.free == memory.SPARE
    assert guest.events("memory changed")[-1]["taken"] == 90 * MB - memory.SPARE


@pytest.mark.parametrize("answer", [ok("MemTotal: much kB\n"), ok(""), refused("no")])
async def test_memory_of_a_guest_that_does_not_tell_is_left_alone(
    guest: Guest, answer: Outcome
) -> None:
    guest.kernel.answers["proc meminfo"] = answer
    with pytest.raises(Refusal, match="does not say how much it has"):
        await guest.devices.config("mem=-8M", BY)
    assert guest.kernel.told == []


async def test_memory_that_the_kernel_refuses_to_take_is_not_taken(guest: Guest) -> None:
    guest.kernel.answers["config mem=-8M"] = refused("no such device")
    with pytest.raises(Refusal, match="mem: no such device"):
        await guest.devices.config("mem=-8M", BY)
    assert guest.names == []


# The end


async def test_end_of_the_guest_lets_everything_go(guest: Guest) -> None:
    before = guest.files
    await guest.plug("a.img,discard")
    await guest.plug("b.img,cow=new.cow")
    assert await guest.devices.bury() == []
    assert guest.files - before == {f"{guest.path}/new.cow"}


async def test_end_amid_a_plugging_leaves_nothing_of_it(guest: Guest) -> None:
    before = guest.files
    entry = disks.prepare(parse_disk("a.img,cow=new.cow", guest.path), 1, guest.directory, ())
    entry.problem = PLUGGING
    guest.devices.entries.append(entry)
    assert await guest.devices.bury() == []
    assert guest.files == before


async def test_all_is_let_go_the_last_first_and_what_fails_is_told(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def release(entry: Entry, umid: str, _log: str) -> str:
        seen.append(f"{umid} {entry.name}")
        return "failed" if entry.name == "ubd2" else ""

    for slot in (1, 2, 3):
        await guest.plug(f"a.img,ro,slot={slot}")
    monkeypatch.setattr(hardware, "release", release)
    assert await guest.devices.bury() == ["failed"]
    assert seen == ["demo ubd3", "demo ubd2", "demo ubd1"]
