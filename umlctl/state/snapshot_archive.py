"""Snapshots as one file, for another machine: an archive of whole disks.

    snapshot.json      what it is of
    GUEST.ubdN         all of a disk, its backing file too, with holes

It needs nothing of the machine that it comes from, and says nothing to the one that it comes to:
of a guest, only its name, its memory, its processors and its disks are believed.
"""

from __future__ import annotations

import contextlib
import os
import tarfile
import tempfile
from typing import TYPE_CHECKING, Final

import msgspec

from umlctl.errors import HostError, UsageError
from umlctl.guest import definition as definitions
from umlctl.guest import specs
from umlctl.guest.definition import Definition
from umlctl.host import naming
from umlctl.state import snapshots
from umlctl.state.snapshots import RECORD, Layer, Member, Plugged, Snapshot
from umlctl.storage import merge, sparse_tar
from umlctl.storage.cow_file import check_fits, open_backing, open_cow, opened
from umlctl.storage.new_file import new_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from typing import IO, BinaryIO

MAX_FILES: Final = 1024
"""Of an archive: more is none of ours."""
IMPORTED: Final = "/imported"
"""Where disks stand in the definition of a guest that comes from elsewhere: nowhere."""
_SNAPSHOT: Final = msgspec.json.Decoder(Snapshot)


def write(snapshot: Snapshot, path: str, say: Callable[[int], object]) -> int:
    """Write a snapshot to a new file, which is whole or is not there; how large it is, bytes.

    say: is told how many bytes of the disks are done more

    Raises: HostError; OSError
    """
    layers = tuple(msgspec.structs.replace(each, path="", backing="") for each in snapshot.layers)
    record = msgspec.json.encode(msgspec.structs.replace(snapshot, layers=layers))
    with new_file(path, 0o600) as target, os.fdopen(os.dup(target), "wb") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
            with _beside(path) as beside:
                os.pwrite(beside.fileno(), record, 0)
                sparse_tar.add(archive, beside.fileno(), RECORD)
            for layer in snapshot.layers:
                _add(archive, snapshot.path_of(layer), layer, path, say)
        file.flush()
        return os.fstat(target).st_size


def _beside(path: str) -> IO[bytes]:
    """A file without a name in the directory of another."""
    return tempfile.TemporaryFile(dir=os.path.dirname(os.path.abspath(path)))


def _add(
    archive: tarfile.TarFile, source: str, layer: Layer, path: str, say: Callable[[int], object]
) -> None:
    if not layer.backing:
        with opened(source) as descriptor:
            sparse_tar.add(archive, descriptor, layer.file)
            say(layer.size)
        return
    with (
        open_cow(source) as of,
        open_backing(of) as backing,
        _beside(path) as beside,
    ):
        check_fits(of, backing, of.header.backing)
        merge.into_open(of, backing, beside.fileno(), say)
        sparse_tar.add(archive, beside.fileno(), layer.file)


def read(
    file: BinaryIO,
    name: str,
    say: Callable[[int], object],
    guarding: Callable[[str], AbstractContextManager[object]] = contextlib.nullcontext,
) -> Snapshot:
    """Keep a snapshot that is in an archive; the caller holds `snapshots.lock`.

    name: that it is to have; empty: its own
    guarding: sees to the directory where it is made, should this process be killed

    Raises: HostError, UsageError; OSError: and nothing of it is there
    """
    members = sparse_tar.read(file, MAX_FILES)
    first, reader = next(members, (None, None))
    if first is None or reader is None or first.name != RECORD:
        raise HostError(f"it does not begin with {RECORD}, as a snapshot does")
    if first.size > snapshots.MAX_RECORD_BYTES:
        raise HostError(f"its {RECORD} has {first.size} bytes")
    try:
        said = _SNAPSHOT.decode(sparse_tar.contents(first, reader, 0, first.size))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise HostError(f"its {RECORD} cannot be understood: {problem}") from None
    snapshot = _believed(said, name)
    wanted = {each.file: each for each in snapshot.layers}
    with snapshots.making(snapshot.guest, snapshot.name) as place, guarding(place):
        for found, contents in members:
            layer = wanted.pop(found.name, None)
            if layer is None:
                raise HostError(f"it has a file {found.name!r}, which its {RECORD} does not name")
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            target = os.open(f"{place}/{layer.file}", flags, 0o600)
            try:
                sparse_tar.extract(found, contents, target)
                say(found.size)
            finally:
                os.close(target)
        if wanted:
            raise HostError(f"it has no {next(iter(wanted))}; it is cut, or damaged")
        layers = tuple(
            msgspec.structs.replace(each, size=os.stat(f"{place}/{each.file}").st_size)
            for each in snapshot.layers
        )
        snapshot = msgspec.structs.replace(snapshot, layers=layers)
        snapshots.finish(place, snapshot)
    return snapshot


def _believed(said: Snapshot, name: str) -> Snapshot:
    """What is taken from the record of a machine that may be anybody's.

    Raises: UsageError, HostError
    """
    members = tuple(_member(each, said.layers) for each in said.members)
    umids = [each.definition.umid for each in members]
    if said.guest not in umids or len(set(umids)) < len(umids):
        raise HostError(f"its {RECORD} does not say which guests it is of")
    layers = tuple(
        Layer(
            guest=each.guest,
            disk=each.disk,
            file=f"{each.guest}.{each.disk}",
            path="",
            size=0,
            discard=False,
        )
        for each in said.layers
    )
    if {each.guest for each in layers} - set(umids):
        raise HostError(f"its {RECORD} has disks of no guest")
    return Snapshot(
        guest=said.guest,
        name=snapshots.check_name(name or said.name),
        time=float(said.time),
        pause=max(0.0, float(said.pause)),
        members=members,
        layers=layers,
    )


def _member(said: Member, layers: tuple[Layer, ...]) -> Member:
    old = said.definition
    try:
        umid = naming.check_umid(old.umid)
    except naming.BadUmid as problem:
        raise UsageError(str(problem)) from None
    disks = []
    for layer in (each for each in layers if each.guest == umid):
        slot = layer.disk.removeprefix("ubd")
        if layer.disk != f"ubd{slot}" or not (slot.isascii() and slot.isdigit()):
            raise HostError(f"its {RECORD} has a disk {layer.disk!r}")
        disk = specs.parse_disk(f"{IMPORTED}/{layer.disk},slot={slot}")
        disks.append(Plugged(name=f"ubd{disk.slot}", asked=str(disk)))
    if len({each.name for each in disks}) < len(disks):
        raise HostError(f"its {RECORD} has a disk twice")
    has_root = any(each.name == "ubd0" for each in disks)
    definition = Definition(
        umid=umid,
        kernel="linux",
        mem=max(definitions.MIN_MEM_BYTES, min(int(old.mem), 1 << 40)),
        ncpus=max(1, min(int(old.ncpus), 64)),
        root=f"{IMPORTED}/ubd0" if has_root else definitions.HOST_ROOT,
    )
    return Member(definition=definition, disks=tuple(disks), synced=said.synced[:200])
