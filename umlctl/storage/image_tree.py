"""What goes into an image: a tree of this host, an archive of one, or a busybox with an init.

The tree is a directory of an ordinary user's. Who owns what in the image, and when it changed, is
beside it.
"""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
from typing import TYPE_CHECKING, Final, NamedTuple

from umlctl.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Iterator

DIRECTORIES: Final = ("bin", "dev", "etc", "mnt", "proc", "root", "run", "sbin", "sys", "tmp")
"""Of an image with a busybox."""
INIT: Final = """\
#!/bin/busybox sh
# The first process: what can be mounted, a shell on the console, and a shutdown by Ctrl-Alt-Del.
export PATH=/bin:/sbin
/bin/busybox mount -o remount,rw /
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev 2>/dev/null
/bin/busybox mount -t tmpfs tmpfs /run
/bin/busybox mount -t tmpfs tmpfs /tmp
/bin/busybox --install -s /bin 2>/dev/null
[ -e /etc/hostname ] && /bin/busybox hostname -F /etc/hostname
down() {
  trap '' INT TERM
  /bin/busybox umount -r / 2>/dev/null
  /bin/busybox sync
  /bin/busybox poweroff -f
}
trap down INT TERM
echo 0 >/proc/sys/kernel/ctrl-alt-del
[ -e /proc/mconsole ] && echo up >/proc/mconsole
while :; do
  /bin/busybox setsid /bin/busybox cttyhack /bin/busybox sh -l </dev/console >/dev/console 2>&1 &
  wait $!
done
"""


class Node(NamedTuple):
    """One file, directory or link.

    Fields:
        path: in the image, with a '/' before it
        mode: with its kind
        uid, gid: of its owner there
        mtime: seconds since 1970
    """

    path: str
    mode: int
    uid: int
    gid: int
    mtime: int


def of_directory(tree: str, epoch: int | None) -> list[Node]:
    """What is in a tree. What is the caller's is root's in the image.

    epoch: what nothing is newer than; None: no bound

    Raises: HostError, OSError
    """
    found = []
    mine = os.geteuid()
    for path in _walk(tree):
        status = os.lstat(tree + path)
        own = mine and status.st_uid == mine
        uid, gid = (0, 0) if own else (status.st_uid, status.st_gid)
        mtime = _bounded(status.st_mtime, epoch)
        found.append(Node(path, status.st_mode, uid, gid, mtime))
    return found


def _bounded(mtime: float, epoch: int | None) -> int:
    moment = max(0, int(mtime))
    return moment if epoch is None else min(moment, epoch)


def _walk(tree: str) -> Iterator[str]:
    yield "/"
    for above, directories, files in os.walk(tree):
        inside = above.removeprefix(tree)
        for name in sorted([*directories, *files]):
            path = f"{inside}/{name}"
            if set(path) & set('"\n\r') or not path.isprintable():
                raise HostError(f"{path!r} has a letter that debugfs does not take")
            yield path


def from_archive(path: str, tree: str, epoch: int | None) -> tuple[list[Node], int]:
    """Unpack an archive of a tree into an empty directory.

    Returns: what is in it, and how many devices were left out, which a guest's kernel makes
    Raises: HostError, OSError
    """
    known: dict[str, tarfile.TarInfo] = {}
    left = 0
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                if member.ischr() or member.isblk():
                    left += 1
                    continue
                inside = _inside(member.name)
                _unpack(archive, member, tree, inside)
                known[inside or "/"] = member
    except (tarfile.TarError, EOFError, ValueError) as problem:
        raise HostError(f"{path} cannot be unpacked: {problem}") from problem
    return [
        _as_known(node, known.get(node.path), epoch) for node in of_directory(tree, epoch)
    ], left


def _as_known(node: Node, member: tarfile.TarInfo | None, epoch: int | None) -> Node:
    """A file as its archive has it."""
    if member is None or member.islnk():
        return node
    kind = stat.S_IFMT(node.mode)
    mode = kind | (member.mode & 0o7777 if kind != stat.S_IFLNK else 0o777)
    return Node(node.path, mode, member.uid, member.gid, _bounded(member.mtime, epoch))


def _inside(name: str) -> str:
    """A path of an archive, with a '/' before it; empty for the tree itself.

    Raises: ValueError: it leads out of the tree
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ValueError(f"{name!r} leads out of it")
    return "".join(f"/{part}" for part in parts)


def _unpack(archive: tarfile.TarFile, member: tarfile.TarInfo, tree: str, inside: str) -> None:
    """Unpack one file. What is unpacked can be read by who copies it.

    Raises: ValueError: it leads out of the tree, maybe by a link; OSError
    """
    place = tree + inside
    _check_within(tree, os.path.dirname(place) if inside else place, inside)
    if member.isdir():
        if not os.path.isdir(place) or os.path.islink(place):
            os.mkdir(place)
        os.chmod(place, member.mode & 0o777 | 0o700)
        return
    os.makedirs(os.path.dirname(place), exist_ok=True)
    if os.path.lexists(place):
        os.unlink(place)
    if member.issym():
        os.symlink(member.linkname, place)
    elif member.islnk():
        target = tree + _inside(member.linkname)
        _check_within(tree, os.path.dirname(target), inside)
        os.link(target, place, follow_symlinks=False)
    elif member.isfifo():
        os.mkfifo(place, 0o600)
    else:
        reader = archive.extractfile(member)
        assert reader is not None
        with open(place, "xb") as file:
            shutil.copyfileobj(reader, file)
        os.chmod(place, member.mode & 0o777 | 0o600)


def _check_within(tree: str, directory: str, inside: str) -> None:
    """Raises: ValueError"""
    top = os.path.realpath(tree)
    if os.path.commonpath([top, os.path.realpath(directory)]) != top:
        raise ValueError(f"{inside!r} leads out of it, by a link")


def busybox(tree: str, hostname: str, epoch: int | None) -> list[Node]:
    """Make a tree of this host's busybox and an init, in an empty directory.

    Raises: HostError, OSError
    """
    program = shutil.which("busybox")
    if program is None:
        raise HostError("there is no busybox here: apt install busybox-static")
    with open(program, "rb") as file:
        if b"/ld-linux" in file.read(4096):
            raise HostError(f"{program} needs libraries: apt install busybox-static")
    os.chmod(tree, 0o755)  # noqa: S103 - it is the root of the image
    for name in DIRECTORIES:
        os.mkdir(f"{tree}/{name}", 0o755)
        os.chmod(f"{tree}/{name}", 0o755)  # noqa: S103
    shutil.copyfile(program, f"{tree}/bin/busybox")
    os.symlink("busybox", f"{tree}/bin/sh")
    texts = {
        "sbin/init": INIT,
        "etc/hostname": f"{hostname}\n",
        "etc/passwd": "root::0:0:root:/root:/bin/sh\n",
        "etc/group": "root:x:0:\n",
        "etc/fstab": "/dev/ubda / ext4 defaults 0 1\n",
    }
    for name, text in texts.items():
        with open(f"{tree}/{name}", "x") as made:
            made.write(text)
        os.chmod(f"{tree}/{name}", 0o755 if name == "sbin/init" else 0o644)
    os.chmod(f"{tree}/bin/busybox", 0o755)  # noqa: S103
    moment = _bounded(os.stat(program).st_mtime, epoch)
    return [each._replace(uid=0, gid=0, mtime=moment) for each in of_directory(tree, epoch)]
