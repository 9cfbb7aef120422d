"""Taking over a kernel that runs on though its supervisor is gone."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from umlctl.errors import GuestInUse, HostError
from umlctl.host import processes, users
from umlctl.host.pidfile import Pidfile
from umlctl.recovery.discover import shim_of
from umlctl.state import records
from umlctl.state.umid_lock import claim_running
from umlctl.supervisor.launch.launched import Launched
from umlctl.supervisor.launch.place import notify_path, notify_socket

if TYPE_CHECKING:
    import socket

    from umlctl.guest.definition import Definition
    from umlctl.state.records import Record


def adopt(record: Record) -> Launched:
    """Take over a guest that runs on though its supervisor is gone.

    record: what is on disk of it, or what is known without

    Raises: GuestInUse: it has one, or is no more; HostError
    """
    definition = record.definition
    held = claim_running(definition.umid, definition.home, runs=True)
    try:
        with contextlib.ExitStack() as undo:
            undo.callback(held.leave)
            if record.ending is not None or not processes.alive(record.pid, record.started):
                raise GuestInUse(f"{definition.umid} does not run any more")
            notify = undo.enter_context(_notify(definition, held.directory))
            command = processes.command(record.pid)
            pidfile = Pidfile.lock(definition.pidfile, record.pid)
            undo.callback(pidfile.close)
            aside = records.set_aside(definition.umid)
            if not aside and not os.path.exists(records.path_of(definition.umid)):
                aside = f"there is no record of {definition.umid}"
            os.makedirs(held.records, 0o700, exist_ok=True)
            record.supervisor_pid = os.getpid()
            record.shim = shim_of(record.pid)
            records.save(record)
            undo.pop_all()
    except OSError as problem:
        raise HostError(f"{definition.umid}: cannot be taken over: {problem}") from problem
    adopted = Launched(record, held, notify, pidfile, command, adopted=True)
    adopted.lost = aside
    return adopted


def _notify(definition: Definition, directory: str) -> socket.socket:
    """A socket in the place of the last supervisor's.

    Raises: OSError, HostError
    """
    path = notify_path(definition, directory)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    with contextlib.ExitStack() as undo:
        notify = undo.enter_context(notify_socket(path))
        if definition.user:
            users.give(users.find(definition.user), [path])
        undo.pop_all()
    return notify
