"""Guests that run on though their supervisor does not, even those whose record is lost.

A record may be missing, damaged or of a newer umlctl. Then there is a copy of it, beside the
guest's sockets. If that is no better, what the guest was started with can still be seen on the
command line of its kernel, which names the guest and umlctl's directory. Devices that were plugged
since are asked for by the supervisor that adopts the guest (umlctl.supervisor.devices.rediscover).
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Final

import msgspec

from umlctl.devices.parse import parse
from umlctl.errors import UmlctlError, UsageError
from umlctl.guest import cmdline
from umlctl.guest.definition import Definition, is_device
from umlctl.host import paths, processes
from umlctl.protocol import events
from umlctl.state import event_log, records, umid_lock
from umlctl.state.records import DeviceEntry, Record

if TYPE_CHECKING:
    from collections.abc import Container

SHIM_WORD: Final = b"shim.sh"
"""A word on the command line of a guest's tiny parent, and of processes between it and the
kernel."""
MAX_WORDS_BEFORE_SHIM: Final = 16
"""The most words that stand before that one, those of unshare(1)."""
SHIM_TIMEOUT: Final = 2.0
"""How long the tiny parent of a guest that has just died may take to write down how, seconds."""
LOOK_INTERVAL: Final = 0.02
"""The time between two looks at whether it has, seconds."""
_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")


def without_supervisor() -> list[Record]:
    """Guests that run without a supervisor, as far as this process can see."""
    return [record for record in running() if not umid_lock.has_owner(record.definition.umid)]


def running(but: str = "") -> list[Record]:
    """Guests that run, with a supervisor or not; for a lost record, what can be seen of the guest.

    but: the name of one that is left out
    """
    found = [record for record in records.load_all() if records.lives(record)]
    found += unrecorded({record.definition.umid for record in found} | {but})
    return [record for record in found if record.definition.umid != but]


def unrecorded(known: Container[str] = ()) -> list[Record]:
    """Guests that run and have no record that can be read: what the record would say.

    known: names of guests that have one
    """
    try:
        names = os.listdir(f"{paths.run_dir()}/g")
    except OSError:
        return []
    here = [name for name in names if not name.endswith(".lock") and name not in known]
    seen = [see(name) for name in sorted(here) if records.load(name) is None]
    return [record for record in seen if record is not None]


def set_dead_aside() -> list[str]:
    """Set aside the unreadable records of guests that do not run, and remove what the guests left.

    Returns: what is to be told of each
    """
    from umlctl.host import shared_socket  # a look at guests rarely needs it

    said = []
    end = time.monotonic() + SHIM_TIMEOUT
    for umid, _ in list(records.unreadable()):
        if see(umid) is None:
            while not umid_lock.has_owner(umid) and _has_parent(umid) and time.monotonic() < end:
                time.sleep(LOOK_INTERVAL)  # it has the name until then
            with contextlib.suppress(UmlctlError), umid_lock.claim(umid):
                said.append(set_aside(umid))
                shared_socket.remove_dead(umid)
    return [each for each in said if each]


def set_aside(umid: str) -> str:
    """Set aside a record that cannot be read, of a guest without a supervisor, and write that into
    the guest's history. Returns: what is to be told of it; empty if nothing.
    """
    said = records.set_aside(umid)
    if said:
        event = events.event("record lost", umid, time.time(), text=said)
        with contextlib.suppress(OSError):
            event_log.append(umid, event_log.encode(event))
    return said


def find(umid: str) -> Record | None:
    """The record of a guest; if that is lost and the guest runs, what it would say."""
    return records.load(umid) or see(umid)


def see(umid: str) -> Record | None:
    """What a guest's record would say, by its copy or its kernel's process; None if none runs."""
    copy = records.load_copy(umid)
    if copy is not None and records.lives(copy):
        return copy
    pid = _find_kernel(umid)
    started = processes.start_time(pid) if pid else None
    if not started:
        return None
    from umlctl.host import binds  # who looks at guests rarely needs it

    words = [os.fsdecode(word) for word in words_of(pid)]
    try:
        cwd = os.readlink(f"/proc/{pid}/cwd")
        definition = cmdline.recover(words, cwd)
    except (OSError, UsageError):
        definition = Definition(umid=umid, kernel=words[0] if words else "")
    uid = _uid(pid)
    if uid != os.geteuid():
        definition = msgspec.structs.replace(definition, user=str(uid))
    confined = umid_lock.confined(umid)
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - started / _TICKS_A_SECOND
    return Record(
        definition=definition,
        supervisor_pid=0,
        pid=pid,
        started=started,
        boot_id=records.host_boot_id(),
        since=round(time.time() - age, 3),
        devices=[entry for word in words[1:] if (entry := _entry(umid, word)) is not None],
        shim=shim_of(pid),
        confined=confined,
        binds=bool(confined) and binds.has_own_mounts(pid),
    )


def _find_kernel(umid: str) -> int:
    """Pid of the main process of a guest that umlctl started for this user; 0 if there is none."""
    mine = {f"umid={umid}".encode(), os.fsencode(f"uml_dir={paths.kernel_dir()}")}
    anothers = {f"umid={umid}".encode(), os.fsencode(f"uml_dir={paths.open_dir(umid)}/k")}
    found = set()
    for name in os.listdir("/proc"):
        words = words_of(int(name)) if name.isdigit() else []
        if not is_before_kernel(words) and (mine <= set(words) or anothers <= set(words)):
            with contextlib.suppress(FileNotFoundError):  # the process has just ended
                # Any user's process can have such words; but the tiny parent of another user's
                # guest is this user's.
                is_ours = _uid(int(name)) == os.geteuid()
                if is_ours if mine <= set(words) else _has_our_shim(umid, int(name)):
                    found.add(int(name))
    for pid in sorted(found):  # a kernel's helpers are its children, and look the same
        if processes.parent(pid) not in found and processes.start_time(pid) is not None:
            return pid
    return 0


def _has_our_shim(umid: str, pid: int) -> bool:
    """Whether this user started a kernel as another user; so also for the kernel's helpers."""
    above = processes.parent(pid)
    pid = above if not is_before_kernel(words_of(above)) else pid
    shim = shim_of(pid)
    ours = os.fsencode(paths.guest_dir(umid)) in words_of(shim)
    return bool(shim) and ours and _uid(shim) == os.geteuid()


def _uid(pid: int) -> int:
    return os.stat(f"/proc/{pid}").st_uid


def words_of(pid: int) -> list[bytes]:
    """The command line of a process; nothing if it has none, or has ended."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().rstrip(b"\0").split(b"\0")
    except OSError:
        return []


def _has_parent(umid: str) -> bool:
    """The tiny parent of a guest is there, though its kernel may not be any more."""
    directory = os.fsencode(paths.guest_dir(umid))
    found = (words_of(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return any(directory in words and is_before_kernel(words) for words in found)


def is_before_kernel(words: list[bytes]) -> bool:
    """Whether a command line is that of a guest's tiny parent, or of what is between it and the
    kernel."""
    return any(os.path.basename(word) == SHIM_WORD for word in words[:MAX_WORDS_BEFORE_SHIM])


def shim_of(pid: int) -> int:
    """Pid of the tiny parent of a kernel; 0 if that was killed. A pid in a record is not believed:
    it may be another process's by now."""
    return next(iter(above_of(pid)), 0)


def above_of(pid: int) -> list[int]:
    """The processes above a kernel of umlctl's: its tiny parent, then what makes its namespace."""
    found: list[int] = []
    above = processes.parent(pid)
    while above and is_before_kernel(words_of(above)):
        found.insert(0, above)
        above = processes.parent(above)
    return found


def _entry(umid: str, word: str) -> DeviceEntry | None:
    """The row of the device table for a word of the command line; None if it is no device."""
    from umlctl.backends import registry  # a look at guests rarely needs it

    if not is_device(word) or word == cmdline.NO_DISK_ARGUMENT:
        return None
    try:
        entry = registry.entry_of(umid, parse(word, insist=True))
    except UsageError:
        return None
    if entry is not None:
        entry.boot = True
    return entry
