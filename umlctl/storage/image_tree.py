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
echo 0 >/proc/sys/kernel/ctrl-alt-del
[ -e /etc/hostname ] && /bin/busybox hostname -F /etc/hostname
down() {
  /bin/busybox umount -r / 2>/dev/null
  /bin/busybox sync
  /bin/busybox poweroff -f
}
trap down INT TERM
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
                if member.isdev():
                    left += not member.isfifo()
                    continue
                known[f"/{os.path.normpath(member.name).strip('/')}"] = member
                archive.extract(member, tree, set_attrs=True, filter=_filtered)
    except (tarfile.TarError, EOFError, ValueError) as problem:
        raise HostError(f"{path} cannot be unpacked: {problem}") from problem
    nodes = []
    for node in of_directory(tree, epoch):
        found = known.get("/." if node.path == "/" else node.path)
        if found is not None:
            kind = stat.S_IFMT(node.mode)
            mtime = _bounded(found.mtime, epoch)
            mode = kind | (found.mode & 0o7777 if kind != stat.S_IFLNK else 0o777)
            node = Node(node.path, mode, found.uid, found.gid, mtime)  # noqa: PLW2901
        nodes.append(node)
    return nodes, left


def _filtered(member: tarfile.TarInfo, directory: str) -> tarfile.TarInfo | None:
    """Nothing outside of the directory; and what is unpacked can be read by who copies it."""
    found = tarfile.tar_filter(member, directory)
    more = 0o700 if found.isdir() else 0o600
    mode = (found.mode or 0) | more
    return found.replace(mode=mode, deep=False)


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
