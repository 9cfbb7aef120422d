"""`umlctl start NAME` of a guest that has ended: the same guest, unless the user says otherwise."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final

import click
import msgspec
from click.core import ParameterSource

from umlctl.errors import UmlctlError
from umlctl.guest.definition import Definition
from umlctl.host import naming
from umlctl.kernels import find
from umlctl.recovery import cleanup
from umlctl.state import records

if TYPE_CHECKING:
    from collections.abc import Iterable

_OTHERWISE: Final = {
    "disks": "disk",
    "nics": "nic",
    "allow_users": "allow-user",
    "allow_groups": "allow-group",
}
"""Options whose names differ from the fields of a definition."""
_NO_OPTIONS: Final = {"umid", "kernel", "arguments", "cwd", "home", "named"}
_SIZES: Final = {"mem", "memory_limit"}


def is_asked_for(options: Iterable[str], arguments: tuple[str, ...]) -> bool:
    """Whether the command line says nothing of the guest but its name.

    options: parameters of the click command that runs
    """
    context = click.get_current_context()
    given = [
        name
        for name in options
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    return not (given or arguments)


def last(umid: str) -> Definition | None:
    """How a guest that has ended was started last; None if there is none, or it runs."""
    try:
        record = records.load(naming.check_umid(umid))
    except naming.BadUmid:
        return None  # a bad name is told where names are checked
    if record is None:
        return None
    if cleanup.judged(record).ending is None:
        return None
    return msgspec.structs.replace(record.definition, named=True)


def is_same(one: Definition, other: Definition) -> bool:
    """Whether both guests were started with the same options."""
    return words(one) == words(other)


def words(definition: Definition) -> str:
    """The options of `start` that make a definition."""
    found: list[str] = []
    try:
        usual = find.find()
    except UmlctlError:
        usual = ""
    if definition.kernel != usual:
        found += ["--kernel", definition.kernel]
    for field in msgspec.structs.fields(Definition):
        value = getattr(definition, field.name)
        if field.name in _NO_OPTIONS or value == field.default:
            continue
        option = "--" + _OTHERWISE.get(field.name, field.name.replace("_", "-"))
        if value is True:
            found.append(option)
        for each in value if isinstance(value, tuple) else () if value is True else (value,):
            found += [option, _text(field.name, each)]
    if definition.arguments:
        found += ["--", *definition.arguments]
    return shlex.join(found)


def _text(name: str, value: object) -> str:
    if name in _SIZES and isinstance(value, int) and not value % (1 << 20):
        return f"{value >> 20}M"
    return f"{value:g}" if isinstance(value, float) else str(value)
