"""The JSON schema of definitions, for editors and for programs that write them. Pure.

It is made of the table of options, as what reads them is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from umlctl.guest.options import MAX_COUNT, MAX_SECONDS, OPTIONS, SIZE_PATTERN
from umlctl.guest.written import EXTENDS

if TYPE_CHECKING:
    from umlctl.guest.options import Option

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_TEXT: Final = {"type": "string", "minLength": 1, "pattern": "^[^\\u0000]*$"}


def schema() -> dict[str, Any]:
    """What a definition may have: its keys, and the kind of each value.

    What a text says, such as that of a disk, is seen by `umlctl define` alone.
    """
    extends = {**_TEXT, "description": "A definition to begin with: its name, or its path."}
    return {
        "$schema": DIALECT,
        "title": "A guest of umlctl, see umlctl.toml(5)",
        "type": "object",
        "additionalProperties": False,
        "properties": {EXTENDS: extends} | {option.name: _of(option) for option in OPTIONS},
    }


def _of(option: Option) -> dict[str, Any]:
    one = _kind(option)
    if option.many:
        return {"description": option.help, "type": "array", "minItems": 1, "items": one}
    default = {} if option.absent in (None, "") else {"default": option.absent}
    return {"description": option.help, **one, **default}


def _kind(option: Option) -> dict[str, Any]:
    match option.kind:
        case "flag":
            return {"type": "boolean"}
        case "count":
            return {"type": "integer", "minimum": option.least, "maximum": MAX_COUNT}
        case "seconds":
            return {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_SECONDS}
        case "choice":
            return {"enum": list(option.choices)}
        case "size":
            return {"type": "string", "pattern": f"^(?:{SIZE_PATTERN})$"}
    return _TEXT
