"""A disk of an xl file: `TARGET,FORMAT,VDEV,ACCESS`, and the older `file:PATH,VDEV,MODE`. Pure.

Source: xl-disk-configuration(5), xen-vbd-interface(7)
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

FORMATS: Final = ("raw", "qcow", "qcow2", "vhd", "qed")
ACCESS: Final = {"r": True, "ro": True, "w": False, "rw": False, "w!": False, "r!": True}
"""The words for whether a disk can be written, each with whether it is read-only."""
POSITIONS: Final = ("target", "format", "vdev", "access")
FLAGS: Final = ("cdrom", "discard", "no-discard", "direct-io-safe", "colo")
PREFIXES: Final = ("phy", "file", "tap", "tap2", "tapdisk", "aio", "ioemu", "raw")
"""What stands before a path in the older form and says nothing of use here."""
SCRIPTS: Final = ("iscsi", "nbd", "enbd", "drbd")
"""What stands there and has a script find the disk."""
_OLD: Final = re.compile(r"(?:[\w-]+:)*[^,]*,[^,=]+,(?:r|w|ro|rw|w!|r!)", re.DOTALL)
_KEY: Final = re.compile(r"([A-Za-z][\w-]*)=(.*)", re.DOTALL)
_MAJORS: Final = {
    3: ("hd", 0, 6),
    8: ("sd", 0, 4),
    22: ("hd", 2, 6),
    33: ("hd", 4, 6),
    34: ("hd", 6, 6),
    202: ("xvd", 0, 4),
}
"""Linux' device numbers: the name of a family, the first letter, and bits of a partition."""
_EXTENDED: Final = 1 << 28
MAX_NUMBER: Final = 1 << 32


class XenDisk(NamedTuple):
    """A disk of a domain.

    Fields:
        target: the file or device; empty: a drive without a disk
        vdev: what the domain calls it: hda, xvdb1; of small numbers xbd0, as NetBSD does
        readonly, trim: as asked for
        strange: words that say something else
    """

    target: str
    vdev: str
    readonly: bool
    trim: bool = True
    strange: tuple[str, ...] = ()


def parse(text: str) -> XenDisk:
    """Read a disk.

    Raises: ValueError: what is wrong
    """
    if _OLD.fullmatch(text.strip()):
        return _old(text.strip())
    found, strange = _fields(text)
    format_ = found.get("format") or "raw"
    if format_ not in FORMATS:
        raise ValueError(f"{format_!r} is no format of a disk")
    if format_ != "raw":
        raise ValueError(
            f"its format is {format_}, and UML has raw images and COW files: "
            f"`qemu-img convert -O raw` makes one"
        )
    if found.get("script"):
        raise ValueError(f"the script {found['script']} would find it")
    access = found.get("access", "")
    if access and access not in ACCESS:
        raise ValueError(f"{access!r} is neither r nor w")
    is_cd = found.get("devtype") == "cdrom"
    return XenDisk(
        _in_dev(found.get("target", "")),
        device_name(found.get("vdev", "")),
        ACCESS.get(access, is_cd),
        "no-discard" not in found,
        tuple(strange),
    )


def _fields(text: str) -> tuple[dict[str, str], list[str]]:
    """The parameters by their names, and those that say nothing of use.

    Raises: ValueError
    """
    found: dict[str, str] = {}
    strange = []
    rest = text
    while rest:
        rest = rest.lstrip()
        if rest.startswith("target="):
            found["target"] = rest.removeprefix("target=")  # the whole rest, commas and all
            break
        word, _, rest = rest.partition(",")
        named = _KEY.fullmatch(word)
        if named and named[1] in (*POSITIONS, "devtype", "script"):
            if found.get(named[1]):
                raise ValueError(f"{named[1]} is given twice")
            found[named[1]] = named[2]
        elif named and not word.startswith("/"):
            strange.append(word)
        elif word == "cdrom":
            found["devtype"] = word
        elif word in FLAGS:
            found[word] = word
            strange += [word] if word == "colo" else []
        else:
            name = next((each for each in POSITIONS if each not in found), "")
            if not name:
                raise ValueError(f"{word!r} is one word too many")
            found[name] = word
    return found, strange


def _old(text: str) -> XenDisk:
    """The older form.

    Raises: ValueError
    """
    target, vdev, access = text.split(",")
    while True:
        prefix, colon, rest = target.partition(":")
        if not colon or "/" in prefix:
            break
        if prefix in SCRIPTS:
            raise ValueError(f"a script of Xen's would find it, by {prefix}:")
        if prefix in FORMATS[1:]:
            raise ValueError(
                f"its format is {prefix}, and UML has raw images and COW files: "
                f"`qemu-img convert -O raw` makes one"
            )
        if prefix not in PREFIXES:
            break
        target = rest
    name, _, kind = vdev.strip().removeprefix("ioemu:").partition(":")
    strange = (kind,) if kind not in ("", "cdrom", "disk") else ()
    return XenDisk(_in_dev(target), device_name(name), ACCESS[access], strange=strange)


def _in_dev(target: str) -> str:
    return target if target.startswith("/") or not target else f"/dev/{target}"


def device_name(text: str) -> str:
    """The name of a disk as a guest's `root=` has it: hda1 of 0x301, xbd1 of 1.

    Raises: ValueError
    """
    text = text.strip().removeprefix("/dev/")
    number = number_of(text)
    if number is None:
        return text
    if number < 1 << 8:
        return f"xbd{number}"
    if number & _EXTENDED:
        disk, partition = (number ^ _EXTENDED) >> 8, number & 0xFF
        return _lettered("xvd", disk, partition)
    major, minor = number >> 8, number & 0xFF
    if major not in _MAJORS:
        raise ValueError(f"{text} is no number of a disk")
    family, first, bits = _MAJORS[major]
    return _lettered(family, first + (minor >> bits), minor & ((1 << bits) - 1))


def _lettered(family: str, disk: int, partition: int) -> str:
    if disk > 25:
        raise ValueError(f"there is no disk {disk} of {family}")
    return f"{family}{chr(ord('a') + disk)}{partition or ''}"


def number_of(text: str) -> int | None:
    """A number as C has it: 10, 0x10 or 010; None: it is none."""
    if not (text.isascii() and re.fullmatch(r"0[xX][0-9A-Fa-f]{1,8}|[0-9]{1,10}", text)):
        return None
    base = 16 if text[:2].lower() == "0x" else 8 if text[0] == "0" else 10
    try:
        number = int(text, base)
    except ValueError:  # an 8 or 9 behind a 0
        return None
    return number if number < MAX_NUMBER else None
