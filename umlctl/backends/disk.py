"""Disks: everything that is wrong with a file is said before a kernel sees it.

The kernel answers OK to a directory, a locked file, and a COW file that does not fit its backing
file. It fails when the guest opens the disk, with a line in the guest's log. Source: ubd_config,
ubd_open_dev in arch/um/drivers/ubd_kern.c
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING, Any, Final

from umlctl.backends.interface import Backend
from umlctl.devices import families, ubd
from umlctl.errors import HostError
from umlctl.guest.specs import Disk, of_device
from umlctl.host import paths
from umlctl.protocol.proc_files import unescaped
from umlctl.state.file_identity import check_free, hold_of, is_file
from umlctl.state.records import DeviceEntry
from umlctl.storage import cow, images, journal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from umlctl.backends.interface import GuestKernel, Owner
    from umlctl.guest.specs import Nic
    from umlctl.state.leases import Use
    from umlctl.state.records import Hold

MIN_FREE_BYTES: Final = 1 << 20
"""How much room a new COW file needs beside its bitmap, bytes."""


class DiskBackend(Backend):
    """Disks: files and block devices of this host, and COW files over them."""

    limit = ubd.SLOTS
    needs_host = True

    def numbers(self) -> Iterable[int]:
        return (*range(1, self.limit), 0)  # 0 comes last: people take ubd0 for the root

    def plan(self, asked: Disk | Nic, number: int, owner: Owner) -> DeviceEntry:
        assert isinstance(asked, Disk)
        name = f"{self.family}{number}"
        device = asked.device(number, _top(asked, name, owner))
        return DeviceEntry(name=name, asked=str(asked), kernel=str(device))

    def prepare(
        self,
        asked: Disk | Nic,
        number: int,
        owner: Owner,
        users: Iterable[Use],
        *,
        insist: bool = False,
    ) -> DeviceEntry:
        """See that a disk will work, and make the COW file that it is to have.

        insist: the guest may write to a file that is no disk byte for byte, as with `raw`

        Raises: HostError, UsageError; nothing is left behind then
        """
        assert isinstance(asked, Disk)
        name = f"{self.family}{number}"
        if asked.file == ubd.NULL_FILE and number == 0 and not (asked.cow or asked.discard):
            return DeviceEntry(name=name, asked=str(asked), kernel=str(asked.device(number, "")))
        top = _top(asked, name, owner)
        device = asked.device(number, top)
        holds = _check_pair(name, top, asked) if top else _check_file(name, asked, insist=insist)
        if not asked.shared:
            check_free(name, holds, users)
        made = {}
        if top and (asked.discard or not os.path.lexists(top)):
            _make_cow(name, top, asked.file, discard=asked.discard)
            made = {"discard" if asked.discard else "cow": top}
            holds = [hold_of(top, write=not asked.readonly), *holds]
        return DeviceEntry(
            name=name,
            asked=str(asked),
            kernel=str(device),
            holds=holds,
            made=made,
            shared=asked.shared,
        )

    def renew(self, entry: DeviceEntry, _pid: int) -> None:
        """See that the disk's files are what they were: the guest opens them again."""
        for hold in entry.holds:
            try:
                if not is_file(hold_of(hold.path, write=hold.write), hold):
                    raise HostError(
                        f"{entry.name}: another file was put in the place of {hold.path} since it "
                        "was plugged; take the disk out and plug it again"
                    )
                size = cow.size_of(hold.path)
            except OSError as problem:
                raise HostError(
                    f"{entry.name}: cannot read {hold.path}: {problem.strerror}"
                ) from None
            _check_size(entry.name, hold.path, size)
        if len(entry.holds) > 1:
            top, backing = entry.holds[0].path, entry.holds[1].path
            header = _header(entry.name, top)
            if header is not None:
                _check_fits(entry.name, top, header, backing)

    def note(self, entry: DeviceEntry) -> str:
        """What has become of a disk's files; empty if they are as they were."""
        for hold in entry.holds:
            try:
                if not is_file(hold_of(hold.path, write=hold.write), hold):
                    return f"another file was put in the place of {hold.path}"
                size = cow.size_of(hold.path)
            except OSError as problem:
                return f"{hold.path} is gone: {problem.strerror}"
            if hold is entry.holds[-1] and size < (entry.observed or {}).get("size", 0):
                return f"{hold.path} has {size} bytes now; the guest reads zeros beyond them"
        return ""

    def undo(self, entry: DeviceEntry, _owner: Owner) -> str:
        return "; ".join(filter(None, [_discard(entry, path) for path in entry.made.values()]))

    def release(self, entry: DeviceEntry, _owner: Owner) -> str:
        return _discard(entry, entry.made["discard"]) if "discard" in entry.made else ""

    # The guest's side

    async def observe(self, entry: DeviceEntry, kernel: GuestKernel) -> dict[str, Any] | None:
        """The disk's size as the guest sees it, if the kernel has these files behind it."""
        answer = await kernel.ask(f"config {entry.name}")
        device = ubd.parse(entry.told or entry.kernel)
        if not answer.ok or not device.answers(answer.text.strip()):
            return None
        partitions = await kernel.ask("proc partitions")
        parts = [line.split() for line in partitions.text.splitlines() if line]
        sizes = {fields[3]: int(fields[2]) << 10 for fields in parts[1:] if len(fields) == 4}
        block = device.block
        if block not in sizes:
            return {"size": 0} if ubd.NULL_FILE in device.files else None
        return {
            "block": block,
            "size": sizes[block],
            "partitions": sorted(
                name for name in sizes if name.startswith(block) and name != block
            ),
        }

    def stand_in(self, name: str) -> str:
        return f"{name}r={ubd.NULL_FILE}" if name == f"{self.family}0" else ""

    async def lets_go(self, name: str, kernel: GuestKernel) -> bool:
        """Whether the disk is open only for the scan of its partitions: it is not mounted."""
        return not await _mounts(name, kernel)

    async def why_open(self, name: str, _said: str, kernel: GuestKernel) -> str:
        where = await _mounts(name, kernel)
        if where:
            return f"{name} is mounted in the guest on {', '.join(where)}; unmount it first"
        return f"{name} is open in the guest, by a process or as swap; it is not mounted"

    def explain(self, said: str, error: int) -> str:
        if not said and error == -errno.EAGAIN:
            return "another process of this host has its file locked"
        return super().explain(said, error)


DISK: Final = DiskBackend(families.UBD)


def entry_of(umid: str, device: ubd.Ubd) -> DeviceEntry:
    """The entry of a disk that its kernel was told of."""
    entry = DeviceEntry(
        name=device.name,
        asked=str(of_device(device)),
        kernel=str(device),
        shared=device.shared,
    )
    for index, path in enumerate(each for each in device.files[:2] if each):
        try:
            entry.holds.append(hold_of(path, write=device.writable and not index))
        except OSError:
            continue
    discarded = f"{paths.record_dir(umid)}/{device.name}.cow"
    if device.cow == discarded:
        entry.made["discard"] = discarded
        entry.asked = f"{device.backing},slot={device.slot},discard"
    return entry


async def _mounts(name: str, kernel: GuestKernel) -> list[str]:
    """Where a disk is mounted in the guest."""
    node = f"/dev/{ubd.parse(f'{name}={ubd.NULL_FILE}').block}"
    mounts = await kernel.ask("proc mounts")
    lines = (line.split() for line in mounts.text.splitlines())
    return [unescaped(fields[1]) for fields in lines if len(fields) > 2 and _is_of(fields, node)]


def _is_of(mount: list[str], node: str) -> bool:
    """Whether a line of /proc/mounts is about a disk, or about a partition of it."""
    device, _, kind = mount[:3]
    if device == "/dev/root" and kind != "hostfs":
        return node == "/dev/ubda"
    return device.startswith(node) and not device.removeprefix(node).strip("0123456789")


def _discard(entry: DeviceEntry, path: str) -> str:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as problem:
        return f"{entry.name}: cannot remove {path}: {problem.strerror}"
    return ""


def check_root(path: str) -> None:
    """See that a guest can mount an image whole, as it does unless it is told of another root.

    Raises: HostError
    """
    try:
        header = cow.read(path)
        path = header.backing if header else path
        found = images.read(path)
    except (OSError, cow.BadCow):
        return  # the plugging of the disk says so
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


def _top(asked: Disk, name: str, owner: Owner) -> str:
    """The COW file of a disk; empty if it has none.

    Raises: HostError
    """
    top = f"{owner.directory}/{name}.cow" if asked.discard else asked.cow
    if asked.discard and set(owner.directory) & set(",:"):
        raise HostError(
            f"{name}: a COW file to discard would be {top}, and the kernel takes neither ',' "
            "nor ':' in a disk's path; set UMLCTL_DIR to a directory without"
        )
    return top


def is_foreign(path: str) -> bool:
    """Whether a guest that wrote to the file would destroy what it is, see
    umlctl.storage.images."""
    try:
        found = images.read(path)
    except OSError:
        return False
    return found is not None and found.is_lost_by_writing


def _check_foreign(name: str, path: str, descriptor: int) -> None:
    """Refuse to have a guest write to a file as a disk that is none.

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


def _check_file(name: str, asked: Disk, *, insist: bool) -> list[Hold]:
    """Check a disk without a COW file, or one that is given by its COW file alone; return its
    holds."""
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
    """Check a COW file and its backing file. Returns: the holds of both, or of the backing file
    alone if the COW file is to be made."""
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
    if said := journal.interrupted(top):
        raise HostError(f"{name}: {said}")
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
    """Open the file as the kernel will; a block device so that this guest alone has it.

    whole: the file has to be a disk byte for byte

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
    if size < cow.SECTOR_BYTES:
        raise HostError(
            f"{name}: {path} is {'smaller than a sector' if size else 'empty'}; "
            f"`truncate -s 1G {path}` would give it a size"
        )


def _header(name: str, path: str) -> cow.Header | None:
    try:
        return cow.read(path)
    except cow.BadCow as problem:
        raise HostError(f"{name}: {problem}; `raw` would plug it as it stands") from None
    except OSError as problem:
        raise HostError(f"{name}: cannot read {path}: {problem.strerror}") from problem


def _make_cow(name: str, top: str, backing: str, *, discard: bool) -> None:
    directory = os.path.dirname(top)
    try:
        if discard:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(top)
        space = os.statvfs(directory)
        free = space.f_bavail * space.f_frsize
        need = cow.length(cow.size_of(backing)) - cow.size_of(backing) + MIN_FREE_BYTES
        if free < need:
            raise HostError(
                f"{name}: {directory} has {free} bytes free, and a COW file begins with {need}"
            )
        cow.create(top, backing)
    except OSError as problem:
        raise HostError(f"{name}: cannot make the COW file {top}: {problem.strerror}") from problem
