"""A guest, written down.

`umlctl run` and `umlctl start` make one from their options; it is what the supervisor starts,
what is kept on disk, and what `status` shows. Everything is checked here, so that whoever holds
a `Definition` need not.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from umlctl.devices import ubd
from umlctl.errors import UsageError

HOST_ROOT: Final = "host"
MEM_DEFAULT: Final = 256 << 20
MEM_LEAST: Final = 24 << 20
"""With less the kernel dies before it can say why. Measured on 6.1 without randomisation."""
BOOT_TIMEOUT: Final = 60.0

_SIZE: Final = re.compile(r"(\d+)([kmg]?)b?", re.IGNORECASE)
_CPUS: Final = re.compile(r"\d+(-\d+)?(,\d+(-\d+)?)*")
_UNITS: Final = {"": 0, "k": 10, "m": 20, "g": 30}


class Definition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One guest.

    Fields:
        umid: its name
        kernel: path of the UML binary
        mem: bytes of guest memory
        root: "host" (this machine's userland, read-only), a directory, or an image file
        init: the program that becomes pid 1; empty: our own on "host", else the root's
        disks: `ubdN[FLAGS]=FILE[,BACKING[,SERIAL]]`, absolute paths
        nics: `vecN:...` or `ethN=...`, as the kernel takes them
        append: `KEY=VALUE` or `WORD`, one kernel argument each, without blanks
        arguments: further kernel arguments, as they stand
        cpus: host CPUs it may run on, as taskset(1) takes them; empty: any
        aslr: leave address-space randomisation on
        single: boot into single-user mode
        verbose: every kernel message on the console
        pidfile: holds the kernel's pid, locked while it runs; empty: none
        cwd: the directory that relative paths of `arguments` are taken from
        timeout: seconds that the boot may take
        named: the umid was given, not made up
    """

    umid: str
    kernel: str
    mem: int = MEM_DEFAULT
    root: str = HOST_ROOT
    init: str = ""
    disks: tuple[str, ...] = ()
    nics: tuple[str, ...] = ()
    append: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    cpus: str = ""
    aslr: bool = False
    single: bool = False
    verbose: bool = False
    pidfile: str = ""
    cwd: str = "/"
    timeout: float = BOOT_TIMEOUT
    named: bool = True


def parse_size(text: str) -> int:
    """Bytes of `64M`, `64m`, `1G`, `65536k` or a number of bytes.

    Raises: UsageError
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"a size is a number with k, M or G, such as 256M, not {text!r}")
    return int(found[1]) << _UNITS[found[2].lower()]


def check(definition: Definition) -> Definition:
    """Return the definition if it is sound; no file is looked at.

    Raises: UsageError
    """
    if definition.mem < MEM_LEAST:
        least = MEM_LEAST >> 20
        raise UsageError(f"a guest needs at least {least}M of memory, not {definition.mem} bytes")
    if definition.cpus and not _CPUS.fullmatch(definition.cpus):
        raise UsageError(f"cpus are a list such as 0 or 0,2-3, not {definition.cpus!r}")
    if not 0 < definition.timeout <= 1e9:
        raise UsageError(f"a timeout is more than 0 seconds, not {definition.timeout:g}")
    for word in definition.append:
        if not word or any(c.isspace() for c in word) or "\0" in word:
            raise UsageError(
                f"--append takes one kernel argument without blanks, not {word!r}; "
                "give others after `--`"
            )
    for word in definition.arguments:
        if "\n" in word or "\0" in word:
            raise UsageError(f"a kernel argument is one line: {word!r}")
    _check_devices(definition)
    try:
        encode(definition)
    except UnicodeEncodeError as problem:
        raise UsageError(f"names and arguments are UTF-8, not {problem.object!r}") from None
    return definition


def _check_devices(definition: Definition) -> None:
    slots: dict[int, str] = {0: definition.root} if root_is_image(definition) else {}
    for text in definition.disks:
        disk = ubd.parse(text)
        if disk.slot in slots:
            raise UsageError(f"ubd{disk.slot} is given twice: {slots[disk.slot]} and {text}")
        slots[disk.slot] = text
    for nic in definition.nics:
        if not nic.startswith(("vec", "eth")):
            raise UsageError(f"a NIC is vecN:KEY=VALUE,... or ethN=TRANSPORT,..., not {nic!r}")


def root_is_image(definition: Definition) -> bool:
    """The root is a file rather than a directory: directories are written with a final '/'."""
    return definition.root != HOST_ROOT and not definition.root.endswith("/")


def number_disks(disks: tuple[str, ...], base: str, first: int) -> tuple[str, ...]:
    """Give each plain FILE the next free slot from `first` on, and make paths absolute.

    base: the directory of relative paths

    Raises: UsageError
    """
    taken = {ubd.parse(text).slot for text in disks if _names_slot(text)}
    free = (slot for slot in range(first, ubd.SLOTS) if slot not in taken)
    numbered = []
    for text in disks:
        if _names_slot(text):
            disk = ubd.parse(text)
        else:
            slot = next(free, None)
            if slot is None:
                raise UsageError(f"there is no free disk slot for {text}: {ubd.SLOTS} are all")
            disk = ubd.parse(f"ubd{slot}={text}")
        numbered.append(str(disk.absolute(base)))
    return tuple(numbered)


def _names_slot(text: str) -> bool:
    return text.startswith("ubd") and "=" in text


def encode(definition: Definition) -> bytes:
    return msgspec.json.encode(definition)


def decode(data: bytes) -> Definition:
    """Read and check what `encode` wrote.

    Raises: UsageError
    """
    try:
        definition = msgspec.json.decode(data, type=Definition)
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise UsageError(f"this is no guest definition: {problem}") from problem
    return check(definition)
