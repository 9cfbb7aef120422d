"""What keeps an image from being the root of a guest, as far as its files say."""

from __future__ import annotations

import re
from typing import Final

from umlctl.storage import ext4, images

INITS: Final = ("/sbin/init", "/etc/init", "/bin/init", "/bin/sh")
"""What a kernel tries as its first process, in this order."""
SYSTEMD: Final = ("/lib/systemd/systemd", "/usr/lib/systemd/systemd")
OTHER_DISK: Final = re.compile(r"/dev/(?:[shv]d[a-z]|nvme|mmcblk|xvd)\w*")
_CONSOLE: Final = re.compile(r"^[^#]*\b(?:tty0|console|/bin/sh|askfirst|respawn)", re.MULTILINE)


def problems(path: str) -> list[str]:
    """What is wrong with an image, in words; nothing if it can be a root.

    Raises: HostError, OSError
    """
    found = images.read(path)
    if found is None or found.kind != images.FILE_SYSTEM:
        what = found.what if found else "nothing that is known"
        return [f"it is {what}, and no file system that a kernel mounts whole"]
    if "ext" not in found.what:
        return []  # nothing here reads it
    said = []
    if not any(ext4.exists(path, name) for name in INITS):
        said.append(f"it has no init: none of {', '.join(INITS)}")
    fstab = (ext4.contents(path, "/etc/fstab") or b"").decode("utf-8", "replace")
    for line in fstab.splitlines():
        words = line.split("#")[0].split()
        if words and OTHER_DISK.match(words[0]):
            said.append(f"/etc/fstab mounts {words[0]}, and disks are /dev/ubda to ubdp here")
    inittab = ext4.contents(path, "/etc/inittab")
    has_systemd = any(ext4.exists(path, name) for name in SYSTEMD)
    if inittab and not has_systemd and not _CONSOLE.search(inittab.decode("utf-8", "replace")):
        said.append("/etc/inittab has no getty on tty0, and nobody can log in on the console")
    return said
