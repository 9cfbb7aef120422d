"""Snapshots of guests' disks: what is kept of each, who may change them, and which there are.

    snapshots/GUEST/NAME/snapshot.json     what it is of
    snapshots/GUEST/NAME/GUEST.ubdN        what had been written to a disk: its COW file, or all of
                                           it; of other guests too that were taken with this one
    snapshots/GUEST/.NAME~                 one that is being made, or removed
    snapshots/lock                         held by who makes, removes or reverts to one

A snapshot is whole, or is not there. It is never changed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING, Final

import msgspec

from umlctl.errors import HostError, NoGuest, UsageError
from umlctl.guest.definition import Definition  # noqa: TC001 - msgspec reads the annotations
from umlctl.host import naming, paths
from umlctl.host.files import remove_tree
from umlctl.state.checksum import Damaged, seal, unseal

if TYPE_CHECKING:
    from collections.abc import Iterator

FORM_VERSION: Final = 1
LOCK_TIMEOUT: Final = 60.0
"""How long another snapshot may take to be made, removed or reverted to, seconds."""
LOCK_INTERVAL: Final = 0.02
RECORD: Final = "snapshot.json"
MAX_RECORD_BYTES: Final = 16 << 20
"""Of a record, bytes: more is none of ours."""


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """What had been written to one disk.

    Fields:
        guest, disk: whose it is
        file: its name in the snapshot
        path: of the file that it was copied from; empty: it is from another machine
        backing: of a COW file; empty: it is all of the disk
        size: its length, bytes
        mode: its permissions
        discard: the guest loses what it writes there
    """

    guest: str
    disk: str
    file: str
    path: str
    backing: str = ""
    size: int
    mode: int = 0o600
    discard: bool = False


class Plugged(msgspec.Struct, frozen=True, kw_only=True):
    """A disk that a guest had.

    Fields:
        name: "ubd1"
        asked: in the words of `--disk`
    """

    name: str
    asked: str


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A guest that a snapshot is of.

    Fields:
        definition: as it was started
        disks: all that it had
        synced: why its kernel was not seen to write what it had in memory; empty if it was
        lacks: what it writes, and what is not in the snapshot
        ended: it did not run
        frozen: all its file systems were frozen
        note: what was wrong with it afterwards
    """

    definition: Definition
    disks: tuple[Plugged, ...]
    synced: str = ""
    lacks: tuple[str, ...] = ()
    ended: bool = False
    frozen: bool = False
    note: str = ""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One snapshot.

    Fields:
        guest, name: where it is kept
        time: when, seconds since 1970
        pause: for how long its guests were stopped, seconds
        frozen: for how long their file systems were at most; 0: those of none were
        members: the guests
        layers: their disks
    """

    guest: str
    name: str
    time: float
    pause: float
    members: tuple[Member, ...]
    layers: tuple[Layer, ...]
    frozen: float = 0.0
    version: int = FORM_VERSION

    @property
    def directory(self) -> str:
        return directory_of(self.guest, self.name)

    @property
    def guests(self) -> list[str]:
        return [each.definition.umid for each in self.members]

    def path_of(self, layer: Layer) -> str:
        """Where the copy is."""
        return f"{self.directory}/{layer.file}"


# Made here, by one thread: msgspec crashes where several decode into a new type at once.
_SNAPSHOT: Final = msgspec.json.Decoder(Snapshot)


def directory_of(guest: str, name: str) -> str:
    return f"{paths.snapshots_dir()}/{guest}/{name}"


# Who may change them


@contextlib.contextmanager
def lock() -> Iterator[None]:
    """Keep all others from making, removing and reverting; what they left half done is removed.

    Raises: HostError
    """
    path = f"{paths.snapshots_dir()}/lock"
    try:
        paths.make_run_dir()
        os.makedirs(paths.snapshots_dir(), 0o700, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as problem:
        raise HostError(f"the snapshots cannot be locked: {problem}") from problem
    try:
        end = time.monotonic() + LOCK_TIMEOUT
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise HostError(
                        f"somebody has held {path} for {LOCK_TIMEOUT:g} seconds; "
                        "another snapshot takes long"
                    ) from None
                time.sleep(LOCK_INTERVAL)
        _clean()
        yield
    finally:
        os.close(descriptor)


def _clean() -> None:
    """Remove what was being made or removed by processes that were killed."""
    for guest in paths.listed(paths.snapshots_dir()):
        place = f"{paths.snapshots_dir()}/{guest}"
        if os.path.isdir(place):
            for name in os.listdir(place):
                if name.startswith(".") and name.endswith("~"):
                    remove_tree(f"{place}/{name}")


@contextlib.contextmanager
def making(guest: str, name: str) -> Iterator[str]:
    """A directory where a snapshot is made; it is removed unless `finish` was called.

    Raises: HostError: there is one of that name
    """
    final = directory_of(guest, name)
    if os.path.lexists(final):
        raise HostError(
            f"{guest} has a snapshot {name} already, and it is not replaced; take another name, or "
            f"`umlctl snapshot rm {guest} {name}`"
        )
    place = f"{os.path.dirname(final)}/.{name}~"
    try:
        os.makedirs(place, 0o700)
    except OSError as problem:
        raise HostError(f"cannot make {place}: {problem.strerror}") from problem
    try:
        yield place
    finally:
        remove_tree(place)
        with contextlib.suppress(OSError):
            os.rmdir(os.path.dirname(final))  # of a guest that has no other


def finish(place: str, snapshot: Snapshot) -> None:
    """Have all that was made safe on the disk, and under its name.

    Raises: OSError
    """
    with open(f"{place}/{RECORD}", "xb") as file:
        file.write(seal(msgspec.json.encode(snapshot)))
    for layer in snapshot.layers:
        _sync(f"{place}/{layer.file}")
    _sync(f"{place}/{RECORD}")
    _sync(place)
    os.rename(place, snapshot.directory)
    _sync(os.path.dirname(snapshot.directory))


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(snapshot: Snapshot) -> None:
    """Remove one; the caller holds `lock`.

    Raises: OSError
    """
    above = f"{paths.snapshots_dir()}/{snapshot.guest}"
    beside = f"{above}/.{snapshot.name}~"
    os.rename(snapshot.directory, beside)
    remove_tree(beside)
    with contextlib.suppress(OSError):
        os.rmdir(above)


# Which there are


def check_name(name: str) -> str:
    """Return the name if a snapshot can have it.

    Raises: UsageError
    """
    try:
        return naming.check_snapshot(name)
    except naming.BadSnapshot as problem:
        raise UsageError(str(problem)) from None


def names(guest: str) -> list[str]:
    """Snapshots that are kept under a guest's name.

    Raises: BadPlace
    """
    found = paths.listed(f"{paths.snapshots_dir()}/{guest}")
    return [name for name in found if not name.startswith(".")]


def guests() -> list[str]:
    """Guests that snapshots are kept under the names of.

    Raises: BadPlace
    """
    place = paths.snapshots_dir()
    return [name for name in paths.listed(place) if os.path.isdir(f"{place}/{name}")]


def load(guest: str, name: str) -> Snapshot:
    """A snapshot by where it is kept.

    Raises: HostError: it cannot be read; NoGuest: there is none
    """
    path = f"{directory_of(guest, name)}/{RECORD}"
    try:
        with open(path, "rb") as file:
            found = _SNAPSHOT.decode(unseal(file.read(MAX_RECORD_BYTES)))
    except FileNotFoundError:
        known = ", ".join(names(guest))
        more = f"it has {known}" if known else f"`umlctl snapshot create {guest} {name}` makes one"
        raise NoGuest(f"{guest} has no snapshot {name!r}; {more}") from None
    except OSError as problem:
        raise HostError(f"cannot read {path}: {problem.strerror}") from problem
    except (Damaged, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise HostError(f"{path} cannot be understood: {problem}") from None
    if found.version > FORM_VERSION:
        raise HostError(f"{path} is of a newer umlctl: its version is {found.version}")
    wrong = [each.file for each in found.layers if "/" in each.file or each.file[:1] in ("", ".")]
    if (found.guest, found.name) != (guest, name) or wrong:
        raise HostError(f"{path} is not of this snapshot")
    return found


def load_all(guest: str = "") -> list[Snapshot]:
    """All that can be read, of one guest or of every one, oldest first; those too that were taken
    with another guest.

    Raises: BadPlace
    """
    found = []
    for each in guests():
        for name in names(each):
            with contextlib.suppress(HostError, NoGuest):
                snapshot = load(each, name)
                if not guest or guest in (snapshot.guest, *snapshot.guests):
                    found.append(snapshot)
    return sorted(found, key=lambda each: (each.time, each.guest, each.name))


def find(guest: str, name: str) -> Snapshot:
    """A snapshot of a guest by its name, taken with another guest or not.

    Raises: HostError, NoGuest
    """
    if not os.path.lexists(directory_of(guest, name)):
        for each in load_all(guest):
            if each.name == name:
                return each
    return load(guest, name)


def copies() -> list[str]:
    """The files of all snapshots that are copies of COW files."""
    return [each.path_of(layer) for each in load_all() for layer in each.layers if layer.backing]


def beyond(guest: str, keep: int) -> list[Snapshot]:
    """The oldest of a guest's own snapshots, where it is to keep so many.

    Raises: BadPlace
    """
    own = [each for each in load_all(guest) if each.guest == guest]
    return own[: max(0, len(own) - keep)]
