"""What is shown of one guest."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from umlctl.guest.definition import chooses_root
from umlctl.host import endings, processes
from umlctl.host.attaching import config
from umlctl.host.claim import sockets
from umlctl.protocol.status import Status
from umlctl.supervisor.history import brief

if TYPE_CHECKING:
    from umlctl.protocol.status import Device, State
    from umlctl.supervisor.guest import Guest


def status_of(guest: Guest) -> Status:
    """What `status` shows."""
    pid = guest.launched.pid
    lives = not guest.dead.is_set()
    if lives:
        guest.pauses.look()
    definition, record = guest.launched.definition, guest.launched.record
    held = guest.held()
    return Status(
        umid=guest.umid,
        state=_state(guest, held),
        since=round(guest.lifecycle.since if held is None else guest.watcher.since(held), 3),
        started=round(record.since, 3),
        pid=pid if lives else None,
        supervisor_pid=os.getpid(),
        kernel=definition.kernel,
        memory=processes.memory_used(pid) if lives else None,
        memory_limit=definition.mem,
        cgroup=record.cgroup or None,
        cpu=processes.cpu_seconds(pid) if lives else None,
        boots=1 + guest.lifecycle.reboots + guest.lifecycle.restarts,
        reboots=guest.lifecycle.reboots,
        restarts=guest.lifecycle.restarts,
        refused=guest.refused,
        clients_refused=guest.clients_refused,
        exchanges=guest.kernel.exchanges,
        trouble=_trouble(guest, held) or None,
        last_panic=guest.lifecycle.last_panic or None,
        resume=record.resume or None,
        sockets=sockets(definition),
        root="kernel arguments" if chooses_root(definition) else definition.root,
        devices=devices_of(guest),
        consoles=guest.consoles.listing(),
        log=guest.log,
        command=list(guest.launched.command),
        last_event=brief(guest.history.last),
        ending=guest.ending,
    )


def devices_of(guest: Guest) -> list[Device]:
    """The device table. A console that programs attach to is shown by its socket: the descriptors
    that its kernel has for it are nobody else's."""
    consoles = guest.consoles
    return [
        _attached(each, f"unix:{consoles.socket_of(each.name)}")
        if each.name in consoles.by_name and each.kernel == config(each.name)
        else each
        for each in guest.devices.listing()
    ]


def _attached(device: Device, where: str) -> Device:
    said = f"{device.name}={where}"
    observed = {"config": where} if device.observed else device.observed
    return msgspec.structs.replace(device, asked=said, kernel=said, observed=observed)


def _state(guest: Guest, held: processes.Held | None) -> State:
    if held is not None:
        return held.state
    return "hung" if guest.lifecycle.hung and guest.ending is None else guest.state


def _trouble(guest: Guest, held: processes.Held | None) -> str:
    if held is not None:
        return held.by
    if guest.ending is not None:
        again = "to be started again: " if guest.state == "restarting" else ""
        return again and again + endings.describe(guest.ending)
    return guest.kernel.trouble or guest.lifecycle.hung or guest.watcher.unreachable
