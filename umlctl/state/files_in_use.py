"""The one place that knows which files are in use, for all that would change or destroy one: by a
guest that runs, by another kernel or program, or because COW files are over it.

COW files and their backing files are taken here, so that nobody else has them meanwhile.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, NamedTuple

from umlctl.errors import HostError, UsageError
from umlctl.guest.specs import parse_disk
from umlctl.state import enabled, leases, records, snapshots
from umlctl.state.file_identity import check_free, hold_of
from umlctl.storage import cow, merge
from umlctl.storage.cow_file import open_backing, open_cow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from umlctl.guest.definition import Definition
    from umlctl.state.leases import Use
    from umlctl.storage.cow_file import CowFile

    Users = Callable[[], Iterable[Use]]


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
            f"{what}: {backing} is also under {', '.join(others)}, which no kernel would take any "
            "more; merge into a new file, or merge or remove those first"
        )


def over(backing: str, but: str = "") -> list[str]:
    """The known COW files over a backing file: those of guests that ran here or are enabled, those
    in snapshots, and those that stand beside it or beside the one that is left out.

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


def _of_guests() -> Iterator[str]:
    definitions = [each.definition for each in enabled.load_all() if each.definition is not None]
    for record in records.load_all():
        definitions.append(record.definition)
        yield from (hold.path for entry in record.devices for hold in entry.holds[:1])
    for definition in definitions:
        yield from _of_definition(definition)


def _of_definition(definition: Definition) -> Iterator[str]:
    for text in (*definition.disks, definition.root):
        with contextlib.suppress(UsageError):
            disk = parse_disk(text, definition.cwd)
            yield disk.cow or disk.file


def _beside(path: str) -> Iterator[str]:
    directory = os.path.dirname(os.path.abspath(path))
    try:
        with os.scandir(directory) as entries:
            yield from sorted(entry.path for entry in entries if entry.is_file())
    except OSError:
        return
