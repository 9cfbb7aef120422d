"""Block devices: what stands behind `ubd` in `config` and on the kernel command line.

    ubd<n><flags>=<file>[,<backing>][,<serial>]

n is 0-15 or a-p; ',' and ':' both separate, so no path can hold either; flags are r read-only,
s synchronous, d no COW detection, c no locking, t no discard. Source: arch/um/drivers/ubd_kern.c
"""

from __future__ import annotations

from os.path import abspath, join

from umlctl.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

SLOTS: Final = 16
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
        return f"ubd{self.slot}{self.flags}={','.join(self.files)}"

    @property
    def writable(self) -> bool:
        return "r" not in self.flags

    def absolute(self, base: str) -> Ubd:
        """The same device with its paths taken from the directory `base`."""
        files = tuple(
            abspath(join(base, path)) if index < 2 and path and not path.startswith("/") else path
            for index, path in enumerate(self.files)
        )
        return Ubd(self.slot, self.flags, files)


def parse(text: str) -> Ubd:
    """Read `ubd...=...`, as the kernel takes it.

    Raises: UsageError
    """
    device, equals, value = text.partition("=")
    if not device.startswith("ubd") or not equals:
        raise UsageError(f"a disk is ubdN[FLAGS]=FILE[,BACKING[,SERIAL]], not {text!r}")
    rest = device[3:]
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    if digits:
        slot, flags = int(digits), rest[len(digits) :]
    elif rest[:1] and "a" <= rest[0] <= "p":
        slot, flags = ord(rest[0]) - ord("a"), rest[1:]
    else:
        raise UsageError(f"a disk has a number from 0 to {SLOTS - 1}: {text!r}")
    if slot >= SLOTS:
        raise UsageError(f"a disk has a number from 0 to {SLOTS - 1}, not {slot}: {text!r}")
    wrong = flags.strip(FLAGS)
    if wrong:
        raise UsageError(f"disk flags are of r s d c t, not {wrong[0]!r}: {text!r}")
    files = tuple(value.replace(":", ",").split(","))
    if not files[0] or len(files) > 3:
        raise UsageError(f"a disk has one file, or a COW file and its backing file: {text!r}")
    return Ubd(slot, flags, files)
