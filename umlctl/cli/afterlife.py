"""A guest that nobody supervises: what its record says of it, and how to end it all the same."""

from __future__ import annotations

import functools
import os
import time
from typing import Any, Final

import msgspec

from socketproto.blocking import Connection, Link, Unreachable
from socketproto.exchange import GONE, Outcome
from umlctl import exitcodes
from umlctl.cli import views
from umlctl.errors import GuestInUse, UmlctlError
from umlctl.guard import is_query, read
from umlctl.guest import policy
from umlctl.host import burial, claim, lost, paths, processes, records
from umlctl.oneshot import Abandoned, say

DIES: Final = 2.0
"""How long a supervisor that was killed may hold what it had, seconds."""
REPEATABLE: Final = ("devices", "wait", "shutdown", "kill")
"""What does no more if it is asked twice, besides plain questions."""
ENDS: Final = 5.0
"""How long the host may take to clear a killed guest away, seconds."""


def take_over(guest: str, *, everyone: bool = False) -> bool:
    """Have the background supervisor adopt a guest that runs on without its own, and all others;
    or start it again, if it has died and its policy is that.

    guest: as it was named; a path is nobody's to take over
    everyone: come back when all answer, not only this one
    """
    request = "adopt" if everyone else f"adopt {guest}"
    record = lost.find(guest) if "/" not in guest else None
    if record is None:
        return False
    bury(record)
    if record.ending is not None and not record.again:
        return False
    from umlctl.cli.background import ask_running_supervisor, ask_supervisor

    deadline = time.monotonic() + DIES
    while claim.has_owner(guest):
        # It is being adopted just now, and this is answered when that is done;
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
    return claim.has_owner(guest)


def can_be_asked_again(guest: str, problem: Unreachable) -> None:
    """See that a request which a supervisor did not answer any more does no harm if it is asked
    of the next one.

    Raises: Abandoned
    """
    if isinstance(problem, Abandoned):
        line = read(problem.text)
        if not is_query(line) and line.command.name not in REPEATABLE:
            why = (
                "its supervisor was killed before it answered; the guest runs on and has another "
                f"one, but whether this was done is not known: see `umlctl events {guest}`"
            )
            outcome = Outcome(GONE, reason=why)
            raise Abandoned(problem.path, problem.text, outcome, in_doubt=True)


def is_served(guest: str) -> bool:
    """Somebody listens on the guest's public socket."""
    with Connection(paths.find_socket(guest)) as connection:
        try:
            connection.link.open()
        except Unreachable:
            return False
        return connection.link.served and not connection.link.kick()


def adopt_all() -> None:
    """Have the background supervisor see to all that others left.

    Raises: HostError
    """
    from umlctl.cli.background import ask_supervisor

    ask_supervisor("adopt")


def bury_all() -> list[records.Record]:
    """Bury all guests that have died unseen; these."""
    found = [record for record in records.load_all() if record.ending is None]
    for record in found:
        bury(record)
    return [record for record in found if record.ending is not None]


def bury(record: records.Record) -> None:
    """See to a guest that has died unseen; what goes wrong is said."""
    for problem in burial.bury(record):
        say(f"{record.definition.umid}: {problem}", exitcodes.FAILED)


def summary(record: records.Record) -> dict[str, Any]:
    """The guest as `list` and `status` show it."""
    bury(record)
    found = records.summary(record)
    if burial.lives(record):
        found.update(
            state="unsupervised",
            pid=record.pid,
            since=record.since,
            memory=processes.memory_used(record.pid),
            cpu=processes.cpu_seconds(record.pid),
            sockets={"kernel": claim.kernel_socket(record.definition)},
            devices=msgspec.to_builtins(record.devices),
            root=record.definition.root,
        )
        pid, why = out_of_reach(record.definition.umid)
        if why:
            found.update(state="silent", supervisor_pid=pid, trouble=why)
    return found


@functools.cache
def _restored_by() -> float:
    """Until when this process waits for supervisors whose directory is not there, by the
    monotonic clock: they make it anew if it was removed."""
    return time.monotonic() + DIES


def out_of_reach(umid: str) -> tuple[int, str]:
    """The supervisor of a guest that runs, and why it cannot be asked though it is there; else
    0 and nothing."""
    directory = paths.guest_dir(umid)
    pid = 0 if os.path.exists(directory) else claim.owner(umid)
    while pid and not os.path.exists(paths.guest_socket(umid)):
        if time.monotonic() > _restored_by():
            break
        time.sleep(0.02)
    else:
        return 0, ""
    return pid, (
        f"its supervisor, pid {pid}, cannot be asked from here: {directory} is missing, which was "
        "removed just now, or this process has another /tmp; UMLCTL_DIR sets a place that all see"
    )


def holder(link: Link) -> str:
    """Who keeps the guest behind a socket from running, such as a debugger; empty if nobody."""
    if not link.served:
        from umlctl.cli import bare

        return bare.held(link.path)
    with Connection(link.path) as connection:
        try:
            outcome = connection.request("status", ENDS)
            status = views.read_status(outcome.data)
        except (Unreachable, msgspec.DecodeError):
            return ""
    return str(status["trouble"]) if status["state"] in ("traced", "suspended") else ""


def epitaph(guest: str) -> str:
    """What became of a guest that was started here, in a sentence; empty if that is not known."""
    record = lost.find(guest)
    if record is None:
        return ""
    bury(record)
    if burial.lives(record):
        _, why = out_of_reach(guest)
        if why:
            return f"{guest} runs (pid {record.pid}), and {why}"
        return (
            f"{guest} runs (pid {record.pid}), and nobody supervises it; "
            f"`umlctl adopt {guest}` has it supervised again"
        )
    ending = records.summary(record)["ending"]
    ago = views.duration(max(0.0, time.time() - ending["time"])) if ending else "some time"
    return (
        f"{guest} does not run: {views.ending_text(ending)}, {ago} ago; "
        f"`umlctl start {guest}` starts it again"
    )


def answer(name: str, guest: str, json: bool) -> int | None:
    """Answer `status`, `wait` or `kill` for a guest without a supervisor.

    The exit code; None if there is no such guest, or only a living one could tell.
    """
    if "/" in guest:
        return None
    record = lost.find(guest)
    if record is None:
        try:
            records.read(guest)
        except records.Unreadable as problem:
            return say(f"{name} {guest}: {problem}", exitcodes.FAILED)
        return None
    bury(record)
    if name == "status":
        status = summary(record)
        print(views.to_json(status) if json else "\n".join(views.status_lines(status)))
        return exitcodes.OK
    if burial.lives(record):
        return _answer_for_living(name, record)
    if name == "wait":
        found = records.summary(record)["ending"]
        print(views.to_json(found) if json else f"{guest} {views.ending_text(found)}")
        return record.ending.code if record.ending else exitcodes.GONE
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
        f"`umlctl mconsole {claim.kernel_socket(record.definition)} TEXT` reaches its kernel, "
        f"`umlctl kill {umid}` ends it",
        exitcodes.NO_GUEST,
    )


def _kill(record: records.Record, how: str) -> int:
    """End a guest that no supervisor can be asked to, and remove what it left.

    how: in words, for its record
    """
    umid = record.definition.umid
    outsiders = list(processes.outside_group(record.pid))
    processes.kill_guest(record.pid, record.started, outsiders)
    deadline = time.monotonic() + ENDS
    held = None
    while held is None:
        try:
            # The host takes its time to end a process, and nothing holds the name of a guest
            if not processes.alive(record.pid, record.started):
                # whose tiny parent was killed. That holds it until it has written down the end.
                held = claim.claim(umid, record.definition.home)
        except GuestInUse:
            pass
        if held is None:
            if time.monotonic() > deadline:
                return say(f"kill {umid}: something of it is still there", exitcodes.FAILED)
            time.sleep(0.01)
    aside = lost.set_aside(umid)
    if aside:
        say(aside, exitcodes.OK)
    for problem in burial.end(record, "killed", exitcodes.SIGNALLED + 9, how):
        say(f"{umid}: {problem}", exitcodes.FAILED)
    held.release()
    print(f"{umid} killed")
    return exitcodes.OK
