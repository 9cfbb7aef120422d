"""Snapshots as a supervisor makes them, of guests that never ran."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from tests.cows import make
from umlctl.guest.definition import Definition
from umlctl.host import paths, processes
from umlctl.protocol.status import Ending
from umlctl.state import records, snapshots
from umlctl.state.file_identity import hold_of
from umlctl.state.records import DeviceEntry, Record
from umlctl.state.snapshots import Layer, Member, Plugged, Snapshot

if TYPE_CHECKING:
    from tests.cows import Made


def disk(place: str, guest: str = "demo", number: int = 1) -> Made:
    """A disk with a COW file, in a directory of its own."""
    directory = f"{place}/{guest}{number}"
    os.makedirs(directory)
    return make(directory, 64, range(3, 20), name=f"{guest}{number}")


def take(
    name: str, disks: dict[str, list[Made | str]], *, time: float = 1.0, discard: bool = False
) -> Snapshot:
    """A snapshot of guests and their disks, from ubd1 on: with a COW file, or a file without."""
    first = next(iter(disks))
    layers, members = [], []
    with snapshots.lock(), snapshots.making(first, name) as place:
        for guest, files in disks.items():
            plugged = []
            for number, each in enumerate(files, 1):
                path, backing = (each, "") if isinstance(each, str) else (each.cow, each.backing)
                file = f"{guest}.ubd{number}"
                shutil.copyfile(path, f"{place}/{file}")
                size = os.stat(path).st_size
                plugged.append(Plugged(name=f"ubd{number}", asked=path))
                layer = Layer(
                    guest=guest,
                    disk=f"ubd{number}",
                    file=file,
                    path=path,
                    backing=backing,
                    size=size,
                    discard=discard,
                )
                layers.append(layer)
            definition = Definition(
                umid=guest, kernel="/linux", disks=tuple(each.asked for each in plugged)
            )
            members.append(Member(definition=definition, disks=tuple(plugged)))
        made = Snapshot(
            guest=first,
            name=name,
            time=time,
            pause=0.01,
            members=tuple(members),
            layers=tuple(layers),
        )
        snapshots.finish(place, made)
    return made


def ended(umid: str, *disks: Made, again: bool = False, lives: bool = False) -> Record:
    """A guest that had these disks, from ubd1 on, and has ended; what is written down of it."""
    devices = []
    for number, made in enumerate(disks, 1):
        holds = [hold_of(made.cow, write=True), hold_of(made.backing, write=False)]
        kernel = f"ubd{number}={made.cow},{made.backing}"
        entry = DeviceEntry(name=f"ubd{number}", asked=made.cow, kernel=kernel, holds=holds)
        devices.append(entry)
    record = Record(
        definition=Definition(
            umid=umid, kernel="/linux", disks=tuple(each.asked for each in devices)
        ),
        supervisor_pid=1,
        pid=os.getpid(),
        started=processes.start_time(os.getpid()) or 0,
        boot_id=records.host_boot_id(),
        since=1.0,
        devices=devices,
        again=again,
        ending=None if lives else Ending(cause="exited", code=0, time=2.0),
    )
    os.makedirs(paths.record_dir(umid), exist_ok=True)
    records.save(record)
    return record


def write(made: Made, sector: int, data: bytes) -> None:
    """As a guest that has the disk would."""
    with open(made.cow, "r+b") as file:
        file.seek(8192 + sector // 8)
        bits = file.read(1)[0] | 1 << sector % 8
        file.seek(8192 + sector // 8)
        file.write(bytes([bits]))
        file.seek(8192 + 4096 + sector * 512)
        file.write(data.ljust(512, b"\0"))
