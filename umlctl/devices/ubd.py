"""Block devices: what stands behind `ubd` in `config` and on the kernel command line.

    ubd<n><flags>=<file>[,<backing>][,<serial>]

n is 0-15 or a-p; ',' and ':' both separate, so no path can hold either; flags are r read-only,
s synchronous, d no COW detection, c no locking, t no discard. d, c and t of a `config` that failed
stay set for the slot until a device is added and removed there: what cannot work is refused here.
Source: ubd_setup_common in arch/um/drivers/ubd_kern.c
"""

from __future__ import annotations

from os.path import abspath, join

from umlctl.devices import check_request
from umlctl.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final


SLOTS: Final = 16
NULL_FILE: Final = "/dev/null"
"""The file behind ubd0 of a guest without one: a disk of no size."""
FLAGS: Final = "rsdct"


class Ubd:
    """One block device.

    Fields:
        slot: 0-15
        flags: of "rsdct", in the order given
        files: the file; or the COW file and its backing file; then, maybe, the serial number
    """

    __slots__ = ("files", "flags", "slot")

    def __init__(self, slot: int, flags: str, files: tuple[str, ...]) -> None:
        self.slot = slot
        self.flags = flags
        self.files = files

    def __str__(self) -> str:
        return f"{self.name}{self.flags}={','.join(self.files)}"

    def __repr__(self) -> str:
        return f"Ubd({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Ubd):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[object, ...]:
        return self.slot, frozenset(self.flags), self.files[0], self.backing, self.serial

    @property
    def name(self) -> str:
        """The name that `remove` and the query take: ubd3."""
        return f"ubd{self.slot}"

    @property
    def letter(self) -> str:
        return chr(ord("a") + self.slot)

    @property
    def block(self) -> str:
        """The name in the guest's /dev and /sys/block: ubdd."""
        return f"ubd{self.letter}"

    @property
    def writable(self) -> bool:
        return "r" not in self.flags

    @property
    def sync(self) -> bool:
        """Whether writes reach the host's disk before they are answered."""
        return "s" in self.flags

    @property
    def shared(self) -> bool:
        """Whether the kernel leaves the file unlocked."""
        return "c" in self.flags

    @property
    def trim(self) -> bool:
        """Whether discards of the guest punch holes into the file."""
        return "t" not in self.flags

    @property
    def detect(self) -> bool:
        """Whether a file with a COW header is taken as a COW file."""
        return "d" not in self.flags

    @property
    def cow(self) -> str:
        """The COW file of a pair; empty with one file."""
        return self.files[0] if self.backing else ""

    @property
    def backing(self) -> str:
        """The backing file of a pair; empty with one file."""
        return self.files[1] if len(self.files) > 1 else ""

    @property
    def serial(self) -> str:
        return self.files[2] if len(self.files) > 2 else ""

    def absolute(self, base: str) -> Ubd:
        """The same device with its paths taken from the directory `base`."""
        files = tuple(
            abspath(join(base, path)) if index < 2 and path and not path.startswith("/") else path
            for index, path in enumerate(self.files)
        )
        return Ubd(self.slot, self.flags, files)

    def answers(self, text: str) -> bool:
        """Whether this is the device of which the kernel's query says `text`.

        The kernel says `file` or `cow,backing`, neither flags nor serial, and nothing of a slot
        that is free. The backing file may be another than was asked for: it stays with the one of
        the COW file's header if the new one does not fit. Source: ubd_get_config
        """
        file, comma, backing = text.partition(",")
        if not text or file != self.files[0]:
            return False
        if self.backing:
            return backing == self.backing
        return self.detect if comma else True  # a COW file whose header names its backing file


def make(  # noqa: PLR0913 - one argument for each thing the kernel takes
    slot: int,
    file: str,
    *,
    cow: str = "",
    readonly: bool = False,
    sync: bool = False,
    shared: bool = False,
    trim: bool = True,
    detect: bool = True,
    serial: str = "",
) -> Ubd:
    """Make a device of its parts. The kernel offers no way to quote them.

    file: the disk; with a COW file, its backing file

    Raises: UsageError
    """
    if not 0 <= slot < SLOTS:
        raise UsageError(f"a disk has a number from 0 to {SLOTS - 1}, not {slot}")
    if not file:
        raise UsageError(f"ubd{slot} has no file: name one")
    for what, value in (("file", file), ("COW file", cow), ("serial number", serial)):
        for letter in ",:\n\0":
            if letter in value:
                raise UsageError(
                    f"the kernel takes no {letter!r} in the {what} of a disk: {value!r}; "
                    f"use another{', such as a symbolic link' if what != 'serial number' else ''}"
                )
        if value != value.rstrip():
            raise UsageError(f"the {what} of a disk ends with a blank: {value!r}; rename it")
    given = (readonly, sync, not detect, shared, not trim)
    flags = "".join(flag for flag, on in zip(FLAGS, given, strict=True) if on)
    files = (cow, file) if cow else (file,)
    if serial:
        files = (*files, serial) if cow else (file, "", serial)
    return parse(str(Ubd(slot, flags, files)))


def parse(text: str) -> Ubd:
    """Read `ubd...=...`, as the kernel takes it.

    Raises: UsageError
    """
    check_request(text)
    device, equals, value = text.partition("=")
    if not device.startswith("ubd") or not equals:
        raise UsageError(f"a disk is ubdN[FLAGS]=FILE[,BACKING[,SERIAL]], not {text!r}")
    slot, flags = unit(device)
    _check_flags(flags, text)
    files = tuple(value.replace(":", ",").split(","))
    if not files[0] or len(files) > 3:
        raise UsageError(f"a disk has one file, or a COW file and its backing file: {text!r}")
    disk = Ubd(slot, flags, files)
    if len(files) > 1 and not disk.backing and not disk.serial:
        raise UsageError(f"a backing file or ',SERIAL' must follow the ',' after a file: {text!r}")
    if disk.backing and not disk.detect:
        raise UsageError(f"flag d is for a file of its own, not for a COW file: {text!r}")
    return disk


def unit(device: str) -> tuple[int, str]:
    """The slot that `ubd...` begins with, and what follows: (3, "r") of ubd3r and of ubddr.

    Raises: UsageError
    """
    rest = device[3:]
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    if not digits and "a" <= rest[:1] <= "p":
        return ord(rest[0]) - ord("a"), rest[1:]
    if not digits:
        raise UsageError(f"a disk has a number from 0 to {SLOTS - 1}: {device!r}")
    if digits[0] == "0" and digits != "0":
        raise UsageError(f"the kernel reads {digits} as octal: leave out the zero of {device!r}")
    if len(digits) > 2 or int(digits) >= SLOTS:
        raise UsageError(f"a disk has a number from 0 to {SLOTS - 1}, not {digits}: {device!r}")
    return int(digits), rest[len(digits) :]


def _check_flags(flags: str, text: str) -> None:
    wrong = flags.strip(FLAGS)
    if wrong:
        raise UsageError(f"disk flags are of r s d c t, not {wrong[0]!r}: {text!r}")
    for flag in FLAGS:
        if flags.count(flag) > 1:
            raise UsageError(f"disk flag {flag} is given twice: {text!r}")
