"""Writing down what a guest was asked to be, by options or by a definition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import fields

from umlctl.definitions import files
from umlctl.errors import UmlctlError, UsageError
from umlctl.guest import written
from umlctl.guest.definition import Definition
from umlctl.guest.options import OPTIONS
from umlctl.guest.written import Given
from umlctl.kernels import find

if TYPE_CHECKING:
    from collections.abc import Mapping

_DEFAULTS: Final = {field.name: field.default for field in fields(Definition)}


def check_new(umid: str) -> None:
    """See that a definition of a guest would replace none.

    Raises: UsageError
    """
    path = files.path_of(umid)
    if path:
        raise UsageError(
            f"{umid} is defined already, in {path}: `umlctl edit {umid}` changes that, and "
            f"`umlctl undefine {umid}` removes it"
        )


def text_of(values: Mapping[str, Any], arguments: tuple[str, ...], base: str) -> str:
    """A definition of options.

    values: by the names of options
    arguments: for the kernel, which come to be `append`
    base: the directory that relative paths are taken from

    Raises: UsageError
    """
    appended = (*values.get("append", ()), *arguments)
    given = {
        name: Given(value, f"--{name}", 0)
        for name, value in {**values, "append": appended}.items()
        if value not in ((), "", None)
    }
    anchored = written.anchored(given, base)
    return written.write({name: each.value for name, each in anchored.items()})


def values_of(definition: Definition) -> dict[str, Any]:
    """What a guest was asked to be, by the names of options, without what is the default."""
    try:
        usual = find.find()
    except UmlctlError:
        usual = ""
    found: dict[str, Any] = {}
    for option in OPTIONS:
        value = getattr(definition, option.field, None)
        usually = usual if option.name == "kernel" else _DEFAULTS.get(option.field)
        if value not in (None, usually):
            found[option.name] = size_text(value) if option.kind == "size" else value
    if definition.arguments:
        found["append"] = (*definition.append, *definition.arguments)
    return found


def size_text(size: int) -> str:
    """Bytes as a definition has them."""
    for unit, letter in ((1 << 30, "G"), (1 << 20, "M")):
        if not size % unit:
            return f"{size // unit}{letter}"
    return str(size)
