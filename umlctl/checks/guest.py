"""One guest: what is wrong with it, and what may surprise."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from umlctl.checks import boot_warnings
from umlctl.checks.findings import FATAL, NOTE, WARNING, Check, Finding, Severity
from umlctl.client import guests
from umlctl.errors import NoGuest, NoKernel
from umlctl.guest import confinement
from umlctl.host import landlock, paths
from umlctl.kernels import find
from umlctl.output import views
from umlctl.protocol.status import DEAD
from umlctl.recovery import discover
from umlctl.state import records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from umlctl.protocol.status import State, Status
    from umlctl.state.records import Record

SUBJECT: Final = "guest"
_ENDED_WELL: Final = ("exited", "shut down")
_STATES: Final[dict[State, tuple[Severity, str, str]]] = {
    "hung": (FATAL, "it should run, and does nothing", "umlctl stack {0} 1; umlctl kill {0}"),
    "traced": (FATAL, "a debugger keeps its kernel from running", "have the debugger let it go"),
    "suspended": (FATAL, "a signal keeps its kernel from running", "kill -CONT {1}"),
    "silent": (FATAL, "it answers nothing", "umlctl ps {0}; umlctl kill {0}"),
    "unknown": (WARNING, "its supervisor is of another umlctl", "umlctl status {0} --json"),
    "unsupervised": (WARNING, "its supervisor is gone", "umlctl adopt {0}"),
    "unmanaged": (NOTE, "somebody started its kernel by hand", "umlctl start {0} supervises one"),
    "stopped": (WARNING, "it was told to stop, and does nothing until told to go", "umlctl go {0}"),
}
"""States in which a guest does not do what it is there for; {0} is its name, {1} its pid."""


def checks(name: str) -> tuple[Check, ...]:
    """What is looked at of a guest.

    Raises: NoGuest
    """
    umid = paths.umid_of(name)
    status = next((each for each in guests.gather() if each.umid == umid), None)
    record = discover.find(umid)
    if status is None:
        if umid not in records.names():
            raise NoGuest(f"there is no guest {name}; `umlctl list` shows those there are")
        return (Check("record", SUBJECT, partial(of_record, umid)),)
    return (
        Check("state", SUBJECT, partial(of_state, status)),
        Check("devices", SUBJECT, partial(of_devices, status)),
        Check("record", SUBJECT, partial(of_record, umid)),
        Check("kernel", SUBJECT, partial(of_kernel, record)),
        Check("confinement", SUBJECT, partial(of_confinement, status)),
        Check("boot", SUBJECT, partial(of_boot, record)),
        Check("panics", SUBJECT, partial(of_panics, status)),
    )


def of_state(status: Status) -> Iterator[Finding]:
    """It runs, and does what it is there for."""
    umid, state = status.umid, status.state
    if state == DEAD:
        ending = status.ending
        is_well = ending is not None and ending.cause in _ENDED_WELL and not ending.code
        yield Finding(
            NOTE if is_well else FATAL,
            f"{umid} does not run: {views.ending_text(ending)}",
            status.trouble or "its console's log says more",
            f"umlctl logs {umid}; umlctl start {umid}",
        )
    elif state in _STATES:
        severity, why, remedy = _STATES[state]
        what = f"{umid} is {views.state_text(state)}"
        yield Finding(
            severity, what, status.trouble or why, remedy.format(umid, status.pid or "PID")
        )
    elif status.trouble:
        yield Finding(
            WARNING,
            f"{umid}: {status.trouble}",
            f"it is {views.state_text(state)} all the same",
            f"umlctl events {umid}",
        )


def of_devices(status: Status) -> Iterator[Finding]:
    """Each device is there, with its host's side."""
    for device in status.devices:
        said = device.problem or device.note
        if said:
            kind = "disk" if device.name.startswith("ubd") else "nic"
            yield Finding(
                WARNING,
                f"{device.name} of {status.umid}: {said}",
                f"it was asked for as {device.asked}",
                f"umlctl {kind} rm {status.umid} {device.name}; umlctl {kind} add it again",
            )


def of_record(umid: str) -> Iterator[Finding]:
    """What is written down of it can be read."""
    try:
        records.read(umid)
    except records.Unreadable as problem:
        yield Finding(
            WARNING,
            str(problem),
            "what it was started with is not known",
            f"umlctl adopt sets it aside if the guest runs no more; umlctl rm {umid} forgets it",
        )
    aside = records.set_aside_names(umid)
    if aside:
        where = paths.record_dir(umid)
        why = "it could not be read, and is kept to be looked at"
        yield Finding(NOTE, f"a record of {umid} was set aside", why, f"rm {where}/{aside[0]}")


def of_kernel(record: Record | None) -> Iterator[Finding]:
    """Its kernel's file is there, for its next boot."""
    if record is None:
        return
    try:
        find.probe(record.definition.kernel)
    except NoKernel as problem:
        yield Finding(
            WARNING,
            problem.problem.removesuffix(f"; {find.ADVICE}"),
            "it executes that file when it reboots, and ends if it cannot",
            "have the file there again, or start the guest with another --kernel",
        )


def of_confinement(status: Status) -> Iterator[Finding]:
    """How its kernel is confined."""
    if status.state == DEAD or status.confined is None:
        return
    if status.confined == confinement.OFF:
        lacks = landlock.unable()
        yield Finding(
            WARNING,
            f"{status.umid} is not confined",
            "root in it reaches every file of the user who runs it",
            f"no guest can be here: {lacks}" if lacks else "start it without --confine off",
        )
    elif not status.own_mounts:
        unhidden = views.UNHIDDEN.get(status.confined, "").removeprefix("; ")
        yield Finding(
            WARNING,
            f"{status.umid} is confined ({status.confined}), and has no mounts of its own",
            unhidden,
            "umlctl doctor says why this host gives it none",
        )


def of_boot(record: Record | None) -> Iterator[Finding]:
    """What was said when it was started, to who may not have seen it."""
    if record is None:
        return
    said = boot_warnings.of_loss(record.definition) if records.lives(record) else []
    with suppress(NoKernel):  # that is told
        said += boot_warnings.of_start(record.definition, once=False)
    for text in said:
        what, _, remedy = text.partition("; ")
        why = "it was said when the guest was started"
        yield Finding(NOTE, what, why, remedy or "start it otherwise, if that is not meant")


def of_panics(status: Status) -> Iterator[Finding]:
    """It has not panicked."""
    if status.last_panic and status.state != DEAD:
        yield Finding(
            NOTE,
            f"{status.umid} has panicked: {status.last_panic}",
            "it was started again since",
            f"umlctl events {status.umid}; umlctl dmesg {status.umid}",
        )
