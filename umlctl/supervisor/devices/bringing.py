"""Files that a confined guest is given while it runs: its kernel reaches nothing that it was not
given when it started, but for one directory, in which they appear by a mount in its own mount
namespace, or by a link.

The kernel knows such a file by its path there. People see the path that they have given.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from umlctl.backends import device_access, disk
from umlctl.devices import ubd
from umlctl.errors import HostError
from umlctl.guest.confinement import OFF, STRICT
from umlctl.guest.words import unquoted
from umlctl.host import binds, processes
from umlctl.supervisor.launch import file_access, later_mounts
from umlctl.supervisor.launch.place import plugged_directories, plugged_directory

if TYPE_CHECKING:
    from umlctl.state.records import DeviceEntry, Record


def bring_in(record: Record, entry: DeviceEntry) -> None:
    """Have a guest's kernel reach what a device leads to; says in the entry what it is told then.

    Raises: HostError: it cannot, and how it could
    """
    if not is_confined(record):
        return
    check(record, entry.name, entry.kernel)
    if device_access.TUN in device_access.of_device(entry.kernel).paths and later_mounts.has_tun(
        record
    ):
        try:
            later_mounts.bring_tun(record)
        except OSError as problem:
            raise HostError(f"{entry.name}: its kernel cannot have taps: {problem}") from problem
    if not entry.holds:
        return
    _check_backing(record, entry)
    device = ubd.parse(entry.kernel)
    place = _place(record, entry)
    try:
        _appear(record, entry, device.files[0], place)
    except BaseException:
        take_out(record, entry)
        raise
    entry.told = str(ubd.Ubd(device.slot, device.flags, (place, *device.files[1:])))


def check(record: Record, name: str, device: str) -> None:
    """See that a confined kernel has what a device needs beside files.

    name: of the device; device: in the kernel's words

    Raises: HostError
    """
    if not is_confined(record):
        return
    words = processes.command(record.pid)[1:]
    has = device_access.of_command(words)
    given = [*record.definition.rw, *([device_access.TUN] if later_mounts.has_tun(record) else [])]
    given += [path for word in words for path in device_access.switches(unquoted(word))]
    there = [os.path.realpath(path) for path in given]
    given += [
        path
        for path in device_access.switches(device)
        if any(device_access.is_below(os.path.realpath(path), each) for each in there)
    ]
    lacking = device_access.lacking(has, given, device)
    if lacking:
        raise HostError(
            f"{name}: this guest is confined, and its kernel was not given what the device needs; "
            f"start it {lacking}"
        )


def _check_backing(record: Record, entry: DeviceEntry) -> None:
    """See that the kernel reads what a COW file stands on: it opens that by the path that the file
    itself has of it, and no other will do.

    Raises: HostError
    """
    if record.confined != STRICT:  # another one reads wherever it likes
        return
    given = [*file_access.readable(record.definition)]
    given += [hold.path for other in record.devices if other.boot for hold in other.holds]
    given = [os.path.realpath(path) for path in given]
    for hold in entry.holds[1:]:
        path = os.path.realpath(hold.path)
        if not any(device_access.is_below(path, each) for each in given):
            raise HostError(
                f"{entry.name}: this guest is confined strictly, and cannot read the backing file "
                f"{hold.path}; start it with --ro {hold.path}, or with --confine writes"
            )


def is_confined(record: Record) -> bool:
    return record.confined not in ("", OFF)


def take_out(record: Record, entry: DeviceEntry) -> None:
    """A device is no longer there: what it led to is not to be reached any more."""
    if not is_confined(record):
        return
    place = _place(record, entry)
    with contextlib.suppress(OSError):
        if record.binds and os.path.lexists(place):
            binds.unbind(record.pid, record.started, place)
    with contextlib.suppress(OSError):
        os.unlink(place)


def as_given(entry: DeviceEntry, said: str) -> str:
    """What a kernel says of a device, with the paths that were given for it."""
    if not entry.told:
        return said
    told, given = ubd.parse(entry.told), ubd.parse(entry.kernel)
    theirs = dict(zip(told.files, given.files, strict=True))
    text = said.rstrip("\n")
    return ",".join(theirs.get(path, path) for path in text.split(",")) + said[len(text) :]


def recovered(record: Record, told: ubd.Ubd) -> DeviceEntry | None:
    """A disk that was brought in, of a guest whose record is lost; None if it was not.

    told: as the kernel knows it

    Raises: UsageError
    """
    directory = os.path.dirname(told.files[0])
    if not is_confined(record) or directory not in plugged_directories(record.definition):
        return None
    found = (binds.source_of(record.pid, path) or path for path in told.files)
    given = ubd.Ubd(told.slot, told.flags, tuple(found))
    entry = disk.entry_of(record.definition.umid, given)
    entry.told = str(told)
    return entry


def _place(record: Record, entry: DeviceEntry) -> str:
    """Where a disk's file appears."""
    return f"{plugged_directory(record.definition, write=_is_written(entry))}/{entry.name}"


def _is_written(entry: DeviceEntry) -> bool:
    return any(hold.write for hold in entry.holds[:1])


def _appear(record: Record, entry: DeviceEntry, path: str, place: str) -> None:
    """Raises: HostError"""
    try:
        if record.binds:
            with contextlib.suppress(FileExistsError):
                os.close(os.open(place, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            seen = later_mounts.seen(record.definition.umid, path)
            write = _is_written(entry)
            binds.bind(record.pid, record.started, path, place, seen=seen, write=write)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(place)
            os.link(os.path.realpath(path), place)
    except OSError as problem:
        how = "by a mount of its own" if record.binds else "by a link"
        raise HostError(
            f"{entry.name}: {path} cannot be given to a guest that is confined, {how}: "
            f"{problem.strerror or problem}; start it with --rw {path}, or with --confine off"
        ) from problem
