"""What was read of another system's guest: what is carried over, and what is not, with reasons."""

from __future__ import annotations

from os.path import join, normpath
from typing import TYPE_CHECKING, Final, NamedTuple

from umlctl.errors import UsageError
from umlctl.guest import specs
from umlctl.guest.options import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Iterable

    from umlctl.guest.specs import Disk, Nic

MAX_ITEMS: Final = 256
"""How much of one guest is read: more is no guest that somebody wrote."""
MAX_SHOWN: Final = 100
"""How much of a text is shown, characters."""


class Item(NamedTuple):
    """One thing that is carried over.

    Fields:
        key: of a definition
        value: of that key; of one that takes a list, one of its texts
        at: where it was given: FILE:LINE, or `argument 3`
        given: what was given there, fit to be shown
    """

    key: str
    value: str | int | bool
    at: str
    given: str


class Left(NamedTuple):
    """One thing that is not carried over, or not as it was.

    Fields:
        at, given: as of an Item
        why: the reason
        instead: what to use here; empty: there is nothing to be done
        changed: something like it was carried over
    """

    at: str
    given: str
    why: str
    instead: str = ""
    changed: bool = False

    def __str__(self) -> str:
        what = "not the same here" if self.changed else "not carried over"
        said = [self.at, self.given, what, self.why]
        more = f"; {self.instead}" if self.instead else ""
        return one_line(": ".join(filter(None, said)) + more)


class Reading:
    """A guest of another system.

    Fields:
        base: the directory that relative paths are taken from
        name: as it was called there; empty: it had none
        items, left: what is carried over, and what is not
    """

    def __init__(self, base: str) -> None:
        self.base = base
        self.name = ""
        self.items: list[Item] = []
        self.left: list[Left] = []

    def carry(self, key: str, value: str | int | bool, at: str, given: str) -> None:
        """Carry something over; of a key that takes one value, the last one counts.

        Raises: UsageError: it is too much
        """
        if not BY_NAME[key].many:
            for earlier in [each for each in self.items if each.key == key]:
                self.items.remove(earlier)
                self.leave(earlier.at, earlier.given, "it is given again later, and that counts")
        self.items.append(Item(key, value, at, shown(given)))
        if len(self.items) + len(self.left) > MAX_ITEMS:
            raise UsageError(
                f"{at}: {shown(given)}: this is more than the {MAX_ITEMS} things that one guest "
                "can have; is it the right file?"
            )

    def leave(
        self, at: str, given: str, why: str, instead: str = "", *, changed: bool = False
    ) -> None:
        """Leave something behind.

        Raises: UsageError: it is too much
        """
        self.left.append(Left(at, shown(given), why, instead, changed))
        if len(self.left) > MAX_ITEMS:
            raise UsageError(
                f"{at}: {shown(given)}: more than {MAX_ITEMS} things have no counterpart; is it "
                "the right file?"
            )

    def path(self, text: str) -> str:
        """A path that begins with '/'."""
        return normpath(join(self.base or "/", text))

    def carry_disk(self, disk: Disk, at: str, given: str, *, is_root: bool) -> None:
        """Carry a disk over: as the root, or beside it."""
        try:
            text = disk_text(disk)
        except UsageError as problem:
            self.leave(at, given, str(problem))
        else:
            self.carry("root" if is_root else "disk", text, at, given)

    def carry_nic(self, nic: Nic, at: str, given: str) -> None:
        """Carry a NIC over, if it is one."""
        text = str(nic)
        try:
            if specs.parse_nic(text) != nic:
                raise UsageError(f"{shown(text)!r} would be read as another")
        except UsageError as problem:
            self.leave(
                at, given, f"it cannot be a NIC: {problem}", "`umlctl nic add` has the words"
            )
        else:
            self.carry("nic", text, at, given)

    def carry_words(self, words: Iterable[str], at: str, given: str) -> None:
        """Carry kernel arguments over."""
        for word in words:
            self.carry("append", word, at, given)


def disk_text(disk: Disk) -> str:
    """A disk in the words of `--disk`.

    Raises: UsageError: it cannot be said in them
    """
    disk.device(disk.slot or 0, disk.cow)
    text = str(disk)
    if specs.parse_disk(text) != disk:
        raise UsageError(f"{text!r} would be read as another disk")
    return text


def shown(text: str) -> str:
    """A foreign text as it can be shown: on one line, and no longer than that."""
    plain = one_line(text)
    return plain if len(plain) <= MAX_SHOWN else f"{plain[:MAX_SHOWN]}..."


def one_line(text: str) -> str:
    """A foreign text without what a terminal might obey."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def kernel_words(line: str) -> list[str]:
    """The words of a kernel's command line, as the kernel splits it: not between two '"'."""
    found: list[str] = []
    word = ""
    quoted = False
    for c in line + " ":
        if c.isspace() and not quoted:
            found += [word] if word else []
            word = ""
        else:
            quoted ^= c == '"'
            word += c
    return found + ([word.rstrip()] if word.strip() else [])
