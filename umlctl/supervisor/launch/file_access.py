"""What of this host's files a guest's kernel is given.

Pure: it follows from the definition, the device table and the kernel's command line. What a kernel
opens again when it reboots is among it, since its confinement outlives that.
"""

from __future__ import annotations

import os.path
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec.structs import replace

from umlctl.backends import device_access
from umlctl.guest import shares
from umlctl.guest.cmdline import MODULES_VARIABLE, OVERLAY_MODULE_VARIABLE
from umlctl.guest.command import AGENT
from umlctl.guest.confinement import STRICT
from umlctl.guest.definition import READONLY_SUFFIX, root_directory, root_is_host
from umlctl.guest.words import unquoted
from umlctl.host.landlock import CHANGE, DEVICE, EXECUTE, READ, WRITE, FileRule, Files
from umlctl.protocol import command_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from umlctl.guest.definition import Definition
    from umlctl.state.records import DeviceEntry

SYSTEM: Final = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/opt", "/nix"),
    *("/var/lib", "/var/cache", "/srv", "/sys", "/proc", "/run/systemd/resolve"),
)
"""This machine's own files, as far as they are anybody's: what a guest has as its root."""
NEEDED: Final = (
    "/usr",
    "/bin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix",
    "/proc",
    "/etc/ld.so.cache",
)
"""What a kernel needs to be executed, whatever its root is."""
SOCKETS: Final = (
    Files.MAKE_DIR | Files.REMOVE_DIR | Files.MAKE_SOCK | Files.MAKE_REG | Files.REMOVE_FILE
) | (READ | Files.WRITE_FILE | Files.TRUNCATE)
PLUG: Final = Files.MAKE_SOCK | Files.REMOVE_FILE
"""What vde_plug does in the directory of its switch: it makes a socket, and removes that."""
MEMORY: Final = READ | Files.MAKE_REG | Files.REMOVE_FILE | Files.WRITE_FILE | Files.TRUNCATE
FILE: Final = READ | Files.WRITE_FILE | Files.TRUNCATE | Files.IOCTL_DEV
"""What is done with a disk."""
WRITTEN: Final = CHANGE | Files.MAKE_CHAR | Files.MAKE_BLOCK | Files.IOCTL_DEV
"""What is refused to every confined kernel but for the rules."""


class Places(NamedTuple):
    """Where a kernel has what is its own.

    Fields:
        sockets: the directory in which it makes the directory of its socket
        devices: where files appear that are plugged while it runs, and that it may write
        read: the same for those that it only reads
        shared: where directories appear that its guest shares with this host
        memory: where it has its memory
        tun: where the device of taps appears, if it has a NIC on one later
        guest: where it finds its init program and the supervisor
    """

    sockets: str
    devices: str
    read: str
    shared: str
    memory: str
    tun: str
    guest: str


def rules(
    definition: Definition, entries: Iterable[DeviceEntry], command: Sequence[str], places: Places
) -> list[FileRule]:
    """What a kernel that is confined may do with files.

    command: the kernel and its arguments
    """
    entries = list(entries)
    found = [
        *(FileRule(path, DEVICE) for path in device_access.of_command(command[1:]).paths),
        FileRule(places.sockets, SOCKETS),
        FileRule(places.devices, FILE),
        FileRule(places.read, FILE & ~_CHANGES),
        FileRule(places.shared, WRITE | Files.IOCTL_DEV),
        FileRule(places.memory, MEMORY),
        FileRule(places.tun, DEVICE),
        *(FileRule(hold.path, FILE) for entry in entries for hold in entry.holds if hold.write),
        *(FileRule(path, WRITE | Files.IOCTL_DEV) for path in definition.rw),
        *(FileRule(path, PLUG) for path in _switches(definition, entries)),
    ]
    # A disk that is only read is asked how large it is.
    found += [FileRule(hold.path, FILE & ~_CHANGES) for entry in entries for hold in entry.holds]
    if root := _written_root(definition):
        found.append(FileRule(root, WRITE))
    if definition.confine == STRICT:
        found += [FileRule(path, EXECUTE) for path in _read(definition, command, places)]
    return found


_CHANGES: Final = Files.WRITE_FILE | Files.TRUNCATE


def with_shares(definition: Definition) -> Definition:
    """The same guest, given for good what it shares with this host: without mounts of its own its
    kernel can be given nothing later."""
    found = list(map(shares.parse, definition.shares))
    read = [each.source for each in found if each.readonly]
    written = [each.source for each in found if not each.readonly]
    return replace(definition, ro=(*definition.ro, *read), rw=(*definition.rw, *written))


def given(
    definition: Definition, entries: Iterable[DeviceEntry], command: Sequence[str]
) -> list[str]:
    """What a kernel is given that it is to see wherever it is."""
    entries = list(entries)
    found = [hold.path for entry in entries for hold in entry.holds]
    found += _switches(definition, entries)
    found += [command[0], definition.cwd, *definition.ro, *definition.rw, *_modules(command)]
    found += [
        os.path.join(definition.cwd, word.partition("=")[2])
        for word in map(unquoted, command)
        if word.startswith("initrd=")
    ]
    return [path for path in (*found, root_directory(definition), definition.init) if path]


def _modules(command: Sequence[str]) -> Iterator[str]:
    """The directory of a kernel's modules, and the module that it takes for an overlay, if any."""
    for word in map(unquoted, command):
        about, _, value = word.partition("=")
        if about in (MODULES_VARIABLE, OVERLAY_MODULE_VARIABLE):
            yield value


def written(definition: Definition, entries: Iterable[DeviceEntry]) -> list[str]:
    """Files and directories that a kernel writes, besides what is its own."""
    entries = list(entries)
    found = [hold.path for entry in entries for hold in entry.holds if hold.write]
    found += _switches(definition, entries)
    return [path for path in (*found, _written_root(definition), *definition.rw) if path]


def _switches(definition: Definition, entries: Iterable[DeviceEntry]) -> list[str]:
    """Directories of switches in which vde_plug makes its socket."""
    words = (*(entry.kernel for entry in entries), *definition.append, *definition.arguments)
    return [path for word in words for path in device_access.switches(unquoted(word))]


def _written_root(definition: Definition) -> str:
    """The directory that is its root to write; empty: it has none."""
    readonly = definition.overlay or definition.root.endswith(READONLY_SUFFIX)
    return "" if readonly else root_directory(definition)


def handled(definition: Definition) -> Files:
    """What is refused but for the rules."""
    return WRITTEN | EXECUTE if definition.confine == STRICT else WRITTEN


def readable(definition: Definition) -> list[str]:
    """What a strictly confined kernel reads and executes by its definition."""
    found = [*NEEDED, *definition.ro, *definition.rw]
    if root_is_host(definition):
        found += [*SYSTEM, definition.init]
    else:
        found += SYSTEM if definition.overlay else ()
        found.append(root_directory(definition))
    return [path for path in found if path]


def _read(definition: Definition, command: Sequence[str], places: Places) -> Iterator[str]:
    """What it reads and executes, besides what it writes."""
    yield from readable(definition)
    # They are seen where their directory is covered: there no rule for that directory reaches them.
    yield from (f"{places.guest}/{name}" for name in ("init", "agent", command_lines.HANDED))
    yield AGENT  # where nothing in that directory can be executed
    yield from (places.guest, places.shared, command[0])
    modules = list(_modules(command))
    if modules:  # there may be links from one to the other
        yield from (*modules, os.path.dirname(command[0]))
    for word in map(unquoted, command):
        about, _, value = word.partition("=")
        if about == "initrd" or (about == "init" and root_is_host(definition)):
            yield os.path.join(definition.cwd, value)
