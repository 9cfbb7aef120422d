"""What a confined kernel is not to see, and that this stays so as long as it runs.

A mask is mounted on the file or directory that stands there when the kernel starts. It is gone for
good when that is removed or another is put in its place, as passwd(1) does with /etc/shadow, and
what is secret may come later, too. So the supervisor looks for it, and covers it from outside.
"""

from __future__ import annotations

import functools
import os
import tempfile
import time
from typing import TYPE_CHECKING, Final

from umlctl.backends import device_access
from umlctl.host import binds, paths, secrets, users
from umlctl.host.binds import Part
from umlctl.supervisor.launch import file_access, later_mounts, masks, place
from umlctl.supervisor.launch.masks import Mask, Masks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from umlctl.guest.definition import Definition
    from umlctl.state.records import DeviceEntry, Record

SETTLED_SECONDS: Final = 0.1
"""What was changed so short a time ago may have been changed once more since without a trace,
seconds: file systems have no finer clock."""

_found: dict[tuple[str, ...], tuple[float, list[str]]] = {}
"""What was found last, and when, by homes."""


def plan(
    definition: Definition, entries: Iterable[DeviceEntry], command: list[str], *, age: float = 0.0
) -> list[Mask]:
    """What is to be covered now for a kernel.

    entries: its devices from the start; command: the kernel and its arguments
    age: for so long, in seconds, what was found to be secret is taken to be so for other guests
    """
    given = [*secrets.NOT_SECRET, *file_access.given(definition, entries, command)]
    given += device_access.of_command(command[1:]).paths
    given.append(later_mounts.directory(definition.umid))
    seen = place.seen(definition) | {path: path for path in map(os.path.realpath, given)}
    hidden = map(os.path.realpath, (*definition.hide, *place.hidden()))
    return masks.plan([*_secrets(tuple(_homes(definition)), age), *hidden], seen)


def sight(definition: Definition) -> tuple[object, ...]:
    """A value that changes when something may have come that is to be covered; empty if that
    cannot be told yet."""
    directories = {os.path.dirname(path) for path in (*definition.hide, *place.hidden())}
    directories |= {paths.run_dir(), *secrets.directories(_homes(definition))}
    found = []
    now = time.time()
    for directory in sorted(directories):
        try:
            about = os.stat(directory)
        except OSError:
            found.append((directory, 0, 0, 0))
            continue
        if abs(now - about.st_mtime) < SETTLED_SECONDS:
            return ()
        found.append((directory, about.st_dev, about.st_ino, about.st_mtime_ns))
    return tuple(found)


def hide_again(record: Record, command: list[str], *, age: float = 0.0) -> list[str]:
    """Cover what a kernel sees and is not to see.

    age: see `plan`

    Returns: the paths of that

    Raises: OSError: it still sees some of it
    """
    entries = [entry for entry in record.devices if entry.boot]
    found = [
        mask
        for mask in plan(record.definition, entries, command, age=age)
        if _is_same(mask.path, f"/proc/{record.pid}/root{mask.path}")
    ]
    for mask in found:
        _cover(record, entries, mask)
    return [mask.path for mask in found]


def _secrets(homes: tuple[str, ...], age: float) -> list[str]:
    """What is secret, without links."""
    now = time.monotonic()
    moment, found = _found.get(homes, (0.0, []))
    if not moment or now > moment + age:
        found = _without_links(secrets.found(homes))
        _found[homes] = now, found
    return found


def _without_links(names: Iterable[str]) -> list[str]:
    parents: dict[str, str] = {}
    found = []
    for path in names:
        directory, name = os.path.split(path)
        if directory not in parents:
            parents[directory] = os.path.realpath(directory)
        is_link = os.path.islink(path)
        found.append(os.path.realpath(path) if is_link else os.path.join(parents[directory], name))
    return found


def _homes(definition: Definition) -> list[str]:
    home = _home_of(definition.user) if definition.user else os.path.expanduser("~")
    return secrets.homes_for(home)


@functools.lru_cache
def _home_of(user: str) -> str:
    """The database of users may lie behind a network, and is asked once."""
    return users.find(user).home


def _is_same(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def _cover(record: Record, entries: list[DeviceEntry], mask: Mask) -> None:
    """Raises: OSError"""
    umid = record.definition.umid
    written = [paths.kernel_dir(), *file_access.written(record.definition, entries)]
    directory = later_mounts.masks_directory(umid)
    made = Masks(tempfile.mkdtemp(dir=directory), [mask], empty=directory)
    parts = [Part("", later_mounts.seen_mask(umid, made.covering(0)), write=False)]
    for name, source in mask.given:
        path = f"{mask.path}/{name}"
        write = any(path == each for each in map(os.path.realpath, written))
        parts.append(Part(name, source, write=write))
    binds.cover(record.pid, record.started, mask.path, parts)
