from __future__ import annotations

import builtins
import ctypes
import errno
import os
import stat
import subprocess
import sys
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import pytest
from msgspec import structs

from tests.conftest import PR_SET_DUMPABLE
from umlctl.backends import disk
from umlctl.backends.disk import DISK
from umlctl.backends.interface import Owner
from umlctl.errors import HostError, UsageError
from umlctl.guest.specs import parse_disk
from umlctl.state.leases import Use
from umlctl.storage import cow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from umlctl.state.records import DeviceEntry

NOBODY = 65534
LOCKING = """
import fcntl, os, struct, sys
kind = fcntl.F_WRLCK if sys.argv[2] == "write" else fcntl.F_RDLCK
file = os.open(sys.argv[1], os.O_RDWR)
fcntl.fcntl(file, fcntl.F_SETLK, struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, 0, 0))
print("locked", flush=True)
sys.stdin.read()
"""


class Place:
    """A directory with images, and a guest's own one."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.records = f"{path}/records"
        os.mkdir(self.records)
        for name in ("a.img", "b.img"):
            self.write(name, os.urandom(8192))

    @property
    def owner(self) -> Owner:
        return Owner("demo", self.records, f"{self.path}/console.log")

    def __call__(self, name: str) -> str:
        return f"{self.path}/{name}"

    def write(self, name: str, data: bytes) -> str:
        with open(self(name), "wb") as file:
            file.write(data)
        return self(name)

    def cow(self, name: str = "a.cow", backing: str = "a.img") -> str:
        cow.create(self(name), self(backing))
        return self(name)

    def prepare(self, text: str, slot: int = 1, *users: Use) -> DeviceEntry:
        return DISK.prepare(parse_disk(text, self.path), slot, self.owner, users)

    def used(self, text: str, umid: str = "other") -> Use:
        """A device of another guest."""
        return Use(umid, self.prepare(text, 3))

    @property
    def files(self) -> set[str]:
        return {os.path.join(top, name) for top, _, names in os.walk(self.path) for name in names}

    @contextmanager
    def refused(self, said: str, error: type[Exception] = HostError) -> Iterator[None]:
        """It is said why, and nothing is left behind."""
        before = self.files
        with pytest.raises(error, match=said):
            yield
        assert self.files == before


@pytest.fixture
def place(short: str) -> Place:
    return Place(short)


@contextmanager
def as_nobody(place: Place) -> Iterator[None]:
    """As a user for whom permissions count: root may everything."""
    os.chmod(place.path, 0o755)
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if user == 0:
            os.seteuid(user)
            # A change of users has the host hide this process's files in /proc from its user.
            ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)


@contextmanager
def locked(path: str, kind: str, *more: str) -> Iterator[int]:
    """Another process has a lock on the file; its pid."""
    command = [sys.executable, "-c", LOCKING, path, kind, *more]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process.pid
        process.communicate()
    assert process.returncode == 0


def holds(entry: DeviceEntry) -> list[tuple[str, bool]]:
    return [(os.path.basename(hold.path), hold.write) for hold in entry.holds]


# What works


def test_disk_is_ready(place: Place) -> None:
    entry = place.prepare("a.img,serial=S,sync")
    assert (entry.name, entry.kernel) == ("ubd1", f"ubd1s={place('a.img')},,S")
    assert entry.asked == f"{place('a.img')},sync,serial=S"
    assert (entry.made, entry.shared, entry.problem) == ({}, False, "")
    (hold,) = entry.holds
    found = os.stat(place("a.img"))
    assert (hold.device, hold.inode, hold.write) == (found.st_dev, found.st_ino, True)
    assert holds(place.prepare("a.img,ro")) == [("a.img", False)]


def test_no_disk_at_all_is_ready(place: Place) -> None:
    entry = place.prepare("ubd0r=/dev/null", 0)
    assert (entry.kernel, entry.holds) == ("ubd0r=/dev/null", [])
    for text, slot in (("/dev/null,cow=a.cow", 0), ("/dev/null", 1)):
        with place.refused("neither a file nor a block device"):
            place.prepare(text, slot)


def test_cow_file_that_is_missing_is_made(place: Place) -> None:
    entry = place.prepare("a.img,cow=new.cow", 2)
    assert entry.kernel == f"ubd2={place('new.cow')},{place('a.img')}"
    assert holds(entry) == [("new.cow", True), ("a.img", False)]
    assert entry.made == {"cow": place("new.cow")}
    header = cow.read(place("new.cow"))
    assert header is not None
    assert header.backing == place("a.img")


def test_cow_file_that_is_there_is_kept(place: Place) -> None:
    path = place.cow()
    with open(path, "rb") as file:
        before = file.read()
    entry = place.prepare("a.img,cow=a.cow")
    assert holds(entry) == [("a.cow", True), ("a.img", False)]
    assert entry.made == {}
    DISK.undo(entry, place.owner)
    DISK.release(entry, place.owner)
    with open(path, "rb") as file:
        assert file.read() == before


def test_cow_file_by_itself_brings_its_backing_file(place: Place) -> None:
    place.cow()
    entry = place.prepare("a.cow")
    assert entry.kernel == f"ubd1={place('a.cow')}"
    assert holds(entry) == [("a.cow", True), ("a.img", False)]
    assert holds(place.prepare("a.cow,ro")) == [("a.cow", False), ("a.img", False)]
    assert holds(place.prepare("a.cow,raw")) == [("a.cow", True)]


def test_pair_that_is_only_read_holds_nothing_to_write(place: Place) -> None:
    place.cow()
    entry = place.prepare("ubd1r=a.cow,a.img")
    assert entry.kernel == f"ubd1r={place('a.cow')},{place('a.img')}"
    assert holds(entry) == [("a.cow", False), ("a.img", False)]


def test_cow_file_to_discard_is_the_guests_own(place: Place) -> None:
    place.write("records/ubd4.cow", b"left by a guest that was killed")
    entry = place.prepare("a.img,discard", 4)
    path = f"{place.records}/ubd4.cow"
    assert entry.kernel == f"ubd4={path},{place('a.img')}"
    assert entry.made == {"discard": path}
    assert holds(entry) == [("ubd4.cow", True), ("a.img", False)]
    assert cow.read(path)


# Letting go


def test_disk_that_was_not_plugged_leaves_no_new_files(place: Place) -> None:
    before = place.files
    for text in ("a.img,cow=new.cow", "a.img,discard"):
        entry = place.prepare(text)
        assert place.files > before
        DISK.undo(entry, place.owner)
        assert place.files == before
        DISK.undo(entry, place.owner)


def test_disk_that_is_taken_out_keeps_its_cow_file_unless_it_is_to_discard(place: Place) -> None:
    DISK.release(place.prepare("a.img,cow=new.cow"), place.owner)
    assert os.path.exists(place("new.cow"))
    entry = place.prepare("b.img,discard")
    DISK.release(entry, place.owner)
    assert os.listdir(place.records) == []
    DISK.release(entry, place.owner)


# What is wrong with a file


def test_file_that_is_missing(place: Place) -> None:
    with place.refused(f"^ubd1: cannot read {place('none')}: No such file"):
        place.prepare("none")
    with place.refused(f"cannot read {place('none')}: No such file"):
        place.prepare("none,cow=new.cow")
    with place.refused(f"cannot read {place('none')}: No such file"):
        place.prepare("none,discard")
    with place.refused(f"cannot read {place('a.img')}/x: Not a directory"):
        place.prepare("a.img/x,ro")


def test_what_is_no_file(place: Place) -> None:
    os.mkfifo(place("fifo"))
    for option in ("", ",ro", ",discard", ",cow=new.cow", ",raw"):
        with place.refused("is a directory, and a disk is a file"):
            place.prepare(f"records{option}")
        with place.refused("neither a file nor a block device"):
            place.prepare(f"fifo{option}")
        with place.refused("neither a file nor a block device"):
            place.prepare(f"/dev/zero{option}")


def test_file_without_a_size(place: Place) -> None:
    path = place.write("empty", b"")
    for option in ("", ",ro", ",discard"):
        with place.refused(f"{path} is empty; `truncate -s 1G {path}` would give it a size"):
            place.prepare(f"empty{option}")


def test_file_that_cannot_be_read_or_written(place: Place) -> None:
    os.chmod(place("a.img"), 0o444)
    os.chmod(place("b.img"), 0)
    with as_nobody(place):
        with place.refused(
            r"cannot write .*/a.img: Permission denied; read-only or with a COW file "
        ):
            place.prepare("a.img")
        with place.refused(r"cannot read .*/b.img: Permission denied$"):
            place.prepare("b.img,ro")
        with place.refused(r"cannot read .*/b.img: Permission denied"):
            place.prepare("b.img,cow=new.cow")
        assert place.prepare("a.img,ro").kernel == f"ubd1r={place('a.img')}"


def test_read_only_file_system_is_named(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def opened(path: str, flags: int, *rest: Any) -> int:
        if flags & os.O_RDWR and path == place("a.img"):
            raise OSError(errno.EROFS, "Read-only file system")
        return real(path, flags, *rest)

    monkeypatch.setattr(os, "open", opened)
    with place.refused("cannot write .*: Read-only file system; read-only or with"):
        place.prepare("a.img")
    assert place.prepare("a.img,ro").problem == ""


def test_name_that_the_kernel_cannot_read(place: Place) -> None:
    with place.refused("511 bytes", UsageError):
        DISK.prepare(parse_disk("/a,discard"), 1, Owner("demo", "/" + "x" * 600, ""), ())


# What is wrong with a COW file


def test_cow_file_whose_backing_file_has_changed(place: Place) -> None:
    place.cow()
    when = os.stat(place("a.img")).st_mtime_ns
    os.utime(place("a.img"), ns=(when, when + 10**9))
    for text in ("a.cow", "a.img,cow=a.cow", "ubd1r=a.cow,a.img", "a.cow,ro"):
        with place.refused("a.cow does not fit its backing file: .*was changed after"):
            place.prepare(text)
    os.truncate(place("a.img"), 4096)
    os.utime(place("a.img"), ns=(when, when))
    for text in ("a.cow", "a.img,cow=a.cow"):
        with place.refused("does not fit .*has 4096 bytes now, and had 8192"):
            place.prepare(text)


def test_cow_file_of_another_backing_file(place: Place) -> None:
    place.cow()
    place.write("c.img", bytes(512))
    with place.refused("does not fit .*c.img has 512 bytes now"):
        place.prepare("c.img,cow=a.cow")


def test_cow_file_whose_backing_file_is_gone(place: Place) -> None:
    place.cow()
    os.unlink(place("a.img"))
    with place.refused(f"cannot read {place('a.img')}: No such file"):
        place.prepare("a.cow")


def test_cow_file_that_is_none(place: Place) -> None:
    with place.refused("b.img exists and is no COW file; take another name"):
        place.prepare("a.img,cow=b.img")
    with place.refused("cannot be its own backing file"):
        place.prepare("a.img,cow=a.img")
    os.symlink("nowhere", place("link"))
    with place.refused("cannot read .*/link: No such file"):
        place.prepare("a.img,cow=link")


def test_cow_file_with_a_bad_header(place: Place) -> None:
    place.write("bad.cow", b"OOOM\0\0\0\7" + bytes(5000))
    for text in ("bad.cow", "a.img,cow=bad.cow", "bad.cow,discard"):
        with place.refused("bad.cow is a COW file that no kernel takes: .*version 7.*`raw` would"):
            place.prepare(text)
    assert place.prepare("bad.cow,raw").kernel == f"ubd1d={place('bad.cow')}"


def test_backing_file_that_is_a_cow_file(place: Place) -> None:
    place.cow()
    for option in ("cow=new.cow", "discard"):
        with place.refused("a.cow is a COW file itself"):
            place.prepare(f"a.cow,{option}")


def test_cow_file_that_cannot_be_made(place: Place) -> None:
    with place.refused(f"no directory {place('none')} for the COW file"):
        place.prepare("a.img,cow=none/new.cow")
    os.chmod(place("a.img"), 0o644)
    with as_nobody(place), place.refused("cannot make the COW file .*new.cow: Permission denied"):
        if os.stat(place.path).st_uid == os.geteuid():
            os.chmod(place.path, 0o555)
        place.prepare("a.img,cow=new.cow")
    os.chmod(place.path, 0o755)


def test_cow_file_on_a_full_disk(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        f_bavail = 3
        f_frsize = 4096

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "statvfs", lambda _path: Full)
        for option in ("cow=new.cow", "discard"):
            with place.refused(r"has 12288 bytes free, and a COW file begins with \d+"):
                place.prepare(f"a.img,{option}")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        for option in ("cow=new.cow", "discard"):
            with place.refused("cannot make the COW file .*: No space left"):
                place.prepare(f"a.img,{option}")


# Who else uses a file


@pytest.mark.parametrize(
    ("theirs", "ours", "how"),
    [
        ("a.img", "a.img", "written"),
        ("a.img", "a.img,ro", "written"),
        ("a.img,ro", "a.img", "read"),
        ("a.img", "a.img,cow=new.cow", "written"),
        ("a.img", "a.img,discard", "written"),
        ("a.img,cow=a.cow", "a.img", "read"),
        ("a.img,cow=a.cow", "a.img,cow=a.cow", "written"),
        ("a.cow", "a.img,cow=a.cow", "written"),
        ("a.img,cow=a.cow", "a.cow", "written"),
        ("a.cow", "a.cow,raw,ro", "written"),
        ("a.img", "link", "written"),
        ("a.img", "hard", "written"),
    ],
)
def test_file_of_another_guest_is_not_destroyed(
    place: Place, theirs: str, ours: str, how: str
) -> None:
    place.cow()
    os.symlink("a.img", place("link"))
    os.link(place("a.img"), place("hard"))
    use = place.used(theirs)
    with place.refused(f"is {how} by other as its ubd3, "):
        place.prepare(ours, 1, use)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("a.img,ro", "a.img,ro"),
        ("a.img,ro", "a.img,discard"),
        ("a.img,discard", "a.img,cow=new.cow"),
        ("a.img,cow=a.cow", "a.img,ro"),
        ("a.cow", "a.img,discard"),
        ("ubd3r=a.cow,a.img", "a.cow,ro"),
        ("a.img", "b.img"),
        ("a.img", "a.img,shared"),
        ("a.img,shared", "a.img"),
        ("a.img,shared", "a.img,ro"),
    ],
)
def test_file_that_nobody_would_destroy_is_plugged(place: Place, theirs: str, ours: str) -> None:
    place.cow()
    assert place.prepare(ours, 1, place.used(theirs)).problem == ""


def test_disk_of_the_same_guest_is_in_use_too(place: Place) -> None:
    with place.refused("is written by demo as its ubd3"):
        place.prepare("a.img", 1, place.used("a.img", "demo"))


@pytest.mark.parametrize(
    ("kind", "text", "free"),
    [
        ("write", "a.img", False),
        ("write", "a.img,ro", False),
        ("write", "a.img,cow=new.cow", False),
        ("write", "a.cow", False),
        ("write", "a.img,shared", True),
        ("write", "b.img", True),
        ("read", "a.img", False),
        ("read", "a.img,ro", True),
        ("read", "a.img,discard", True),
    ],
)
def test_file_that_a_process_has_locked(place: Place, kind: str, text: str, free: bool) -> None:
    place.cow()
    with locked(place("a.img"), kind) as pid:
        if free:
            place.prepare(text)
        else:
            with place.refused(rf"a.img is locked by process {pid} \(python"):
                place.prepare(text)
    place.prepare(text)


def test_kernel_that_has_locked_a_file_is_named(place: Place) -> None:
    with (
        locked(place("a.img"), "write", "mem=64M", "umid=strange") as pid,
        place.refused(rf"a.img is locked by the guest strange \(pid {pid}\)"),
    ):
        place.prepare("a.img")


def test_file_behind_a_loop_device_is_not_written(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_list, real_open = os.listdir, open
    place.write("backing_file", os.fsencode(place("a.img")) + b"\n")

    def listing(path: str = ".") -> list[str]:
        return ["sda", "loop0", "loop7"] if path == "/sys/block" else real_list(path)

    def opened(path: str, *arguments: Any, **options: Any) -> IO[Any]:
        if path == "/sys/block/loop0/loop/backing_file":
            raise FileNotFoundError(path)
        if path == "/sys/block/loop7/loop/backing_file":
            path = place("backing_file")
        found: IO[Any] = real_open(path, *arguments, **options)
        return found

    monkeypatch.setattr(os, "listdir", listing)
    monkeypatch.setattr(builtins, "open", opened)
    with place.refused(r"a.img is behind /dev/loop7 of this host; unmount it and `losetup -d"):
        place.prepare("a.img")
    for text in ("a.img,ro", "a.img,shared", "a.img,discard", "b.img"):
        place.prepare(text)


def test_host_without_sysfs_has_no_loop_devices(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def listing(_path: str) -> list[str]:
        raise FileNotFoundError

    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", listing)
        assert place.prepare("a.img").problem == ""


# Block devices


def test_block_device_that_the_host_uses_is_not_for_a_guest(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mounted, say: two kernels would write one file system."""
    real = os.open
    asked: list[int] = []

    def opened(path: str, flags: int, *rest: Any) -> int:
        if path == place("a.img"):
            asked.append(flags)
            if flags & os.O_EXCL:
                raise OSError(errno.EBUSY, "Device or resource busy")
        return real(path, flags, *rest)

    monkeypatch.setattr(stat, "S_ISBLK", lambda _mode: True)
    monkeypatch.setattr(os, "open", opened)
    with place.refused("this host uses .*/a.img itself: it is mounted, swap or part of"):
        place.prepare("a.img")
    place.prepare("a.img,ro")
    place.prepare("a.img,shared")
    assert [bool(flags & os.O_EXCL) for flags in asked[:2]] == [True, False]


def test_disk_of_less_than_a_sector_is_refused(place: Place) -> None:
    with open(place("a.img"), "wb") as file:
        file.write(b"short")
    with place.refused("a.img is smaller than a sector"):
        place.prepare("a.img")


@pytest.mark.parametrize("letter", [",", ":"])
def test_state_directory_that_no_kernel_can_name_is_said_to_be_ours(
    place: Place, letter: str
) -> None:
    place.records += f"{letter}x"
    os.mkdir(place.records)
    with place.refused("a COW file to discard would be .*; set UMLCTL_DIR to a directory without"):
        place.prepare("a.img,discard")
    assert place.prepare("a.img").holds


# What an image holds


QCOW2 = b"QFI\xfb\0\0\0\3".ljust(8192, b"\0")


def test_what_a_guest_would_destroy_is_not_plugged_to_be_written(place: Place) -> None:
    path = place.write("q.qcow2", QCOW2)
    with place.refused(
        f"ubd1: {path} is a qcow2 image, which .* destroys; `qemu-img convert -O raw {path} .*` "
        "makes a disk of it; `ro` plugs it read-only, `raw` as it stands"
    ):
        place.prepare("q.qcow2")
    place.write("a.gz", b"\x1f\x8b\x08".ljust(8192, b"\0"))
    with place.refused("compressed with gzip"):
        place.prepare("a.gz")
    place.write("a.iso", bytes(32769) + b"CD001".ljust(4096, b"\0"))
    with place.refused("is an ISO 9660 file system, .* destroys; `ro` plugs it read-only"):
        place.prepare("a.iso")


@pytest.mark.parametrize("options", ["ro", "raw", "discard", "cow=new.cow"])
def test_what_no_guest_can_destroy_is_plugged_whatever_it_is(place: Place, options: str) -> None:
    place.write("q.qcow2", QCOW2)
    assert place.prepare(f"q.qcow2,{options}").holds


def test_what_a_guest_would_destroy_is_plugged_if_somebody_insists(place: Place) -> None:
    place.write("q.qcow2", QCOW2)
    asked = parse_disk("q.qcow2", place.path)
    assert DISK.prepare(asked, 1, place.owner, [], insist=True).holds


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (QCOW2, r"is a qcow2 image, and no kernel can have its root there; `qemu-img convert"),
        (b"\xfd7zXZ\0".ljust(8192, b"\0"), "compressed with xz, and no .*; `unxz -k"),
        (b"LUKS\xba\xbe".ljust(8192, b"\0"), "encrypted with LUKS, and no kernel"),
        (
            bytes(450) + b"\x83\0\0\0\0\x08\0\0\0\x08\0\0".ljust(60, b"\0") + b"\x55\xaa",
            "has partitions, and .* whole disk; say which: `-- root=/dev/ubda1`",
        ),
    ],
)
def test_root_that_no_kernel_can_mount_is_said(place: Place, data: bytes, said: str) -> None:
    place.write("root.img", data)
    with place.refused(said):
        disk.check_root(place("root.img"))
    place.cow("root.cow", "root.img")
    with place.refused(said):
        disk.check_root(place("root.cow"))


def test_root_that_may_be_one_is_left_to_the_kernel(place: Place) -> None:
    os.mkfifo(place("fifo"))
    for name in ("a.img", "fifo", "missing", "."):
        disk.check_root(place(name))
    place.write("broken.cow", b"OOOM\0\0\0\x09")
    disk.check_root(place("broken.cow"))


# What a reboot opens again


def remade(place: Place, name: str, size: int = 8192) -> None:
    """Another file by the same name, which ext4 gives the inode of the one that was there."""
    os.unlink(place(name))
    place.write(name, bytes(size))


def test_file_that_was_removed_and_made_anew_is_another(place: Place) -> None:
    entry = place.prepare("a.img")
    DISK.renew(entry, 0)
    remade(place, "a.img")
    with pytest.raises(HostError, match=r"ubd1: another file was put in the place of .*a\.img"):
        DISK.renew(entry, 0)


def test_inode_that_is_used_again_is_another_file(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = place("a.img"), place("b.img")
    use = place.used("a.img")
    found = use.entry.holds[0]
    monkeypatch.setattr(
        disk,
        "hold_of",
        lambda path, write: structs.replace(found, path=path, born=found.born + 1, write=write),
    )
    assert place.prepare(other, 1, use).holds
    with place.refused("is written by other as its ubd3"):  # it is opened by its path
        place.prepare(one, 1, use)


def test_file_whose_birth_nobody_knows_is_told_by_its_inode(place: Place) -> None:
    entry = place.prepare("a.img")
    entry.holds = [structs.replace(entry.holds[0], born=0)]  # of an older umlctl
    DISK.renew(entry, 0)
    use = Use("other", entry)
    os.link(place("a.img"), place("c.img"))
    with place.refused("is written by other"):
        place.prepare("c.img", 1, use)


@pytest.mark.parametrize(("size", "said"), [(0, "is empty"), (511, "is smaller than a sector")])
def test_file_that_was_emptied_is_said_as_when_it_is_added(
    place: Place, size: int, said: str
) -> None:
    entry = place.prepare("a.img")
    os.truncate(place("a.img"), size)
    with pytest.raises(HostError, match=f"ubd1: .*a.img {said}"):
        DISK.renew(entry, 0)


# What has become of a file


def test_files_as_they_were_need_no_note(place: Place) -> None:
    place.cow()
    for text in ("a.img", "a.cow", "b.img,discard", "b.img,ro"):
        entry = place.prepare(text)
        entry.observed = {"size": 8192}
        assert DISK.note(entry) == ""


def test_file_that_shrank_or_went_is_noted(place: Place) -> None:
    entry = place.prepare("a.img")
    entry.observed = {"size": 8192}
    os.truncate(place("a.img"), 1 << 20)
    assert DISK.note(entry) == ""
    os.truncate(place("a.img"), 4096)
    assert DISK.note(entry) == (
        f"{place('a.img')} has 4096 bytes now; the guest reads zeros beyond them"
    )
    entry.observed = None
    assert DISK.note(entry) == ""
    remade(place, "a.img")
    assert DISK.note(entry) == f"another file was put in the place of {place('a.img')}"
    os.unlink(place("a.img"))
    assert DISK.note(entry) == f"{place('a.img')} is gone: No such file or directory"


def test_backing_file_that_shrank_is_noted_and_a_short_cow_file_is_not(place: Place) -> None:
    entry = place.prepare("a.img,cow=new.cow")
    entry.observed = {"size": 8192}
    os.truncate(place("new.cow"), 8192)
    assert DISK.note(entry) == ""
    os.truncate(place("a.img"), 512)
    assert "a.img has 512 bytes now" in DISK.note(entry)
