"""Which file of this host a path leads to, and what else uses it.

A file is itself under each of its names, a loop device is its file, and a partition is a part of
its disk. Two guests that write one file destroy it, under whatever names they have it.
"""

from __future__ import annotations

import fcntl
import os
import stat
from typing import TYPE_CHECKING

from umlctl.errors import HostError
from umlctl.host import birth_time
from umlctl.host.files import FLOCK
from umlctl.state.records import Hold

if TYPE_CHECKING:
    from collections.abc import Iterable

    from umlctl.state.leases import Use
    from umlctl.state.records import DeviceEntry


def hold_of(path: str, *, write: bool) -> Hold:
    """What a path leads to: a block device by its number, a loop device by its file.

    Raises: OSError
    """
    found = os.stat(path)
    if stat.S_ISBLK(found.st_mode):
        number = f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"
        behind = _behind(f"/sys/dev/block/{number}")
        if behind is None:
            return Hold(path=path, device=found.st_rdev, inode=0, write=write)
        found = behind
        return Hold(path=path, device=found.st_dev, inode=found.st_ino, write=write)
    born = birth_time.of(path)
    return Hold(path=path, device=found.st_dev, inode=found.st_ino, write=write, born=born)


def is_file(one: Hold, other: Hold) -> bool:
    """Whether two holds are of one file: an inode alone is used again once its file is gone."""
    born = {one.born, other.born} - {0}
    return (one.device, one.inode) == (other.device, other.inode) and len(born) < 2


def check_free(name: str, holds: list[Hold], users: Iterable[Use]) -> None:
    """Refuse a second writer of a file, and a writer beside readers, among guests and on this host.

    Raises: HostError
    """
    check_users(name, holds, users)
    for hold in holds:
        holder = _locked_by(hold)
        if holder is not None:
            raise HostError(f"{name}: {hold.path} is locked by {_process(holder)}")
        if hold.write:
            _check_loops(name, hold)


def check_users(name: str, holds: list[Hold], users: Iterable[Use]) -> None:
    """The same among guests alone.

    Raises: HostError
    """
    used = [(umid, entry) for umid, entry in users if not entry.shared]
    for hold in holds:
        for umid, entry in used:
            for other in entry.holds:
                if _same(hold, other) and (hold.write or other.write):
                    raise HostError(f"{name}: {_conflict(hold, other, umid, entry)}")


def _conflict(hold: Hold, other: Hold, umid: str, entry: DeviceEntry) -> str:
    who = f"{umid} as its {entry.name}"
    if other.write:
        return (
            f"{hold.path} is written by {who}, and who else uses it would find it changing; take "
            "it out there first (`shared` is for file systems that are made for it)"
        )
    return (
        f"{hold.path} is read by {who}, which would find it changing; give this one a COW file "
        "over it, to keep or to discard, or plug it read-only"
    )


def _check_loops(name: str, hold: Hold) -> None:
    """Refuse a file that this host has behind a loop device, and may have mounted.

    Raises: HostError
    """
    try:
        loops = [each for each in os.listdir("/sys/block") if each.startswith("loop")]
    except OSError:
        return
    if stat.S_ISBLK(os.stat(hold.path).st_mode):
        return
    for loop in loops:
        found = _behind(f"/sys/block/{loop}")
        if found and (found.st_dev, found.st_ino) == (hold.device, hold.inode):
            raise HostError(
                f"{name}: {hold.path} is behind /dev/{loop} of this host; "
                f"unmount it and `losetup -d /dev/{loop}` first"
            )


def _same(one: Hold, other: Hold) -> bool:
    """Whether two holds are of the same bytes, or one is a partition of the other, a whole disk.

    They also do if one file has taken the place of another: a guest opens it by its path.
    """
    if is_file(one, other) or one.path == other.path:
        return True
    if one.inode or other.inode:
        return False
    return _whole(one.device) == other.device or one.device == _whole(other.device)


def _whole(device: int) -> int:
    """The disk that a partition is of; a device that is no partition itself."""
    directory = f"/sys/dev/block/{os.major(device)}:{os.minor(device)}"
    try:
        if os.path.exists(f"{directory}/partition"):
            with open(f"{directory}/../dev") as file:
                major, minor = file.read().split(":")
            return os.makedev(int(major), int(minor))
    except (OSError, ValueError):
        pass
    return device


def _behind(block: str) -> os.stat_result | None:
    """The file behind a loop device, by the device's directory in /sys."""
    try:
        with open(f"{block}/loop/backing_file", "rb") as file:
            return os.stat(file.read().rstrip(b"\n"))
    except OSError:
        return None


def _locked_by(hold: Hold) -> int | None:
    """Pid of a process whose lock the kernel's own would not get past; 0 if that process cannot be
    seen from here."""
    want = fcntl.F_WRLCK if hold.write else fcntl.F_RDLCK
    try:
        descriptor = os.open(hold.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        answer = fcntl.fcntl(descriptor, fcntl.F_GETLK, FLOCK.pack(want, os.SEEK_SET, 0, 0, 0))
    except OSError:
        return None  # a file system without locks
    finally:
        os.close(descriptor)
    kind, _, _, _, pid = FLOCK.unpack(answer)
    return None if kind == fcntl.F_UNLCK else max(0, pid)


def _process(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().split(b"\0")
    except OSError:
        return f"process {pid}" if pid else "a process that cannot be seen from here"
    for word in words:
        if word.startswith(b"umid="):
            return f"the guest {os.fsdecode(word[5:])} (pid {pid})"
    return f"process {pid} ({os.path.basename(os.fsdecode(words[0]))})"
