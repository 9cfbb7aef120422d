"""Guests that are started without being asked for: one definition a file, under the guest's name,
in the state directory.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from umlctl.errors import HostError, UsageError
from umlctl.guest import definition as definitions
from umlctl.host import naming, paths
from umlctl.host.files import write_atomically

if TYPE_CHECKING:
    from umlctl.guest.definition import Definition

_SUFFIX = ".json"


class Enabled(NamedTuple):
    """One guest that is enabled.

    Fields:
        umid: its name
        definition: what is to be started; None if it cannot be read
        problem: why it cannot be read; empty if it can
    """

    umid: str
    definition: Definition | None
    problem: str = ""


def enable(definition: Definition) -> None:
    """Have a guest started from now on, as it is defined here.

    Raises: HostError
    """
    wanted = msgspec.structs.replace(definition, named=True)
    try:
        os.makedirs(_directory(), 0o700, exist_ok=True)
        write_atomically(_path(wanted.umid), definitions.encode(wanted) + b"\n")
    except OSError as problem:
        raise HostError(f"{wanted.umid} cannot be enabled: {problem}") from problem


def disable(umid: str) -> bool:
    """Have a guest started no more; True if it was to be.

    Raises: UsageError, HostError
    """
    try:
        os.unlink(_path(naming.check_umid(umid)))
    except naming.BadUmid as problem:
        raise UsageError(str(problem)) from None
    except FileNotFoundError:
        return False
    except OSError as problem:
        raise HostError(f"{umid} cannot be disabled: {problem}") from problem
    return True


def load_all() -> list[Enabled]:
    """Every guest that is enabled, by name, also those whose definition cannot be read.

    Raises: BadPlace
    """
    files = paths.listed(_directory())
    return [_load(file.removesuffix(_SUFFIX)) for file in files if file.endswith(_SUFFIX)]


def _load(umid: str) -> Enabled:
    path = _path(umid)
    try:
        naming.check_umid(umid)
        with open(path, "rb") as file:
            definition = definitions.decode(file.read())
    except naming.BadUmid as problem:
        name, path = (text.encode("utf-8", "backslashreplace").decode() for text in (umid, path))
        return Enabled(name, None, f"{path}: {problem}")
    except (OSError, UsageError) as problem:
        return Enabled(umid, None, f"{path}: {getattr(problem, 'strerror', None) or problem}")
    if definition.umid != umid:
        return Enabled(umid, None, f"{path}: it defines {definition.umid!r}")
    return Enabled(umid, definition)


def _directory() -> str:
    return paths.state_dir() + "/enabled"


def _path(umid: str) -> str:
    return f"{_directory()}/{umid}{_SUFFIX}"
