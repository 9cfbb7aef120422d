"""The disks of an xl file, and which of them is the root. Pure.

A domain is told by `root=` which disk that is, by the name that the disk has there: xvda1, hda, or
xbd0 where NetBSD counts them. Here the root is always ubd0.
Source: xl.cfg(5), xen-vbd-interface(7)
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from umlctl.guest import specs
from umlctl.guest.readers.reading import shown

if TYPE_CHECKING:
    from umlctl.guest.readers.reading import Reading
    from umlctl.guest.readers.xl_disk import XenDisk

DEVICE: Final = re.compile(r"((?:xvd|hd|sd)[a-z]|xbd\d{1,3}|ubd(?:[a-p]|\d{1,2}))(\d{0,3})([a-p]?)")
"""A disk, the number of a partition of Linux, and the letter of one of BSD."""
COUNTED: Final = ("xbd", "ubd")


class Disks:
    """The disks that were found.

    Fields:
        result: where they are carried over to
        found: each with its place and its text
        boots: which of them is the root
    """

    def __init__(self, result: Reading) -> None:
        self.result = result
        self.found: list[tuple[XenDisk, str, str]] = []
        self.boots = 0

    def choose(self, root: str, at: str, given: str) -> None:
        """Have the disk be the root that `root` names, with what follows its name; or the first."""
        words = root.split()
        self.result.carry_words(words[1:], at, given)
        index, part, letter = self._named(words[0]) if words else (0, "", "")
        if index is None:
            what = "it is the first disk" if self.found else 'root = "host" is this machine itself'
            self.result.leave(at, given, f"no disk is {shown(words[0])}", what, changed=True)
            return
        self.boots = index
        if part:
            self.result.carry("append", f"root=/dev/ubda{part}", at, given)
        if letter:
            why = "Linux takes no partition letters of BSD"
            instead = "it is the whole disk; root=/dev/ubda1 in `append` is a part of it"
            self.result.leave(at, given, why, instead)

    def carry(self) -> None:
        """Carry the disks over."""
        for index, (disk, at, given) in enumerate(self.found):
            asked = specs.Disk(
                file=self.result.path(disk.target), readonly=disk.readonly, no_trim=not disk.trim
            )
            self.result.carry_disk(asked, at, given, is_root=index == self.boots)

    def name_root(self, word: str, at: str, given: str) -> None:
        """Carry over a `root=` among the kernel's arguments."""
        index, part, _ = self._named(word.removeprefix("root="))
        if index is None:
            self.result.carry("append", word, at, given)
        elif part or index != self.boots:
            slot = 0 if index == self.boots else index + (index < self.boots)
            self.result.carry("append", f"root=/dev/ubd{chr(ord('a') + slot)}{part}", at, given)

    def _named(self, name: str) -> tuple[int | None, str, str]:
        """Which disk a name means, with the partitions of Linux and of BSD in it; None: none."""
        name = name.removeprefix("/dev/")
        names = [disk.vdev for disk, _, _ in self.found]
        if name in names:
            return names.index(name), "", ""
        device = DEVICE.fullmatch(name)
        if device is None:
            return None, "", ""
        return self._index(device[1], names), device[2], device[3]

    def _index(self, name: str, names: list[str]) -> int | None:
        if name in names:
            return names.index(name)
        if not name.startswith(COUNTED):
            return None
        counted = name[3:]
        index = int(counted) if counted.isdigit() else ord(counted) - ord("a")
        return index if index < len(names) else None
