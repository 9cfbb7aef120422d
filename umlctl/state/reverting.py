"""Putting guests' disks back as they are in a snapshot: all of them, or none.

New files are made beside those that they take the place of. What is to be done is written down
before, so that what was interrupted is undone as long as the new files are not whole, and finished
when they are.

    snapshots/revert.json    {"ready": bool, "steps": [{"made": path, "path": path}]}
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

import msgspec

from umlctl.errors import HostError
from umlctl.host import paths
from umlctl.host.files import write_atomically
from umlctl.state import leases, snapshots
from umlctl.state.checksum import Damaged, seal, unseal
from umlctl.state.file_identity import check_free, hold_of
from umlctl.state.files_in_use import over
from umlctl.storage import journal
from umlctl.storage.cow_file import check_fits, open_backing, open_cow
from umlctl.storage.file_copy import copy_whole
from umlctl.storage.new_file import new_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from umlctl.state.leases import Use
    from umlctl.state.snapshots import Layer, Snapshot

    Users = Callable[[], Iterable[Use]]

WHAT: Final = "snapshot revert"


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A file, and the path where it is to be."""

    made: str
    path: str


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is being done. ready: all files are made"""

    ready: bool
    steps: tuple[Step, ...]


_PLAN: Final = msgspec.json.Decoder(Plan)


def revert(snapshot: Snapshot, users: Users) -> list[str]:
    """Put all disks of a snapshot back, which no guest may have, but for those with `discard`; the
    caller holds `snapshots.lock`.

    users: the devices of guests that run, as they are under the lock of all devices

    Returns: the paths
    Raises: HostError; OSError: and all is as it was
    """
    if not all(each.path for each in snapshot.layers):
        raise HostError(
            f"{WHAT}: it was imported, and no guest here had its disks; "
            f"`umlctl snapshot clone {snapshot.guest} {snapshot.name} NEW` gives them to a new one"
        )
    layers = tuple(each for each in snapshot.layers if not each.discard)
    if not layers:
        raise HostError(
            f"{WHAT}: its disks are made anew whenever they are plugged, with `discard`; "
            f"`umlctl snapshot clone {snapshot.guest} {snapshot.name} NEW` gives what they had to "
            "a new guest"
        )
    for layer in layers:
        check_whole(snapshot, layer)
    steps = tuple(Step(made=f"{each.path}~revert", path=each.path) for each in layers)
    with leases.lock():
        _check_unused(layers, users)
    _write(Plan(ready=False, steps=steps))
    try:
        for layer, step in zip(layers, steps, strict=True):
            _make(snapshot.path_of(layer), step.made, layer)
        with leases.lock():
            _check_unused(layers, users)
            _write(Plan(ready=True, steps=steps))
            finish()
    except BaseException:
        if os.path.lexists(_path()) and not _read().ready:
            finish()
        raise
    return [each.path for each in layers]


def finish() -> None:
    """Finish or undo one that was interrupted; the caller holds `snapshots.lock`.

    Raises: HostError; OSError
    """
    if not os.path.lexists(_path()):
        return
    plan = _read()
    for step in plan.steps:
        with contextlib.suppress(FileNotFoundError):  # it was done before
            if plan.ready:
                os.rename(step.made, step.path)
            else:
                os.unlink(step.made)
    for directory in {os.path.dirname(step.path) for step in plan.steps}:
        with contextlib.suppress(OSError):
            _sync(directory)
    os.unlink(_path())


def finish_interrupted() -> None:
    """The same, for who begins to use disks; it costs a look if there was none.

    Raises: HostError
    """
    if os.path.lexists(_path()):
        with snapshots.lock():
            try:
                finish()
            except OSError as problem:
                raise HostError(f"{WHAT}: {problem}") from problem


def _path() -> str:
    return f"{paths.snapshots_dir()}/revert.json"


def _read() -> Plan:
    """Raises: HostError"""
    try:
        with open(_path(), "rb") as file:
            return _PLAN.decode(unseal(file.read()))
    except OSError as problem:
        raise HostError(f"cannot read {_path()}: {problem.strerror}") from problem
    except (Damaged, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise HostError(
            f"{_path()} cannot be understood: {problem}; move it away when you have seen to the "
            "disks that it names"
        ) from None


def _write(plan: Plan) -> None:
    write_atomically(_path(), seal(msgspec.json.encode(plan)))
    _sync(paths.snapshots_dir())


def _sync(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_unused(layers: tuple[Layer, ...], users: Users) -> None:
    """Raises: HostError"""
    used = list(users())
    for layer in layers:
        if said := journal.interrupted(layer.path):
            raise HostError(f"{WHAT}: {said}")
        if not os.path.lexists(layer.path):
            continue
        check_free(WHAT, [hold_of(layer.path, write=True)], used)
        if not layer.backing and (others := over(layer.path)):
            raise HostError(
                f"{WHAT}: {layer.path} is the backing file of {', '.join(others)}, which no kernel "
                "would take any more; merge or remove those first"
            )


def check_whole(snapshot: Snapshot, layer: Layer) -> None:
    """See that a kernel will take what is put back.

    Raises: HostError
    """
    path = snapshot.path_of(layer)
    if not layer.backing:
        if os.stat(path).st_size != layer.size:
            raise HostError(f"{path} has not the {layer.size} bytes that it was made with")
        return
    with open_cow(path) as of, open_backing(of) as backing:
        check_fits(of, backing, of.header.backing)


def _make(source: str, target: str, layer: Layer) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(target)
    with contextlib.ExitStack() as stack:
        descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        stack.callback(os.close, descriptor)
        made = stack.enter_context(new_file(target, layer.mode))
        copy_whole(descriptor, made, lambda _count: None)
        with contextlib.suppress(FileNotFoundError):
            now = os.stat(layer.path)
            os.fchmod(made, now.st_mode & 0o777)
            if (now.st_uid, now.st_gid) != (os.geteuid(), os.getegid()):
                with contextlib.suppress(PermissionError):
                    os.fchown(made, now.st_uid, now.st_gid)
