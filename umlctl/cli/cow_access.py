"""COW files and their backing files, taken so that no guest has them meanwhile."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, NamedTuple

from umlctl.errors import HostError, UsageError
from umlctl.guest.specs import parse_disk
from umlctl.recovery import discover
from umlctl.state import enabled, leases, records
from umlctl.state.file_identity import check_free, hold_of
from umlctl.storage import cow, merge
from umlctl.storage.cow_file import open_backing, open_cow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from umlctl.guest.definition import Definition
    from umlctl.state.records import Hold
    from umlctl.storage.cow_file import CowFile


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
    what: str, path: str, *, write: bool, write_backing: bool = False, backing: str = ""
) -> Iterator[Pair]:
    """A COW file and its backing file that nobody else writes, or reads where they are written.

    what: wants them
    backing: where the backing file is; otherwise where the COW file says

    Raises: HostError
    """
    with contextlib.ExitStack() as stack:
        with leases.lock():  # a supervisor that looks later sees the locks of the files
            with open_cow(path) as of:
                name = backing or merge.backing_of(of)
                with open_backing(of, name):
                    pass
            check_unused(what, hold_of(path, write=write), hold_of(name, write=write_backing))
            of = stack.enter_context(open_cow(path, write=write, lock=True))
            descriptor = stack.enter_context(open_backing(of, name, write=write_backing, lock=True))
        yield Pair(of, descriptor, name)


def check_unused(what: str, *holds: Hold) -> None:
    """Refuse files that a guest uses, of ours or not, in a way that does not go with this one.

    Raises: HostError
    """
    check_free(what, list(holds), leases.devices_of(discover.running()))


def dependents(pair: Pair) -> list[str]:
    """Other COW files over the same backing file: those of guests that ran here or are enabled,
    and those that stand beside either of the two."""
    found: dict[tuple[int, int], str] = {}
    own = os.fstat(pair.of.descriptor)
    under = os.fstat(pair.backing)
    for path in dict.fromkeys([*_of_guests(), *_beside(pair.of.path), *_beside(pair.name)]):
        try:
            status = os.stat(path)
            header = None if os.path.samestat(status, own) else cow.read(path)
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
