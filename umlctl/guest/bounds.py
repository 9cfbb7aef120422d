"""What guests may have between them, as `umlctl.toml` says it in its section `[host]`. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from umlctl.errors import UsageError
from umlctl.guest import toml_lines
from umlctl.guest.definition import parse_size
from umlctl.guest.options import Option
from umlctl.guest.written import READERS, syntax_problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from umlctl.guest.toml_lines import KeyLine

SECTION: Final = "host"
OPTIONS: Final = (
    Option("max_total_mem", "The most memory that guests may have in all.", "SIZE", "size"),
    Option("max_guests", "The most guests that may run at a time.", "N", "count"),
    Option("overcommit", "Guests may be promised more memory than there is.", kind="flag"),
)
_BY_NAME: Final = {option.name: option for option in OPTIONS}
_EXAMPLES: Final = 'a line is max_total_mem = "8G", max_guests = 10 or overcommit = true'
_HEAD: Final = re.compile(rf"\[\s*{SECTION}\s*\]\s*(#.*)?")


class Bounds(NamedTuple):
    """What guests of one user may have between them; None: nobody has said.

    Fields:
        max_total_mem: bytes of guest memory
        max_guests: how many may run at a time
        overcommit: they may be promised more memory than there is. True: nothing is said of it;
            False: who would be is refused; None: warned
        places: FILE:LINE of each, by its name
    """

    max_total_mem: int | None = None
    max_guests: int | None = None
    overcommit: bool | None = None
    places: tuple[tuple[str, str], ...] = ()

    @property
    def refuse(self) -> bool:
        """A guest may be refused for what others have."""
        return bool(self.max_total_mem or self.max_guests or self.overcommit is False)

    def place(self, name: str) -> str:
        """Where one of them is written."""
        return dict(self.places)[name]


NONE: Final = Bounds()


def strictest(found: Iterable[Bounds]) -> Bounds:
    """What counts where several files say something: of each the least."""
    values: dict[str, Any] = {}
    places: dict[str, str] = {}
    for bounds in found:
        for name in _BY_NAME:
            value = getattr(bounds, name)
            if value is not None and (name not in values or value < values[name]):
                values[name], places[name] = value, bounds.place(name)
    return Bounds(**values, places=tuple(places.items()))


def read(text: str, path: str) -> Bounds:
    """What a file says.

    path: of the file, for messages

    Raises: UsageError: with file, line, key and remedy
    """
    import tomllib  # most hosts have no such file

    lines = toml_lines.find(text)
    keys = _checked(lines, path)
    try:
        values = tomllib.loads(text).get(SECTION, {})
    except (ValueError, RecursionError) as problem:
        said = syntax_problem(text, path, lines, str(problem)).rpartition("; ")[0]
        raise UsageError(f"{said}; {_EXAMPLES}") from None
    found: dict[str, Any] = {}
    for key in keys:
        option = _BY_NAME[key.name]
        value = READERS[option.kind](option, values.get(key.name), f"{path}:{key.line}")
        found[key.name] = parse_size(value) if option.kind == "size" else value
    if found.get("max_total_mem") == 0:
        at = next(f"{path}:{key.line}" for key in keys if key.name == "max_total_mem")
        raise UsageError(f"{at}: max_total_mem: no guest could run with nothing; leave it out")
    return Bounds(**found, places=tuple((key.name, f"{path}:{key.line}") for key in keys))


def _checked(lines: list[KeyLine], path: str) -> list[KeyLine]:
    """The keys, which stand in their section and once.

    Raises: UsageError
    """
    found: dict[str, KeyLine] = {}
    is_within = False
    for key in lines:
        at = f"{path}:{key.line}: {key.name}"
        if key.section:
            if "]" not in key.name:
                raise UsageError(f"{at}: the name of a section ends with ]: write [{SECTION}]")
            if not _HEAD.fullmatch(key.name) or is_within:
                raise UsageError(f"{at}: there is one section here, [{SECTION}]; leave this out")
            is_within = True
        elif not is_within:
            raise UsageError(f"{at}: it stands in no section: write [{SECTION}] in a line above")
        elif key.name not in _BY_NAME:
            raise UsageError(f"{at}: there is no such key; {_near(key.name)}")
        elif key.name in found:
            raise UsageError(f"{at}: it is given in line {found[key.name].line} already; once")
        else:
            found[key.name] = key
    return list(found.values())


def _near(name: str) -> str:
    from difflib import get_close_matches

    plain = name.lower().replace("-", "_")
    close = get_close_matches(plain, _BY_NAME, 1, 0.6)
    known = ", ".join(_BY_NAME)
    return f"did you mean {close[0]}?" if close else f"there are {known}"
