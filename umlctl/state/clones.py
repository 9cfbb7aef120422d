"""A new guest from a snapshot: the same but for its name, its disks and its MAC addresses."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from umlctl.devices import ubd
from umlctl.guest import definition as definitions
from umlctl.guest import specs
from umlctl.host.files import remove_tree
from umlctl.storage.file_copy import copy_whole

if TYPE_CHECKING:
    from umlctl.guest.definition import Definition
    from umlctl.guest.specs import Disk
    from umlctl.state.snapshots import Layer, Member, Snapshot

ROOT = "ubd0"


def definition_of(
    member: Member, umid: str, directory: str, kernel: str = ""
) -> tuple[Definition, list[str]]:
    """The new guest, and what it does not have of the old one, in words.

    member: the guest that it is a clone of
    umid: its name
    directory: where its disks are
    kernel: its kernel; empty: that of the old one

    Raises: UsageError
    """
    old = member.definition
    root, disks = old.root, []
    has_image = definitions.root_is_image(old)
    for each in member.disks:
        disk = specs.parse_disk(each.asked, old.cwd)
        if disk.file == ubd.NULL_FILE:
            continue
        disk = msgspec.structs.replace(disk, slot=int(each.name.removeprefix("ubd")))
        if not disk.readonly:
            disk = _own(disk, file_of(directory, each.name))
        if has_image and each.name == ROOT:
            root = str(msgspec.structs.replace(disk, slot=None))
        else:
            disks.append(str(disk))
    nics, lost = _nics(old)
    arguments, append = (
        tuple(word for word in words if not (definitions.is_device(word) and word[:3] == "ubd"))
        for words in (old.arguments, old.append)
    )
    new = msgspec.structs.replace(
        old,
        umid=umid,
        kernel=kernel or old.kernel,
        named=True,
        root=root,
        disks=tuple(disks),
        nics=nics,
        arguments=arguments,
        append=append,
        pidfile="",
    )
    return definitions.check(new), lost


def file_of(directory: str, disk: str) -> str:
    """Where the new guest has a disk."""
    return f"{directory}/{disk}.img"


def _own(disk: Disk, path: str) -> Disk:
    """The same disk with a file of the new guest, which is all that it writes to."""
    return msgspec.structs.replace(disk, file=path, cow="", discard=False)


def _nics(old: Definition) -> tuple[tuple[str, ...], list[str]]:
    nics, lost = [], []
    for text in old.nics:
        nic = specs.parse_nic(text, insist=True)
        if nic.kind == specs.KERNEL:
            nics.append(text)
            if nic.mac:
                lost.append(f"a MAC of its own for {text}: change it, or both have the same")
            continue
        planned = nic.addr if nic.addr in (specs.AUTO, specs.DHCP) else ""
        mine = msgspec.structs.replace(nic, mac="", addr=planned, host="", forwards=())
        nics.append(str(mine))
        given = {
            "addr": "" if planned else nic.addr,
            "host": nic.host,
            "forward": ", ".join(nic.forwards),
        }
        lost += [f"{key} {value}" for key, value in given.items() if value]
    return tuple(nics), lost


def beside(directory: str) -> str:
    """Where the directory of a new guest's disks is as long as it is made."""
    return f"{os.path.dirname(directory)}/.{os.path.basename(directory)}~"


def copy_layers(snapshot: Snapshot, layers: list[Layer], directory: str) -> None:
    """Make the new guest's disks in a directory, which is there when all of them are.

    Raises: OSError: FileExistsError among them
    """
    made = beside(directory)
    if os.path.lexists(directory):
        raise FileExistsError(17, "it is there already", directory)
    remove_tree(made)
    os.mkdir(made)
    try:
        for layer in layers:
            _copy(snapshot.path_of(layer), file_of(made, layer.disk), layer.mode)
        os.rename(made, directory)
    finally:
        remove_tree(made)


def _copy(source: str, target: str, mode: int) -> None:
    descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        made = os.open(target, flags, mode)
        try:
            copy_whole(descriptor, made, lambda _count: None)
            os.fsync(made)
        finally:
            os.close(made)
    finally:
        os.close(descriptor)
