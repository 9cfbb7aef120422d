"""What `linux` does before it becomes a kernel: it writes down what a supervisor has to know, and
leaves a process beside itself that has the guest adopted.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import socket
import string
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Final, NoReturn

from umlctl.compat import expected_place
from umlctl.guest import kernel_line
from umlctl.host import paths, processes
from umlctl.state import console_log, records, umid_lock
from umlctl.streams import PYTHON

if TYPE_CHECKING:
    from collections.abc import Sequence

    from umlctl.compat.terminals import Terminal
    from umlctl.guest.definition import Definition
    from umlctl.state.records import DeviceEntry, Record
    from umlctl.state.umid_lock import Claim

ATTENDANT: Final = "umlctl.compat.attendant"
FIRST_HANDED: Final = 10
"""The lowest number that a descriptor of the attendant has."""
_NAME_LETTERS: Final = 6
"""How long a name is that a kernel takes by itself."""


def supervise(kernel: str, line: list[str], shared: list[Terminal]) -> list[str]:
    """Have the guest supervised; return the kernel's words.

    shared: terminals that the kernel has in common with others

    Raises: UmlctlError, OSError, ValueError: it cannot be, and nothing of it is left
    """
    cwd = os.getcwd()
    told = kernel_line.read(line)
    umid = told.umid or "".join(random.choices(string.ascii_letters, k=_NAME_LETTERS))  # noqa: S311
    place = expected_place.find(told, umid)
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
            undo.callback(expected_place.leave, place, umid)
            expected_place.make(place, umid)
        else:
            with suppress(OSError):  # it is found by its name all the same
                held.public.publish(os.getpid())  # so that the next of this name finds it in use
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
    for word in kernel_line.devices(line):
        device = word.absolute(definition.cwd) if isinstance(word, Ubd) else word
        if isinstance(device, Ubd) and not any(map(os.path.exists, device.files)):
            continue  # a disk that the kernel would have without being told
        entry = registry.entry_of(definition.umid, device)
        if entry is not None:
            entry.boot = True
            entry.told = "" if device == word else str(word)
            entries.append(entry)
    return entries


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
        os.execv(PYTHON[0], [*PYTHON, ATTENDANT, record.definition.umid])  # noqa: S606
    finally:
        os._exit(code)


def _handed(number: int) -> int:
    """A copy of a descriptor that stays open in a program that is executed."""
    return fcntl.fcntl(number, fcntl.F_DUPFD, FIRST_HANDED)
