"""What keeps an image from being the root of a guest, as far as its files say."""

from __future__ import annotations

import re
from typing import Final

from umlctl.protocol.command_lines import SHELL_DEVICE
from umlctl.storage import ext4, images

INITS: Final = ("/sbin/init", "/etc/init", "/bin/init", "/bin/sh")
"""What a kernel tries as its first process, in this order."""
SYSTEMD: Final = ("/lib/systemd/systemd", "/usr/lib/systemd/systemd")
OTHER_DISK: Final = re.compile(r"/dev/(?:[shv]d[a-z]|nvme|mmcblk|xvd)\w*")
WANTS: Final = "/etc/systemd/system/getty.target.wants"
"""Names the consoles that systemd has a login on."""
SHELL_UNIT: Final = "/etc/systemd/system/umlctl.service"
"""Has systemd begin what `umlctl exec GUEST` runs."""
_CONSOLE: Final = re.compile(r"^[^#]*\b(?:tty0|console|/bin/sh|askfirst|respawn)", re.MULTILINE)
_NIC: Final = re.compile(r"^\s*(auto|allow-hotplug|iface)\s+(.*)", re.MULTILINE)


def problems(path: str, release: str = "") -> list[str]:
    """What is wrong with an image, in words; nothing if it can be a root.

    release: of the kernel that it is to have, as `uname -r` says it; empty: not known

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
    for line in _text(path, "/etc/fstab").splitlines():
        words = line.split("#")[0].split()
        if words and OTHER_DISK.match(words[0]):
            said.append(f"/etc/fstab mounts {words[0]}, and disks are /dev/ubda to ubdp here")
    return [*said, *_consoles(path), *_network(path), *_modules(path, release)]


def _consoles(path: str) -> list[str]:
    """What is amiss with the login on the console, and with the shell that begins commands."""
    inittab = _text(path, "/etc/inittab")
    if any(ext4.exists(path, name) for name in SYSTEMD):
        has_login = ext4.exists(path, f"{WANTS}/getty@tty0.service")
        has_shell = ext4.exists(path, SHELL_UNIT)
        how = f"`ln -s /lib/systemd/system/getty@.service {WANTS}/getty@tty0.service`"
        where = f"it has no {SHELL_UNIT}"
    elif inittab:
        has_login = bool(_CONSOLE.search(inittab))
        has_shell = SHELL_DEVICE in inittab
        how = "`1:2345:respawn:/sbin/getty 38400 tty0` in /etc/inittab"
        where = f"/etc/inittab has no `um:2345:respawn:/bin/sh {SHELL_DEVICE}`"
    else:
        return []
    said = []
    if not has_login:
        said.append(f"it has no getty on tty0, and nobody can log in on the console: {how}")
    if not has_shell:
        said.append(f"nothing begins what `umlctl exec` runs in its guests: {where}")
    return said


def _network(path: str) -> list[str]:
    """What is amiss where an interface is set up that has another name here."""
    places = ["/etc/network/interfaces"]
    above = "/etc/network/interfaces.d"
    places += [f"{above}/{name}" for name in ext4.names(path, above)]
    lines = [line for each in places for line in _NIC.findall(_text(path, each))]
    told = {
        name for word, names in lines for name in names.split()[: 1 if word == "iface" else None]
    }
    set_up = {names.split()[0] for word, names in lines if word == "iface" and names.split()}
    said = [
        f"/etc/network brings {name} up, and has no `iface {name}`"
        for name in sorted(told - set_up)
        if not name.startswith("/")
    ]
    others = sorted(set_up - {"lo"})
    if others and not any(name.startswith("vec") for name in set_up):
        said.append(f"/etc/network sets up {', '.join(others)}, and NICs are vec0 and so on here")
    return said


def _modules(path: str, release: str) -> list[str]:
    there = ext4.names(path, "/lib/modules") or ext4.names(path, "/usr/lib/modules")
    if not release or not there or release in there:
        return []
    known = ", ".join(there)
    return [f"/lib/modules has {known}, and not {release}; `umlctl image modules` puts that in"]


def _text(path: str, inside: str) -> str:
    return (ext4.contents(path, inside) or b"").decode("utf-8", "replace")
