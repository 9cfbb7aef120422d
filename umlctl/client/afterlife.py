"""A guest without a supervisor: what is answered for it, and how to end it all the same."""

from __future__ import annotations

import os
import time
from typing import Final

import msgspec

from socketproto.blocking import Connection, Link, Unreachable
from umlctl import exitcodes
from umlctl.client.unsupervised import out_of_reach, unsupervised_status
from umlctl.errors import GuestInUse
from umlctl.guest import policy
from umlctl.host import processes
from umlctl.output import say, views
from umlctl.protocol.status import Ending, read_status
from umlctl.recovery import bare, cleanup, discover
from umlctl.state import records, umid_lock

KILL_TIMEOUT: Final = 5.0
"""How long the host may take to clear a killed guest away, seconds."""


def holder(link: Link) -> str:
    """What keeps the guest behind a socket from running, as a debugger; empty if nothing does."""
    if not link.served:
        return bare.held(link.path)
    with Connection(link.path) as connection:
        try:
            outcome = connection.request("status", KILL_TIMEOUT)
            status = read_status(outcome.data)
        except (Unreachable, msgspec.DecodeError):
            return ""
    return status.trouble or "" if status.state in ("traced", "suspended") else ""


def answer(name: str, guest: str, json: bool) -> int | None:
    """Answer `status`, `wait` or `kill` for a guest without a supervisor.

    Returns: the exit code; None if there is no such guest, or only a living one could answer
    """
    if "/" in guest:
        return None
    record = discover.find(guest)
    if record is None:
        try:
            records.read(guest)
        except records.Unreadable as problem:
            return say(f"{name} {guest}: {problem}", exitcodes.FAILED)
        return None
    record = cleanup.judged(record)
    if name == "status":
        status = unsupervised_status(record)
        print(views.to_json(status) if json else "\n".join(views.status_lines(status)))
        return exitcodes.OK
    if records.lives(record):
        return _answer_for_living(name, record)
    if name == "wait":
        found = record.ending
        print(views.to_json(found) if json else f"{guest} {views.ending_text(found)}")
        return found.code if found else exitcodes.GONE
    return None


def _answer_for_living(name: str, record: records.Record) -> int:
    umid = record.definition.umid
    supervisor, why = out_of_reach(umid)
    if name == "kill":
        if why and policy.on_exit(record.definition, failed=True) == policy.RESTART:
            return say(
                f"kill {umid}: not killed: its supervisor would start it again, and {why}; "
                f"`kill {supervisor}` ends that supervisor first, and harms no guest",
                exitcodes.FAILED,
            )
        gone = (
            "past its supervisor, which could not be asked"
            if why
            else "after its supervisor was gone"
        )
        return _kill(record, f"by uid {os.getuid()}, {gone}")
    if why:
        return say(
            f"{name} {umid}: the guest runs (pid {record.pid}), and {why}", exitcodes.NO_GUEST
        )
    return say(
        f"{name} {umid}: the guest runs (pid {record.pid}), but its supervisor is gone; "
        f"`umlctl mconsole {umid_lock.kernel_socket(record.definition)} TEXT` reaches its kernel, "
        f"`umlctl kill {umid}` ends it",
        exitcodes.NO_GUEST,
    )


def _kill(record: records.Record, how: str) -> int:
    """Kill a guest whose supervisor cannot be asked to, and remove what it left. Where the host has
    no means to start a supervisor, the guest is to end all the same.

    how: in words, for its record
    """
    umid = record.definition.umid
    outsiders = list(processes.outside_group(record.pid))
    processes.kill_guest(record.pid, record.started, outsiders)
    deadline = time.monotonic() + KILL_TIMEOUT
    held = None
    while held is None:
        try:
            # The host takes its time to end a process, and nothing holds the name of a guest whose
            # tiny parent was killed.
            if not processes.alive(record.pid, record.started):
                # A tiny parent that lives holds the name until it has written down the end.
                held = umid_lock.claim(umid, record.definition.home)
        except GuestInUse:
            pass
        if held is None:
            if time.monotonic() > deadline:
                return say(f"kill {umid}: something of it is still there", exitcodes.FAILED)
            time.sleep(0.01)
    aside = discover.set_aside(umid)
    if aside:
        say(aside, exitcodes.OK)
    killed = Ending(cause="killed", code=exitcodes.SIGNALLED + 9, text=how, time=time.time())
    for problem in cleanup.record_end(record, killed):
        say(f"{umid}: {problem}", exitcodes.FAILED)
    held.release()
    print(f"{umid} killed")
    return exitcodes.OK
