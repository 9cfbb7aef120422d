"""Guests that died while no supervisor watched them. How they ended is written down, what they left
is removed, and those that are to be started again are known.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from umlctl.errors import UmlctlError
from umlctl.guest import policy
from umlctl.guest.definition import is_shared
from umlctl.host import naming, paths
from umlctl.protocol import events
from umlctl.state import console_log, endings, event_log, records, umid_lock

if TYPE_CHECKING:
    from umlctl.protocol.events import EventName
    from umlctl.protocol.status import Ending


def is_there(umid: str) -> bool:
    """Whether a guest of that name runs, or is being started or ended. Its directory may be
    removed, or this process may have another /tmp."""
    if os.path.exists(paths.guest_dir(umid)):
        return True
    record = records.load(umid)
    return record is not None and records.lives(record)


def judged(record: records.Record) -> records.Record:
    """The record of a guest that has died unseen, as `clean_up` would write it, judged from what
    the guest has left. Any other record as it is. Nothing is written.
    """
    umid = record.definition.umid
    if record.ending is not None or records.lives(record) or umid_lock.has_owner(umid):
        return record
    directory = paths.guest_dir(umid)
    log = f"{paths.record_dir(umid)}/console.log"
    left = os.path.isdir(os.path.dirname(umid_lock.kernel_socket(record.definition)))
    again = endings.executed_again(record.definition)
    status = endings.read_exit_status(directory)
    if status.code is None and _is_ending(record):
        return record
    tail = endings.tail_of(log)
    ending = endings.judge_unseen(status, tail, left=left, executes=again)
    ending = msgspec.structs.replace(ending, time=endings.seen_at(directory) or ending.time)
    # A process that has buried the guest meanwhile has removed the evidence.
    latest = records.load(umid)
    if latest is not None and latest.ending is not None:
        return latest
    panicked = ending.cause == "panicked"
    found = msgspec.structs.replace(record, ending=ending)
    if panicked:
        found.last_panic = ending.text
    # After another boot of the host, the guest went down with the host.
    if record.boot_id == records.host_boot_id():
        action = policy.on_exit(record.definition, failed=ending.code != 0)
        if panicked:
            action = policy.on_panic(record.definition)
        # A kernel that dies at the last moment of a reboot leaves its guest without one.
        reboots = not left and endings.is_abort(status.code) and endings.is_rebooting(tail)
        found.again = action == policy.RESTART or record.again or reboots
    return found


def _is_ending(record: records.Record) -> bool:
    """Whether the tiny parent is still there, and about to write down how the kernel has ended."""
    try:
        with open(f"/proc/{record.shim}/cmdline", "rb") as file:
            words = file.read().split(b"\0")
    except OSError:
        return False
    return os.fsencode(paths.guest_dir(record.definition.umid)) in words


def clean_up(record: records.Record) -> list[str]:
    """Write down how a guest without a supervisor ended, and remove what it left.

    This is for supervisors alone. A face judges, and shows that.

    Returns: what could not be released, or written down
    """
    if record.ending is not None:
        return _write_late(record)
    umid = record.definition.umid
    found = judged(record)
    if found.ending is None:
        return []
    try:
        with umid_lock.lock_unused(umid):
            latest = records.load(umid)
            if latest is not None and latest.ending is not None:
                return []  # another process has buried the guest since
            if found.ending.cause == "panicked":
                log = f"{paths.record_dir(umid)}/console.log"
                text, console = found.ending.text, console_log.last_of(log)
                _write_down(umid, "panicked", text=text, console=console)
            problems = record_end(found, found.ending)
        if records.is_ended(umid):
            umid_lock.claim(umid, record.definition.home).release()
    except (UmlctlError, OSError):
        return []  # the guest has just been started again, or is being buried
    return problems


def clean_up_last_life(umid: str) -> list[str]:
    """See to the last life of a guest that is about to be started: nothing of it is lost.

    Returns: as `clean_up`
    """
    with suppress(naming.BadUmid):  # a bad name is told where names are checked
        record = records.load(naming.check_umid(umid))
        if record is not None:
            return clean_up(record)
    return []


def _write_late(record: records.Record) -> list[str]:
    """Write down what is known of a guest that has ended, when the disk had no room before.

    Returns: why it could not be written
    """
    umid = record.definition.umid
    if not records.is_unwritten(umid):
        return []
    try:
        with umid_lock.lock_unused(umid):
            copy = records.load_copy(umid)
            if copy is not None and (copy.pid, copy.started) != (record.pid, record.started):
                return []  # the copy is of a later life, whose ending is not known
            records.save(record)
            _complete(record)
        umid_lock.claim(umid, record.definition.home).release()
    except UmlctlError:
        pass  # the guest has just been started again, or is being buried
    except OSError as problem:
        return [f"how it ended is not written down yet: {problem}"]
    return []


def _complete(record: records.Record) -> None:
    """See that the history of a guest has its end.

    Raises: OSError
    """
    umid, ending = record.definition.umid, record.ending
    assert ending is not None
    last = ""
    for event in event_log.Reader(umid).read():
        if event["event"] in ("started", "ended"):
            last = event["event"]
    if last == "started":
        how = {"cause": ending.cause, "code": ending.code, "text": ending.text}
        event_log.append(umid, event_log.encode(events.event("ended", umid, ending.time, **how)))


def record_end(record: records.Record, ending: Ending) -> list[str]:
    """Write down, in its record and its history, how a guest ended, and release its devices.

    Returns: what could not be released, or written down
    """
    record.ending = ending
    problems = _release(record)
    try:
        records.save(record)
    except OSError as problem:
        problems.append(f"how it ended is not written down yet: {problem}")
    else:
        facts = {"cause": ending.cause, "code": ending.code, "text": ending.text}
        _write_down(record.definition.umid, "ended", **facts)
    return problems


def _write_down(umid: str, name: EventName, **facts: object) -> None:
    """Add to the history of a guest without a supervisor."""
    with suppress(OSError):
        event_log.append(umid, event_log.encode(events.event(name, umid, time.time(), **facts)))


def wanted_back() -> list[records.Record]:
    """Guests that have ended, have no supervisor any more, and are to be started again."""
    return [record for record in records.load_all() if is_wanted_back(record)]


def is_wanted_back(record: records.Record) -> bool:
    """Whether a guest has ended, has no supervisor any more, and is to be started again by the
    next."""
    return (
        record.again
        and record.ending is not None
        and record.boot_id == records.host_boot_id()
        and not umid_lock.has_owner(record.definition.umid)
    )


def _release(record: records.Record) -> list[str]:
    """Release what was made for a guest: its cgroup, its place among other users, its devices."""
    umid = record.definition.umid
    problems: list[str] = []
    # Few guests need what is imported here, and `list` is to be quick.
    if record.cgroup:
        from umlctl.host import cgroups

        problems += filter(None, [cgroups.remove(record.cgroup)])
    if is_shared(record.definition) or record.definition.user:
        from umlctl.host import shared_socket

        try:
            shared_socket.remove_dead(umid)
        except UmlctlError as problem:
            problems.append(str(problem))
    if record.devices:
        from umlctl.backends import registry
        from umlctl.backends.interface import Owner

        log = f"{paths.record_dir(umid)}/console.log"
        owner = Owner(umid, paths.record_dir(umid), log)
        problems += registry.release_all(record.devices, owner)
    return problems
