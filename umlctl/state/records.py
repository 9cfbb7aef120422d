"""What is kept on disk of a guest: what was asked for, who runs it, and how it ended.

One `record.json` a guest in the state directory, written whole or not at all. A record is never
believed about the present: whether a guest lives is seen from its lock and its process.

A record that cannot be read, or that a newer umlctl has written, is not interpreted. The holder of
the guest's name sets it aside, beside where it was. All others leave it and say so.

As long as the guest is supervised, a copy of the record is beside its sockets, in case the record
is
lost: the kernel could not tell the guest's policies and options.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from umlctl.errors import HostError
from umlctl.guest.definition import Definition  # noqa: TC001 - msgspec reads the annotations
from umlctl.host import limits, paths, processes
from umlctl.host.files import write_atomically
from umlctl.protocol.status import DEAD, Device, Ending, Status
from umlctl.state.checksum import Damaged, seal, unseal

if TYPE_CHECKING:
    from collections.abc import Iterator

FORM_VERSION: Final = 1
"""The version of a record's form. A form that an older umlctl could read, and would misunderstand,
gets another."""
ASIDE_PREFIX: Final = "record.json.unreadable-"
"""How the name of a record begins that was set aside; the time follows."""
MAX_ASIDE: Final = 3
"""How many records of one guest that were set aside are kept."""


class Unreadable(HostError):
    """There is a record, but what it says cannot be known."""


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """One file of the host that a device keeps open.

    Fields:
        path: as it was given
        device, inode: which file that is, whatever its name
        write: the guest may write it
        born: when it was made, nanoseconds since 1970; 0: unknown
    """

    path: str
    device: int
    inode: int
    write: bool
    born: int = 0


class DeviceEntry(msgspec.Struct, kw_only=True):
    """One device in a guest's table, as it is kept. What has the name of a field of
    `umlctl.protocol.status.Device`, which is how clients see it, means the same.

    Fields:
        told: what the kernel was told instead of `kernel`, where it is confined and finds the
            files elsewhere, or was started as `linux` with relative paths
    """

    name: str
    asked: str
    kernel: str
    told: str = ""
    boot: bool = False
    holds: list[Hold] = []
    mac: str = ""
    addr: str = ""
    network: str = ""
    tap: str = ""
    bridge: str = ""
    host_addr: str = ""
    address: str = ""
    made: dict[str, str] = {}
    shared: bool = False
    observed: dict[str, Any] | None = None
    problem: str = ""


class Record(msgspec.Struct, kw_only=True):
    """One guest on disk.

    Fields:
        version: FORM_VERSION
        definition: what was asked for
        supervisor_pid: pid of the supervisor that started it
        pid, started: the kernel's main process, with its start time in clock ticks
        boot_id: of the host; pids of another boot mean nothing
        since: when it was started, seconds since 1970
        last_panic: text of the last panic; empty if there was none
        devices: its device table, in the order in which they were plugged
        shim: pid of the tiny parent; 0 if unknown
        guest_boot: the guest's own boot id, another after each reboot; empty if unknown
        cgroup: the directory of its cgroup; empty if it has none
        confined: how its kernel is, see `umlctl.guest.confinement`; empty: it is not, or that is
            not known
        binds: its kernel has a mount namespace of its own, where plugged files appear
        removed: devices of the command line that were removed
        resume: when it is to be resumed if it is stopped, seconds since 1970; 0: when told to
        again: it has ended, and is to be started again
        own_line: its kernel has the command line and the descriptors of who started it, see
            `umlctl.compat.linux`, and is that one's child
        relay: the socket of another program that its kernel's notifications are handed on to;
            empty: none
        place: the directory where who started it expects its socket and its pid; empty: the public
            one
        ending: None while it runs, as far as the writer knew
    """

    definition: Definition
    supervisor_pid: int
    pid: int
    started: int
    boot_id: str
    since: float
    last_panic: str = ""
    devices: list[DeviceEntry] = []
    removed: list[str] = []
    shim: int = 0
    guest_boot: str = ""
    cgroup: str = ""
    confined: str = ""
    binds: bool = False
    resume: float = 0.0
    again: bool = False
    own_line: bool = False
    relay: str = ""
    place: str = ""
    ending: Ending | None = None
    version: int = FORM_VERSION


class _Version(msgspec.Struct):
    version: int = FORM_VERSION


# Made here, by one thread: msgspec crashes where several threads decode into a new type at once.
_RECORD: Final = msgspec.json.Decoder(Record)
_VERSION_OF: Final = msgspec.json.Decoder(_Version)
_saving = threading.Lock()


def host_boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def save(record: Record) -> None:
    """Write the record so that a crash at any moment leaves the old one or the new one.

    Raises: OSError
    """
    umid = record.definition.umid
    with _saving:  # a guest may end in one thread while a device is plugged in another
        data = seal(msgspec.json.encode(record))
        try:
            write_atomically(path_of(umid), data)
        finally:
            _write_copy(umid, data)  # where the record has no room, the copy knows more


def save_copy(record: Record) -> None:
    """Write the copy of a running guest's record again, after it was removed."""
    with _saving:
        _write_copy(record.definition.umid, seal(msgspec.json.encode(record)))


def _write_copy(umid: str, data: bytes) -> None:
    """Write the copy. It need not survive the host: the guest does not either."""
    path = copy_of(umid)
    try:
        write_atomically(path, data, sync=False)
    except OSError:
        try:
            _write_over(path, data)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(path)  # better none than an old one


def _write_over(path: str, data: bytes) -> None:
    """Write a file in the place that it takes up already, which a full disk allows.

    Raises: OSError
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        if os.pwrite(descriptor, data, 0) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        os.ftruncate(descriptor, len(data))
    finally:
        os.close(descriptor)


def path_of(umid: str) -> str:
    return f"{paths.record_dir(umid)}/record.json"


def copy_of(umid: str) -> str:
    """The path of the copy of a running guest's record."""
    return f"{paths.guest_dir(umid)}/record.json"


def read(umid: str) -> Record | None:
    """The record of a guest; None if there is none.

    For a guest that runs, or whose end found no room on the disk, this is the copy.

    Raises: Unreadable
    """
    record = _read(umid, path_of(umid))
    if record is not None and record.ending is None:
        copy = load_copy(umid)
        if copy is not None and (copy.pid, copy.started) == (record.pid, record.started):
            return copy
    return record


def is_unwritten(umid: str) -> bool:
    """Whether there is a copy of a record: for a guest that has ended, the record had no room."""
    return os.path.exists(copy_of(umid))


def is_ended(umid: str) -> bool:
    """Whether the record of a guest says how it has ended, and not only the copy."""
    try:
        record = _read(umid, path_of(umid))
    except Unreadable:
        return False
    return record is not None and record.ending is not None


def load_copy(umid: str) -> Record | None:
    """The copy beside the sockets of a guest; None if there is none that can be read."""
    try:
        return _read(umid, copy_of(umid))
    except Unreadable:
        return None


def _read(umid: str, path: str) -> Record | None:
    try:
        with open(path, "rb") as file:
            data = unseal(file.read())
        version = _VERSION_OF.decode(data).version
        if version > FORM_VERSION:
            raise Unreadable(
                f"the record of {umid} is of a newer umlctl: its version is {version}, and this "
                f"one knows {FORM_VERSION} ({path})"
            )
        record = _RECORD.decode(data)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, Damaged, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        why = problem.strerror if isinstance(problem, OSError) else problem
        raise Unreadable(f"the record of {umid} cannot be read: {why} ({path})") from problem
    if record.definition.umid != umid:
        raise Unreadable(f"the record of {umid} is another guest's ({path})")
    return record


def load(umid: str) -> Record | None:
    """The record of a guest; None if there is none that can be read."""
    try:
        return read(umid)
    except Unreadable:
        return None


def names() -> list[str]:
    """Guests of which something is kept, sorted; a record need not be among it.

    Raises: BadPlace
    """
    return paths.listed(paths.guest_records())


def lives(record: Record) -> bool:
    """Whether the guest runs, whatever became of its supervisor."""
    if record.ending is not None or record.boot_id != host_boot_id():
        return False
    return processes.alive(record.pid, record.started)


def load_all() -> Iterator[Record]:
    """Every record that can be read, by name."""
    for name in names():
        record = load(name)
        if record is not None:
            yield record


def unreadable() -> Iterator[tuple[str, Unreadable]]:
    """The guests whose records cannot be read, by name, and why."""
    for name in names():
        try:
            read(name)
        except Unreadable as problem:
            yield name, problem


def expected_socket(record: Record) -> str:
    """The path where who started a guest expects its socket."""
    if record.place:
        return f"{record.place}/mconsole"
    return paths.public_socket(record.definition.umid, record.definition.home)


def set_aside(umid: str) -> str:
    """Set a record aside that cannot be read. Returns: what was wrong and where it is now; empty if
    it can be read.

    Only the holder of the guest's name may call this, see umlctl.state.umid_lock: no other process
    writes a record.

    Raises: Unreadable: for want of a descriptor, or of something else that may be there later
    """
    try:
        read(umid)
    except Unreadable as problem:
        if limits.is_lacking(problem):
            raise
        path = path_of(umid)
        directory = os.path.dirname(path)
        moment = time.time()
        clock = time.strftime("%Y%m%dT%H%M%S", time.localtime(moment))
        place = f"{directory}/{ASIDE_PREFIX}{clock}.{int(moment * 1000) % 1000:03}"
        try:
            for old in set_aside_names(umid)[MAX_ASIDE - 1 :]:
                os.unlink(f"{directory}/{old}")
            os.rename(path, place)
        except OSError as other:
            return f"{problem}; it cannot be set aside: {other.strerror}"
        return f"{problem}; it is kept as {os.path.basename(place)}"
    return ""


def set_aside_names(umid: str) -> list[str]:
    """The records of a guest that were set aside, the newest first."""
    with contextlib.suppress(OSError):
        found = os.listdir(paths.record_dir(umid))
        return sorted((name for name in found if name.startswith(ASIDE_PREFIX)), reverse=True)
    return []


def ended_status(record: Record) -> Status:
    """A guest that does not run, as `list` and `status` show it."""
    definition, ending = record.definition, record.ending
    return Status(
        umid=definition.umid,
        state=DEAD,
        since=ending.time if ending else record.since,
        started=record.since,
        kernel=definition.kernel,
        memory_limit=definition.mem,
        last_panic=record.last_panic or None,
        log=f"{paths.record_dir(definition.umid)}/console.log",
        ending=ending,
    )


def device_status(entry: DeviceEntry) -> Device:
    """A device as `status` and `devices` show it."""
    found = msgspec.to_builtins(entry)
    del found["told"]
    return msgspec.convert(found, Device)
