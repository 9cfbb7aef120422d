"""What `status` shows of one guest."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from umlctl.guest.definition import chooses_root
from umlctl.host import processes
from umlctl.protocol.console_socket import config
from umlctl.protocol.status import Status
from umlctl.state import endings
from umlctl.state.umid_lock import sockets
from umlctl.supervisor.history import brief
from umlctl.supervisor.lifecycle import RESTARTING

if TYPE_CHECKING:
    from umlctl.protocol.status import Device, State
    from umlctl.supervisor.consoles.server import Consoles
    from umlctl.supervisor.devices.table import DeviceTable
    from umlctl.supervisor.life import Life
    from umlctl.supervisor.lifecycle import Lifecycle


def status_of(life: Life, refused: int, clients_refused: int) -> Status:
    """What `status` shows.

    refused, clients_refused: how many requests, and clients, were refused in all lives
    """
    launched, lifecycle = life.launched, life.lifecycle
    definition, record, pid = launched.definition, launched.record, launched.pid
    lives = not life.milestones.dead.is_set()
    if lives:
        life.pauses.look()
    held = life.process.held()
    return Status(
        umid=definition.umid,
        state=_state(lifecycle, held),
        since=round(lifecycle.since if held is None else life.watchdog.since(held), 3),
        started=round(record.since, 3),
        pid=pid if lives else None,
        supervisor_pid=os.getpid(),
        kernel=definition.kernel,
        memory=processes.memory_used(pid) if lives else None,
        memory_limit=definition.mem,
        cgroup=record.cgroup or None,
        confined=record.confined or None,
        own_mounts=record.binds if record.confined else None,
        cpu=processes.cpu_seconds(pid) if lives else None,
        boots=1 + lifecycle.reboots + lifecycle.restarts,
        reboots=lifecycle.reboots,
        restarts=lifecycle.restarts,
        refused=refused,
        clients_refused=clients_refused,
        exchanges=life.kernel.exchanges,
        trouble=_trouble(life, held) or None,
        last_panic=lifecycle.last_panic or None,
        resume=record.resume or None,
        sockets=sockets(definition),
        root="kernel arguments" if chooses_root(definition) else definition.root,
        devices=devices_of(life.devices, life.consoles),
        consoles=life.consoles.listing(),
        log=life.log,
        command=list(launched.command),
        last_event=brief(life.history.last),
        ending=lifecycle.ending,
    )


def devices_of(devices: DeviceTable, consoles: Consoles) -> list[Device]:
    """The device table. A console that programs attach to is shown by its socket: no program has
    the descriptors that the kernel has for it."""
    return [
        _attached(each, f"unix:{consoles.socket_of(each.name)}")
        if each.name in consoles.by_name and each.kernel == config(each.name)
        else each
        for each in devices.listing()
    ]


def _attached(device: Device, where: str) -> Device:
    said = f"{device.name}={where}"
    observed = {"config": where} if device.observed else device.observed
    return msgspec.structs.replace(device, asked=said, kernel=said, observed=observed)


def _state(lifecycle: Lifecycle, held: processes.Held | None) -> State:
    if held is not None:
        return held.state
    return "hung" if lifecycle.hung and lifecycle.ending is None else lifecycle.state


def _trouble(life: Life, held: processes.Held | None) -> str:
    if held is not None:
        return held.by
    lifecycle = life.lifecycle
    if lifecycle.ending is not None:
        again = "to be started again: " if lifecycle.state == RESTARTING else ""
        return again and again + endings.describe(lifecycle.ending)
    return life.kernel.trouble or lifecycle.hung or life.watchdog.unreachable
