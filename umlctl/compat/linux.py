"""`linux`: a kernel as if it had been started by itself, and supervised meanwhile.

This process becomes the kernel. So its pid, its words in ps(1), its descriptors, its exit status
and what signals do to it are the kernel's, whoever sends them. Before that it writes down what a
supervisor has to know, and leaves a process beside itself that has the guest adopted as soon as it
can be asked (`umlctl.compat.attendant`). Nothing is said on the standard streams: they are the
guest's console.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import socket
import string
import sys
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Final, NoReturn

from umlctl import exitcodes
from umlctl.compat import terminals
from umlctl.errors import GuestInUse, NoKernel, UmlctlError
from umlctl.guest import kernel_line
from umlctl.host import paths, processes
from umlctl.kernels import find, kernel_file
from umlctl.state import console_log, records, umid_lock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from umlctl.compat.terminals import Terminal
    from umlctl.guest.definition import Definition
    from umlctl.guest.kernel_line import Told
    from umlctl.state.records import DeviceEntry, Record
    from umlctl.state.umid_lock import Claim

ATTENDANT: Final = "umlctl.compat.attendant"
FIRST_HANDED: Final = 10
"""The lowest number that a descriptor of the attendant has."""
_NAME_LETTERS: Final = 6
"""How long a name is that a kernel takes by itself."""
_NO_RANDOMISATION: Final = 0x0040000
"""ADDR_NO_RANDOMIZE of personality(2)."""


def main(argv: list[str]) -> int:
    """Become a kernel with these words. Returns: only where there is none, an exit code."""
    _let_signals_be()
    line = argv[1:]
    try:
        kernel = _find()
    except UmlctlError as problem:
        sys.stderr.write(f"linux: {problem}\n")
        return exitcodes.NO_COMMAND
    numbers = sorted({0, 1, 2, *kernel_line.descriptors(line)})
    if not kernel_line.only_prints(line):
        # One that cannot be supervised runs as it would by itself.
        with suppress(UmlctlError, OSError, ValueError):
            line = _supervise(kernel, line, terminals.look(numbers))
        for number in numbers:
            terminals.separate(number)
        _leave_addresses()
    return _become(kernel, line)


def _find() -> str:
    """Raises: NoKernel: there is none, or it is no kernel, as this very program is none"""
    kernel = find.find()
    flaw = kernel_file.flaw(kernel)
    if flaw:
        raise NoKernel(f"{kernel} is not a UML kernel: {flaw}; {find.ADVICE}")
    return kernel


def _become(kernel: str, line: list[str]) -> int:
    try:
        os.execv(kernel, [kernel, *line])  # noqa: S606
    except OSError as problem:
        sys.stderr.write(f"linux: cannot execute {kernel}: {problem.strerror}\n")
        return exitcodes.NOT_EXECUTED


def _let_signals_be() -> None:
    """Have signals do what they do to a program that sees to none: a kernel begins so."""
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # the interpreter ignores it
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)


def _leave_addresses() -> None:
    """Have the kernel's addresses not be random: that would take of the guest's memory."""
    import ctypes

    libc = ctypes.CDLL(None)
    libc.personality(libc.personality(0xFFFFFFFF) | _NO_RANDOMISATION)


# What a supervisor has to know


def _supervise(kernel: str, line: list[str], shared: list[Terminal]) -> list[str]:
    """Have the guest supervised; return the kernel's words.

    shared: terminals that the kernel has in common with others

    Raises: UmlctlError, OSError, ValueError: it cannot be, and nothing of it is left
    """
    cwd = os.getcwd()
    told = kernel_line.read(line)
    umid = told.umid or "".join(random.choices(string.ascii_letters, k=_NAME_LETTERS))  # noqa: S311
    place = _place(told, umid)
    home = paths.home()
    definition = kernel_line.definition(line, umid, kernel, cwd, home)
    with ExitStack() as undo:
        held = umid_lock.claim(umid, home)
        undo.callback(held.release)
        path = f"{held.directory}/notify"
        longer = kernel_line.supervised(line, umid, paths.kernel_dir(), path)
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        undo.callback(notify.close)
        notify.bind(path)
        record = _write_down(definition, held, line)
        record.relay = os.path.join(cwd, told.notify) if told.notify else ""
        record.place = place
        if place:
            undo.callback(leave_place, place, umid)
            _make_place(place, umid)
        records.save(record)
        _begin_attendant(record, held, notify, shared)
        undo.pop_all()
    return longer


def _write_down(definition: Definition, held: Claim, line: list[str]) -> Record:
    """What is kept of the guest.

    Raises: UmlctlError, OSError
    """
    log = f"{held.records}/console.log"
    console_log.begin(log)
    with open(log, "wb"):
        pass  # what the guest prints is for who has started it
    console_log.Index(log).add(console_log.LAUNCH, time.time(), 0)
    records.set_aside(definition.umid)
    pid = os.getpid()
    return records.Record(
        definition=definition,
        supervisor_pid=0,
        pid=pid,
        started=processes.start_time(pid) or 0,
        boot_id=records.host_boot_id(),
        since=time.time(),
        devices=_devices(definition, line),
        own_line=True,
    )


def _devices(definition: Definition, line: list[str]) -> list[DeviceEntry]:
    """The device table as the kernel's words have it."""
    from umlctl.backends import registry
    from umlctl.devices.ubd import Ubd

    entries = []
    for device in kernel_line.devices(line, definition.cwd):
        if isinstance(device, Ubd) and not any(map(os.path.exists, device.files)):
            continue  # a disk that the kernel would have without being told
        entry = registry.entry_of(definition.umid, device)
        if entry is not None:
            entry.boot = True
            entries.append(entry)
    return entries


# Where its starter looks for it


def _place(told: Told, umid: str) -> str:
    """The directory where who starts the guest expects its socket and its pid; empty: where every
    guest has them.

    Raises: GuestInUse: a kernel has it, and this one would take another name
    """
    if not told.uml_dir:
        return ""
    place = os.path.abspath(os.path.join(told.uml_dir, umid))
    if os.path.realpath(place) == os.path.realpath(os.path.dirname(paths.public_socket(umid))):
        return ""
    with suppress(OSError, ValueError), open(f"{place}/pid") as file:
        pid = int(file.read(32))
        if processes.start_time(pid) is not None:
            raise GuestInUse(f"{place} belongs to a kernel that runs, pid {pid}")
    return place


def _make_place(place: str, umid: str) -> None:
    """Raises: OSError"""
    leave_place(place, umid)
    for directory in (os.path.dirname(place), place):
        with suppress(FileExistsError):
            os.mkdir(directory, 0o700)
    for name in ("pid", "mconsole"):
        with suppress(FileNotFoundError):
            os.unlink(f"{place}/{name}")  # a kernel does so too
    with open(f"{place}/pid", "w") as file:
        file.write(f"{os.getpid()}\n")
    os.symlink(paths.guest_socket(umid), f"{place}/mconsole")


def leave_place(place: str, umid: str) -> None:
    """Remove what was made there for a guest, and nothing else."""
    with suppress(OSError):
        if os.readlink(f"{place}/mconsole") == paths.guest_socket(umid):
            os.unlink(f"{place}/mconsole")
            os.unlink(f"{place}/pid")
            os.rmdir(place)


# The process beside it


def _begin_attendant(
    record: Record, held: Claim, notify: socket.socket, shared: Sequence[Terminal]
) -> None:
    """Begin the process that has the guest adopted, and hears its kernel until then.

    Raises: OSError
    """
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        _be_attendant(record, held, notify, shared, reader, writer)
    os.close(reader)
    os.close(writer)
    _, status = os.waitpid(child, 0)
    if status:
        raise OSError(f"there can be no process beside {record.definition.umid}")


def _be_attendant(
    record: Record,
    held: Claim,
    notify: socket.socket,
    shared: Sequence[Terminal],
    reader: int,
    writer: int,
) -> NoReturn:
    """Become it: it is no child of the kernel's, and has nothing of this process but what is handed
    over."""
    code = 1
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        own = (notify.fileno(), held.lock, held.owner)
        handed = [_handed(number) for number in (*own, *(each.descriptor for each in shared))]
        told = {
            "umid": record.definition.umid,
            "descriptors": handed[:3],
            "terminals": list(zip(handed[3:], (each.modes for each in shared), strict=True)),
        }
        os.write(writer, json.dumps(told).encode())
        source, null = _handed(reader), _handed(os.open(os.devnull, os.O_RDWR))
        for ours, number in ((source, 0), (null, 1), (null, 2)):
            os.dup2(ours, number)
        for name in os.listdir("/proc/self/fd"):
            if int(name) > 2 and int(name) not in handed:
                with suppress(OSError):
                    os.close(int(name))
        from umlctl.streams import PYTHON

        os.execv(PYTHON[0], [*PYTHON, ATTENDANT, record.definition.umid])  # noqa: S606
    finally:
        os._exit(code)


def _handed(number: int) -> int:
    """A copy of a descriptor that stays open in a program that is executed."""
    return fcntl.fcntl(number, fcntl.F_DUPFD, FIRST_HANDED)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
