"""The host's side of a disk: everything that is wrong with a file is said before a kernel sees it.

The kernel answers OK to a directory, a locked file, a COW file that does not fit its backing
file, and fails when the guest opens the disk, with a line in the guest's log. Source:
ubd_config, ubd_open_dev in arch/um/drivers/ubd_kern.c
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from typing import TYPE_CHECKING, Final

from umlctl.errors import HostError
from umlctl.host import births
from umlctl.host.files import FLOCK
from umlctl.host.records import Entry, Hold
from umlctl.storage import cow, images

if TYPE_CHECKING:
    from collections.abc import Iterable

    from umlctl.guest.plug import Disk
    from umlctl.host.inuse import Use

SECTOR: Final = 512
LEAST_FREE: Final = 1 << 20
"""A new COW file needs this beside its bitmap, bytes."""
NOTHING: Final = "/dev/null"
"""What stands behind ubd0 of a guest without one: a disk of no size."""


def prepare(
    asked: Disk, slot: int, directory: str, users: Iterable[Use], *, insist: bool = False
) -> Entry:
    """See that a disk will work, and make the COW file that it is to have.

    directory: where a COW file to discard is made
    users: the devices of all other guests, and the others of this one
    insist: the guest may write to what is no disk byte for byte, as with `raw`

    Raises: HostError, UsageError; nothing is left behind then
    """
    name = f"ubd{slot}"
    if asked.file == NOTHING and slot == 0 and not (asked.cow or asked.discard):
        return Entry(name=name, asked=str(asked), kernel=str(asked.device(slot, "")))
    top = f"{directory}/{name}.cow" if asked.discard else asked.cow
    if asked.discard and set(directory) & set(",:"):
        raise HostError(
            f"{name}: a COW file to discard would be {top}, and the kernel takes neither ',' nor "
            "':' in a disk's path; set UMLCTL_DIR to a directory without"
        )
    device = asked.device(slot, top)
    holds = _check_pair(name, top, asked) if top else _check_file(name, asked, insist=insist)
    if not asked.shared:
        _check_free(name, holds, users)
    made = {}
    if top and (asked.discard or not os.path.lexists(top)):
        _make_cow(name, top, asked.file, discard=asked.discard)
        made = {"discard" if asked.discard else "cow": top}
        holds = [hold_of(top, write=not asked.readonly), *holds]
    return Entry(
        name=name,
        asked=str(asked),
        kernel=str(device),
        holds=holds,
        made=made,
        shared=asked.shared,
    )


def undo(entry: Entry) -> str:
    """The disk was not plugged after all: remove what was made for it; what failed."""
    return "; ".join(filter(None, [_discard(entry, path) for path in entry.made.values()]))


def release(entry: Entry) -> str:
    """The disk is no longer there: what was made to be discarded, is; what failed."""
    return _discard(entry, entry.made["discard"]) if "discard" in entry.made else ""


def _discard(entry: Entry, path: str) -> str:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as problem:
        return f"{entry.name}: cannot remove {path}: {problem.strerror}"
    return ""


def renew(entry: Entry) -> None:
    """The guest has rebooted, and opens the disk's files again: see that they are what they were.

    Raises: HostError
    """
    for hold in entry.holds:
        try:
            found = hold_of(hold.path, write=hold.write)
            size = cow.size_of(hold.path)
        except OSError as problem:
            raise HostError(f"{entry.name}: cannot read {hold.path}: {problem.strerror}") from None
        if not _is_file(found, hold):
            raise HostError(
                f"{entry.name}: another file was put in the place of {hold.path} since it was "
                "plugged; take the disk out and plug it again"
            )
        _check_size(entry.name, hold.path, size)
    if len(entry.holds) > 1:
        top, backing = entry.holds[0].path, entry.holds[1].path
        header = _header(entry.name, top)
        if header is not None:
            _check_fits(entry.name, top, header, backing)


def check_root(path: str) -> None:
    """See that a guest can mount an image whole, as it does unless it is told of another root.

    Raises: HostError
    """
    try:
        header = cow.read(path)
        path = header.backing if header else path
        found = images.read(path)
    except (OSError, cow.BadCow):
        return  # whoever plugs it says so
    if found is None:
        return
    if found.kind == images.PARTITIONED:
        raise HostError(
            f"{path} has partitions, and a kernel looks for its root on the whole disk; say which: "
            f"`-- root=/dev/ubda{found.root or 1}`"
        )
    if found.kind in (images.FORMAT, images.PACKED, images.ENCRYPTED):
        remedy = found.remedy(path)
        more = f"; `{remedy}` makes one that it can" if remedy else ""
        raise HostError(f"{path} is {found.what}, and no kernel can have its root there{more}")


def is_foreign(path: str) -> bool:
    """A guest that wrote to the file would destroy what it is, see umlctl.storage.images."""
    try:
        found = images.read(path)
    except OSError:
        return False
    return found is not None and found.is_lost_by_writing


def _check_foreign(name: str, path: str, descriptor: int) -> None:
    """Refuse to have a file written as a disk that is none.

    Raises: HostError; OSError
    """
    found = images.look(descriptor)
    if found is None or not found.is_lost_by_writing:
        return
    remedy = found.remedy(path)
    more = f"`{remedy}` makes a disk of it; " if remedy else ""
    raise HostError(
        f"{name}: {path} is {found.what}, which a guest that writes to it destroys; {more}"
        "`ro` plugs it read-only, `raw` as it stands"
    )


def note(entry: Entry) -> str:
    """What has become of a disk's files while a guest has it; empty if they are as they were."""
    for hold in entry.holds:
        try:
            if not _is_file(hold_of(hold.path, write=hold.write), hold):
                return f"another file was put in the place of {hold.path}"
            size = cow.size_of(hold.path)
        except OSError as problem:
            return f"{hold.path} is gone: {problem.strerror}"
        if hold is entry.holds[-1] and size < (entry.observed or {}).get("size", 0):
            return f"{hold.path} has {size} bytes now; the guest reads zeros beyond them"
    return ""


def _check_file(name: str, asked: Disk, *, insist: bool) -> list[Hold]:
    """A disk without a COW file, or one that is given by its COW file alone."""
    path, write = asked.file, not asked.readonly
    hint = "" if asked.readonly else "; read-only or with a COW file it need not be"
    whole = write and not (asked.raw or insist)
    hold = _look(name, path, write=write, hint=hint, shared=asked.shared, whole=whole)
    header = None if asked.raw else _header(name, path)
    if header is None:
        return [hold]
    backing = header.backing
    try:
        backing.encode()
    except UnicodeEncodeError:
        raise HostError(f"{name}: {path} names its backing file in no UTF-8: {backing!r}") from None
    under = _look(name, backing, write=False, hint=f"; it is the backing file of {path}")
    if _header(name, backing) is not None:
        raise HostError(f"{name}: {backing}, the backing file of {path}, is a COW file itself")
    _check_fits(name, path, header, backing)
    return [hold, under]


def _check_pair(name: str, top: str, asked: Disk) -> list[Hold]:
    """A COW file and its backing file; the holds of both, of the one alone if it is to be made."""
    backing = asked.file
    under = _look(name, backing, write=False)
    if _header(name, backing) is not None:
        raise HostError(
            f"{name}: {backing} is a COW file itself, and cannot be the backing file of another; "
            f"plug it alone"
        )
    if asked.discard:
        return [under]
    directory = os.path.dirname(top)
    if not os.path.lexists(top):
        if not os.path.isdir(directory):
            raise HostError(f"{name}: there is no directory {directory} for the COW file {top}")
        if not os.access(directory, os.W_OK | os.X_OK):
            raise HostError(f"{name}: cannot make the COW file {top}: Permission denied")
        return [under]
    over = _look(name, top, write=not asked.readonly)
    if (over.device, over.inode) == (under.device, under.inode):
        raise HostError(f"{name}: {top} cannot be its own backing file")
    header = _header(name, top)
    if header is None:
        raise HostError(
            f"{name}: {top} exists and is no COW file; take another name, and it is made"
        )
    _check_fits(name, top, header, backing)
    return [over, under]


def _check_fits(name: str, top: str, header: cow.Header, backing: str) -> None:
    why = cow.mismatch(header, backing)
    if why:
        raise HostError(
            f"{name}: the COW file {top} does not fit its backing file: {why}; "
            f"else put the backing file back as it was, or begin a new COW file"
        )


def _look(
    name: str,
    path: str,
    *,
    write: bool,
    hint: str = "",
    shared: bool = False,
    whole: bool = False,
) -> Hold:
    """Open the file as the kernel will; a block device as nobody but this guest may.

    whole: it has to be a disk byte for byte

    Raises: HostError
    """
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise HostError(f"{name}: {path} is a directory, and a disk is a file")
        if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
            raise HostError(f"{name}: {path} is neither a file nor a block device")
        flags = (os.O_RDWR if write else os.O_RDONLY) | os.O_CLOEXEC | os.O_NONBLOCK
        if write and stat.S_ISBLK(mode) and not shared:
            flags |= os.O_EXCL
        descriptor = os.open(path, flags)
    except OSError as problem:
        if problem.errno == errno.EBUSY:
            raise HostError(
                f"{name}: this host uses {path} itself: it is mounted, swap or part of something; "
                "end that first"
            ) from None
        verb = "write" if write and problem.errno != errno.ENOENT else "read"
        more = hint if problem.errno in (errno.EACCES, errno.EROFS, errno.EPERM) else ""
        raise HostError(f"{name}: cannot {verb} {path}: {problem.strerror}{more}") from problem
    try:
        _check_size(name, path, os.lseek(descriptor, 0, os.SEEK_END))
        if whole:
            _check_foreign(name, path, descriptor)
    except OSError as problem:
        raise HostError(f"{name}: cannot read {path}: {problem.strerror}") from problem
    finally:
        os.close(descriptor)
    return hold_of(path, write=write)


def _check_size(name: str, path: str, size: int) -> None:
    if size < SECTOR:
        raise HostError(
            f"{name}: {path} is {'smaller than a sector' if size else 'empty'}; "
            f"`truncate -s 1G {path}` would give it a size"
        )


def hold_of(path: str, *, write: bool) -> Hold:
    """What a path leads to; a block device by its number, a loop device by its file.

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
    born = births.of(path)
    return Hold(path=path, device=found.st_dev, inode=found.st_ino, write=write, born=born)


def _behind(block: str) -> os.stat_result | None:
    """The file behind a loop device, by the device's directory in /sys."""
    try:
        with open(f"{block}/loop/backing_file", "rb") as file:
            return os.stat(file.read().rstrip(b"\n"))
    except OSError:
        return None


def _is_file(one: Hold, other: Hold) -> bool:
    """It is one file: an inode alone is used again once its file is gone."""
    born = {one.born, other.born} - {0}
    return (one.device, one.inode) == (other.device, other.inode) and len(born) < 2


def _same(one: Hold, other: Hold) -> bool:
    """Two paths lead to the same bytes; or a partition to some of those of its whole disk.

    So they do if one file has come into the place of another: a guest opens it by its path.
    """
    if _is_file(one, other) or one.path == other.path:
        return True
    if one.inode or other.inode:
        return False
    return _whole(one.device) == other.device or one.device == _whole(other.device)


def _whole(device: int) -> int:
    """The disk that a partition is of; itself, if it is none."""
    directory = f"/sys/dev/block/{os.major(device)}:{os.minor(device)}"
    try:
        if os.path.exists(f"{directory}/partition"):
            with open(f"{directory}/../dev") as file:
                major, minor = file.read().split(":")
            return os.makedev(int(major), int(minor))
    except (OSError, ValueError):
        pass
    return device


def _header(name: str, path: str) -> cow.Header | None:
    try:
        return cow.read(path)
    except cow.BadCow as problem:
        raise HostError(f"{name}: {problem}; `raw` would plug it as it stands") from None
    except OSError as problem:
        raise HostError(f"{name}: cannot read {path}: {problem.strerror}") from problem


def _locked_by(hold: Hold) -> int | None:
    """Who has a lock that the kernel's own would not get past; 0: somebody unseen from here."""
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


def _check_free(name: str, holds: list[Hold], users: Iterable[Use]) -> None:
    """Refuse a second writer of a file, and a writer beside readers: of ours, or of the host.

    Raises: HostError
    """
    for hold in holds:
        for umid, entry in users:
            for other in [] if entry.shared else entry.holds:
                if _same(hold, other) and (hold.write or other.write):
                    raise HostError(f"{name}: {_conflict(hold, other, umid, entry)}")
        holder = _locked_by(hold)
        if holder is not None:
            raise HostError(f"{name}: {hold.path} is locked by {_process(holder)}")
        if hold.write:
            _check_loops(name, hold)


def _conflict(hold: Hold, other: Hold, umid: str, entry: Entry) -> str:
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
    """A file that this host has behind a loop device, mounted maybe.

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


def _make_cow(name: str, top: str, backing: str, *, discard: bool) -> None:
    directory = os.path.dirname(top)
    try:
        if discard:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(top)
        space = os.statvfs(directory)
        free = space.f_bavail * space.f_frsize
        need = cow.length(cow.size_of(backing)) - cow.size_of(backing) + LEAST_FREE
        if free < need:
            raise HostError(
                f"{name}: {directory} has {free} bytes free, and a COW file begins with {need}"
            )
        cow.create(top, backing)
    except OSError as problem:
        raise HostError(f"{name}: cannot make the COW file {top}: {problem.strerror}") from problem
