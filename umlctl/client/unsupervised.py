"""Guests without a supervisor: having them supervised again, and what is shown of them.

Nothing is written here. What a guest has left, its records and its history are for a supervisor to
see to. Until one does, how a guest has ended is judged from what it has left.
"""

from __future__ import annotations

import functools
import os
import time
from typing import TYPE_CHECKING, Final

import msgspec

from socketproto.blocking import Connection, Unreachable
from umlctl import exitcodes
from umlctl.client.background import ask_running_supervisor, ask_supervisor
from umlctl.client.target import Target
from umlctl.errors import UmlctlError
from umlctl.host import paths, processes
from umlctl.output import say, views
from umlctl.recovery import cleanup, discover
from umlctl.state import records, umid_lock

if TYPE_CHECKING:
    from umlctl.protocol.status import Ending, Status

LOCK_RELEASE_TIMEOUT: Final = 2.0
"""How long a killed supervisor may still hold its locks, seconds."""


def ask_to_adopt(guest: str, *, everyone: bool = False) -> bool:
    """Have the background supervisor see to a guest whose own is gone, and to all others. It adopts
    the guest, or writes down how it has ended and starts it again if its policy is to restart.

    guest: as the user named it; no supervisor takes over a path
    everyone: come back when all guests answer, not only this one

    Returns: the guest has a supervisor
    """
    if not _is_left(guest):
        return False
    request = "adopt" if everyone else f"adopt {guest}"
    deadline = time.monotonic() + LOCK_RELEASE_TIMEOUT
    while umid_lock.has_owner(guest):
        # The guest is being adopted just now, and this is answered when that is done;
        ask_running_supervisor(request)
        if is_served(guest):
            return True
        # or its supervisor is not quite dead, or starts or ends it.
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    try:
        ask_supervisor(request)
    except UmlctlError as problem:
        say(f"{guest}: {problem}", exitcodes.FAILED)
    return umid_lock.has_owner(guest)


def _is_left(guest: str) -> bool:
    """Whether there is something of a guest that a supervisor has yet to see to, as far as can be
    seen."""
    if "/" in guest:
        return False
    record = records.load(guest)
    if record is None:
        return os.path.exists(paths.guest_dir(guest))
    return record.ending is None or record.again or records.is_unwritten(guest)


def is_served(guest: str) -> bool:
    """Whether a server listens on the guest's public socket."""
    with Connection(Target(guest).socket) as connection:
        try:
            connection.link.open()
        except Unreachable:
            return False
        return connection.link.served and not connection.link.kick()


def ask_to_adopt_all() -> None:
    """Have the background supervisor see to all that other supervisors left.

    Raises: HostError
    """
    ask_supervisor("adopt")


def unsupervised_status(record: records.Record) -> Status:
    """The guest as `list` and `status` show it."""
    record = cleanup.judged(record)
    umid = record.definition.umid
    found = records.ended_status(record)
    if cleanup.is_wanted_back(record):
        trouble = f"it is to be started again, which `umlctl adopt {umid}` does"
        return msgspec.structs.replace(found, trouble=trouble)
    if not records.lives(record):
        return found
    pid, why = out_of_reach(umid)
    if not why and umid_lock.has_owner(umid):
        why = "its supervisor has just begun to listen; ask again"
    state = "silent" if why else "unsupervised"
    if why and is_for_one_command(umid):
        state = "running"
    return msgspec.structs.replace(
        found,
        state=state,
        pid=record.pid,
        supervisor_pid=pid or None,
        since=record.since,
        memory=processes.memory_used(record.pid),
        cpu=processes.cpu_seconds(record.pid),
        confined=record.confined or None,
        own_mounts=record.binds if record.confined else None,
        trouble=why or f"nobody supervises it; `umlctl adopt {umid}` has it supervised again",
        cgroup=record.cgroup or None,
        resume=record.resume or None,
        sockets={"kernel": umid_lock.kernel_socket(record.definition)},
        devices=[records.device_status(entry) for entry in record.devices],
        root=record.definition.root,
    )


@functools.cache
def _restored_by() -> float:
    """Until when this process waits for supervisors whose socket is not there, by the monotonic
    clock. A supervisor makes its socket again if that was removed."""
    return time.monotonic() + LOCK_RELEASE_TIMEOUT


def out_of_reach(umid: str) -> tuple[int, str]:
    """The supervisor of a running guest that has one but cannot be asked, and why; else 0 and
    nothing."""
    directory, door = paths.guest_dir(umid), paths.guest_socket(umid)
    pid = 0 if os.path.exists(door) else umid_lock.owner(umid)
    if pid and is_for_one_command(umid):
        return pid, f"it is there for the command of `umlctl exec`, pid {pid}, and answers nobody"
    while pid and not os.path.exists(door):
        if time.monotonic() > _restored_by():
            break
        time.sleep(0.02)
    else:
        return 0, ""
    if os.path.exists(directory):
        return pid, f"its supervisor, pid {pid}, has not opened {door} yet"
    return pid, (
        f"its supervisor, pid {pid}, cannot be asked from here: {directory} is missing, which was "
        "removed just now, or this process has another /tmp; UMLCTL_DIR sets a place that all see"
    )


def is_for_one_command(umid: str) -> bool:
    """Whether a running guest is one of `umlctl exec`."""
    places = (paths.session_dir(umid), paths.session_dir(umid, "another"))
    return any(map(os.path.isdir, places))


def epitaph(guest: str) -> str:
    """What became of a guest that was started here, in a sentence; empty if that is not known."""
    record = discover.find(guest)
    if record is None:
        return ""
    record = cleanup.judged(record)
    if records.lives(record):
        _, why = out_of_reach(guest)
        if why:
            return f"{guest} runs (pid {record.pid}), and {why}"
        return (
            f"{guest} runs (pid {record.pid}), and nobody supervises it; "
            f"`umlctl adopt {guest}` has it supervised again"
        )
    ending = record.ending
    ago = views.duration(max(0.0, time.time() - ending.time)) if ending else "some time"
    again = f"`umlctl start {guest}`"
    if record.own_line:
        again = "who started it as `linux`"
    return f"{guest} does not run: {views.ending_text(ending)}, {ago} ago; {again} starts it again"


def ending(guest: str) -> str:
    """How a guest that was started here has ended; empty if it lives, or if that is not known."""
    record = discover.find(guest)
    if record is None:
        return ""
    record = cleanup.judged(record)
    return "" if records.lives(record) else views.ending_text(record.ending)


def ended(guest: str) -> Ending | None:
    """The same, for programs: None if it lives, or if that is not known."""
    record = discover.find(guest)
    if record is None:
        return None
    record = cleanup.judged(record)
    return None if records.lives(record) else record.ending
