"""The one place that knows which files are in use, for all that would change or destroy one: by a
guest that runs, by another kernel or program, or because COW files are over it.

COW files and their backing files are taken here, so that nobody else has them meanwhile.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final, NamedTuple

from umlctl.errors import HostError, UsageError
from umlctl.guest.specs import parse_disk
from umlctl.host import paths
from umlctl.state import enabled, leases, records, snapshots
from umlctl.state.file_identity import check_free, hold_of
from umlctl.storage import cow, merge
from umlctl.storage.cow_file import open_backing, open_cow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from umlctl.definitions.files import Written
    from umlctl.guest.definition import Definition
    from umlctl.guest.specs import Disk
    from umlctl.state.leases import Use
    from umlctl.storage.cow_file import CowFile

    Users = Callable[[], Iterable[Use]]


MAX_TOLD: Final = 4
"""How many COW files are named where they are in the way."""


class Pair(NamedTuple):
    """A COW file and its backing file, both open and locked.

    Fields:
        of: the COW file
        backing: descriptor of the backing file
        name: its path
    """

    of: CowFile
    backing: int
    name: str


@contextlib.contextmanager
def taken(
    what: str,
    path: str,
    users: Users,
    *,
    write: bool,
    write_backing: bool = False,
    backing: str = "",
) -> Iterator[Pair]:
    """A COW file and its backing file that nobody else writes, or reads where they are written.

    what: wants them
    users: the devices of guests that run, as they are under the lock of all devices
    backing: where the backing file is; otherwise where the COW file says

    Raises: HostError
    """
    with contextlib.ExitStack() as stack:
        with leases.lock():  # a supervisor that looks later sees the locks of the files
            with open_cow(path) as of:
                name = backing or merge.backing_of(of)
                with open_backing(of, name):
                    pass
            holds = [hold_of(path, write=write), hold_of(name, write=write_backing)]
            check_free(what, holds, users())
            of = stack.enter_context(open_cow(path, write=write, lock=True))
            descriptor = stack.enter_context(open_backing(of, name, write=write_backing, lock=True))
        yield Pair(of, descriptor, name)


def check_lone(what: str, path: str, backing: str) -> None:
    """Refuse to have a backing file changed that other known COW files are over.

    path: of the COW file that may be

    Raises: HostError; OSError
    """
    if others := over(backing, but=path):
        raise HostError(
            f"{what}: {backing} is also under {_told(others)}, which no kernel would take any "
            "more; merge into a new file, or merge or remove those first"
        )


def _told(files: list[str]) -> str:
    """COW files, in words: a snapshot by its name, and no more than a few."""
    above = f"{paths.snapshots_dir()}/"
    called = []
    for path in files:
        guest, _, rest = path.removeprefix(above).partition("/")
        name = rest.partition("/")[0]
        called.append(f"snapshot {name} of {guest}" if path.startswith(above) else path)
    called = list(dict.fromkeys(called))
    more = len(called) - MAX_TOLD
    return ", ".join([*called[:MAX_TOLD], *([f"{more} more"] if more > 0 else [])])


def over(backing: str, but: str = "") -> list[str]:
    """The known COW files over a backing file: those of guests that ran here, are enabled or are
    written down, those in snapshots, and those that stand beside it or beside the one that is left
    out.

    but: a COW file that is left out

    Raises: OSError
    """
    found: dict[tuple[int, int], str] = {}
    own = os.stat(but) if but else None
    under = os.stat(backing)
    beside = [*(_beside(but) if but else ()), *_beside(backing)]
    for path in dict.fromkeys([*_of_guests(), *snapshots.copies(), *beside]):
        try:
            status = os.stat(path)
            header = None if own and os.path.samestat(status, own) else cow.read(path)
            if header is not None and os.path.samestat(os.stat(header.backing), under):
                found.setdefault((status.st_dev, status.st_ino), path)
        except (OSError, HostError, ValueError):
            continue
    return sorted(found.values())


def wanted_by(path: str) -> list[str]:
    """The guests that are written down or enabled, and have a file as a disk or under one, whether
    they run or not.

    Raises: OSError
    """
    of = os.stat(path)
    found = []
    written = [(each.umid, _disks_of_written(each)) for each in _written()]
    texts = [(each.umid, _disks(each.definition)) for each in enabled.load_all() if each.definition]
    for umid, disks in (*written, *texts):
        for disk in disks:
            with contextlib.suppress(OSError):
                if os.path.samestat(os.stat(disk.file), of):
                    found.append(umid)
    return sorted(set(found))


def _of_guests() -> Iterator[str]:
    definitions = [each.definition for each in enabled.load_all() if each.definition is not None]
    for record in records.load_all():
        definitions.append(record.definition)
        yield from (hold.path for entry in record.devices for hold in entry.holds[:1])
    for disk in (disk for definition in definitions for disk in _disks(definition)):
        yield disk.cow or disk.file
    for disk in (disk for each in _written() for disk in _disks_of_written(each)):
        yield disk.cow or disk.file


def _written() -> Iterator[Written]:
    """The guests that are written down; one that cannot be read has no disks."""
    from umlctl.definitions import files  # what plugs a disk does without

    for name in files.names():
        with contextlib.suppress(UsageError, HostError):
            found = files.find(name)
            if found is not None:
                yield found


def _disks_of_written(written: Written) -> Iterator[Disk]:
    given = [written.values[name].value for name in ("root", "disk") if name in written.values]
    for each in given:
        yield from _parsed(each if isinstance(each, tuple) else (each,), written.directory)


def _disks(definition: Definition) -> Iterator[Disk]:
    return _parsed((*definition.disks, definition.root), definition.cwd)


def _parsed(texts: Iterable[str], directory: str) -> Iterator[Disk]:
    for text in texts:
        with contextlib.suppress(UsageError):
            yield parse_disk(text, directory)


def _beside(path: str) -> Iterator[str]:
    directory = os.path.dirname(os.path.abspath(path))
    try:
        with os.scandir(directory) as entries:
            yield from sorted(entry.path for entry in entries if entry.is_file())
    except OSError:
        return
