"""Definitions as users write them down: TOML with the options of `run` as keys. Pure.

A value is read by its kind here, as `umlctl.guest.schema` describes it for other programs. What it
means is seen where a `Definition` is made of it.
"""

from __future__ import annotations

import json
import re
from os.path import join, normpath
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from umlctl.devices import parse, ubd
from umlctl.errors import UsageError
from umlctl.guest import specs, toml_lines
from umlctl.guest.definition import HOST_ROOT, is_device
from umlctl.guest.options import BY_NAME, MAX_COUNT, MAX_SECONDS, OPTIONS, SIZE_PATTERN
from umlctl.guest.overlay import IN_MEMORY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from umlctl.guest.options import Option
    from umlctl.guest.toml_lines import KeyLine

EXTENDS: Final = "extends"
"""The key that names a definition to begin with."""
MAX_TEXT_BYTES: Final = 65536
"""The longest definition that is read, bytes."""
OTHER_WORDS: Final = {
    "memory": "mem",
    "ram": "mem",
    "maxmem": "memory-limit",
    "vcpus": "ncpus",
    "smp": "ncpus",
    "vif": "nic",
    "network": "nic",
    "image": "root",
    "ramdisk": "initrd",
    "rootfs": "root",
    "cmdline": "append",
    "extra": "append",
    "depends": "after",
    "autorestart": "restart",
    "inherits": EXTENDS,
}
"""Keys of other programs, and what they are called here."""
_NAMES: Final = ("name", "umid", "hostname")
"""Keys of other programs for what is the name of the file here."""
_MAX_SHOWN: Final = 80
"""How much of a wrong value is shown, characters."""
_SIZE: Final = re.compile(SIZE_PATTERN)
_BARE: Final = re.compile(r"[\w.-]+\s*=\s*([^\s\"'\[{#][^#]*?)\s*(#.*)?")
_AT: Final = re.compile(r" \(at line (\d+), column \d+\)| \(at end of document\)")


class Given(NamedTuple):
    """A value, and where it is written.

    Fields:
        value: a text, a truth, a number, or a tuple of texts
        path: of the file, as the user named it
        line: of the key; 0: it stands in no file
        items: of each text
    """

    value: Any
    path: str
    line: int
    items: tuple[int, ...] = ()

    def place(self, index: int | None = None) -> str:
        """FILE:LINE. index: of which text of a list"""
        if not self.line:
            return self.path
        line = self.items[index] if index is not None and index < len(self.items) else self.line
        return f"{self.path}:{line}"


def read(text: str, path: str) -> dict[str, Given]:
    """The values of a definition by their keys.

    path: of the file, for messages

    Raises: UsageError: with file, line, key and remedy
    """
    import tomllib  # who starts a guest that is not written down does without

    keys = toml_lines.find(text)
    _check_keys(keys, path)
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise UsageError(syntax_problem(text, path, keys, str(problem))) from None
    except (ValueError, RecursionError):
        what = "a number is too long, or a list too deep"
        raise UsageError(
            syntax_problem(text, path, keys, f"{what} (at line 1, column 1)")
        ) from None
    found = {}
    for key in keys:
        given = Given(values.get(key.name), path, key.line, key.items)
        found[key.name] = given._replace(value=_typed(key.name, given))
    return found


def given(values: Mapping[str, Any], where: str) -> dict[str, Given]:
    """The same of values that a program gives.

    values: as TOML would have them, by keys that there are
    where: by what they are given, for messages

    Raises: UsageError
    """
    found = {}
    for name, value in values.items():
        each = Given(value, where, 0)
        found[name] = each._replace(value=_typed(name, each))
    return found


def _check_keys(keys: list[KeyLine], path: str) -> None:
    """Raises: UsageError: a key is unknown, or stands there twice"""
    lines: dict[str, int] = {}
    for key in keys:
        at = f"{path}:{key.line}"
        if key.section:
            raise UsageError(
                f"{at}: {key.name}: a definition has no sections: leave the line out, and write "
                "one KEY = VALUE a line"
            )
        if key.name not in BY_NAME and key.name != EXTENDS:
            raise UsageError(f"{at}: {key.name}: there is no such key; {near(key.name)}")
        if key.name in lines:
            many = key.name in BY_NAME and BY_NAME[key.name].many
            instead = f'write one list: {key.name} = ["...", "..."]' if many else "leave one out"
            raise UsageError(
                f"{at}: {key.name}: it is given in line {lines[key.name]} already; {instead}"
            )
        lines[key.name] = key.line


def near(name: str) -> str:
    """What may have been meant by a key that is none."""
    from difflib import get_close_matches

    plain = name.lower().replace("_", "-")
    if plain in _NAMES:
        return "the guest has the name of the file: leave the line out"
    fields = {option.field.replace("_", "-"): option.name for option in OPTIONS}
    known = [*BY_NAME, EXTENDS]
    exact = [plain] if plain in known else []
    close = get_close_matches(plain, [*known, *fields], 1, 0.7)
    for near in (*exact, fields.get(plain), OTHER_WORDS.get(plain), *close):
        if near:
            return f"did you mean {fields.get(near, near)}?"
    return "umlctl.toml(5) has all of them"


def syntax_problem(text: str, path: str, keys: list[KeyLine], problem: str) -> str:
    """What is to be said of a text that is no TOML.

    problem: what tomllib says
    """
    found = _AT.search(problem)
    lines = text.split("\n")
    number = int(found[1]) if found and found[1] else len(lines)
    key = next((each for each in reversed(keys) if each.line <= number), None)
    line = lines[key.line - 1].strip() if key else ""
    what = _AT.sub("", problem)
    bare = _BARE.fullmatch(line) if len(line) < _MAX_SHOWN else None
    if bare and bare[1].lower() in ("true", "false", "yes", "no", "on", "off"):
        remedy = "it is true or false, in small letters"
    elif bare:
        assert key is not None
        remedy = f"a text stands in quotes: {_example(key.name, bare[1])}"
    else:
        remedy = 'a line is KEY = "TEXT", a number, true or false, or a list ["TEXT", "TEXT"]'
    where = f"{path}:{key.line if key and bare else number}"
    return f"{where}: {key.name if key else lines[number - 1].strip()}: {what}; {remedy}"


def _example(name: str, value: str) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return f"{name} = [{text}]" if name in BY_NAME and BY_NAME[name].many else f"{name} = {text}"


# Values


def _typed(name: str, given: Given) -> Any:
    """The value of a key, if it is of the key's kind.

    Raises: UsageError
    """
    value = given.value
    if name == EXTENDS:
        return _text(name, value, given.place())
    option = BY_NAME[name]
    if not option.many:
        return READERS[option.kind](option, value, given.place())
    if not isinstance(value, list):
        shown = value if isinstance(value, str) and value else option.metavar.partition("|")[0]
        raise UsageError(f"{given.place()}: {name}: it is a list: {_example(name, shown)}")
    if not value:
        raise UsageError(f"{given.place()}: {name}: it is empty: fill it, or leave the key out")
    return tuple(_text(name, each, given.place(index)) for index, each in enumerate(value))


def _text(name: str, value: Any, at: str) -> str:
    if not isinstance(value, str):
        shown = _said(value) if isinstance(value, (int, float)) else "TEXT"
        raise UsageError(
            f"{at}: {name}: it is a text, and stands in quotes: {_example(name, shown)}"
        )
    if not value:
        raise UsageError(f"{at}: {name}: it is empty: give a value, or leave it out")
    if "\0" in value:
        raise UsageError(f"{at}: {name}: it has a NUL in it, which nothing can have; leave it out")
    return value


def _plain(option: Option, value: Any, at: str) -> str:
    return _text(option.name, value, at)


def _size(option: Option, value: Any, at: str) -> str:
    if isinstance(value, str) and value and not _SIZE.fullmatch(value):
        raise UsageError(
            f"{at}: {option.name}: a size is a number with k, M or G, such as "
            f'{option.name} = "256M", not {value!r}'
        )
    if isinstance(value, (int, float)):
        raise UsageError(
            f'{at}: {option.name}: a size stands in quotes, with its unit: {option.name} = "'
            f'{_said(value)}M"'
        )
    return _text(option.name, value, at)


def _flag(option: Option, value: Any, at: str) -> bool:
    if not isinstance(value, bool):
        raise UsageError(
            f"{at}: {option.name}: it is true or false, without quotes: {option.name} = true"
        )
    return value


def _count(option: Option, value: Any, at: str) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if (
        not isinstance(value, int)
        or isinstance(value, bool)
        or not option.least <= value <= MAX_COUNT
    ):
        raise UsageError(
            f"{at}: {option.name}: it is a whole number from {option.least} to {MAX_COUNT}, "
            f"without quotes: {option.name} = 2"
        )
    return value


def _seconds(option: Option, value: Any, at: str) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise UsageError(
            f"{at}: {option.name}: it is a number of seconds, without quotes: {option.name} = 60"
        )
    if not 0 < value <= MAX_SECONDS:
        raise UsageError(
            f"{at}: {option.name}: it is more than 0 seconds, and {MAX_SECONDS:.0f} at most, "
            f"not {_said(value)}"
        )
    return float(value)


def _choice(option: Option, value: Any, at: str) -> str:
    known = " or ".join(json.dumps(each) for each in option.choices)
    if not isinstance(value, str) or value not in option.choices:
        raise UsageError(f"{at}: {option.name}: it is {known}, not {_said(value)}")
    return value


def _said(value: Any) -> str:
    """A value of the wrong kind, in a few words."""
    try:
        said = json.dumps(value, default=str)
    except (ValueError, RecursionError):  # a number without end
        return "this"
    return said if len(said) < _MAX_SHOWN else f"{said[:_MAX_SHOWN]}..."


READERS: Final[Mapping[str, Callable[[Option, Any, str], Any]]] = {
    "text": _plain,
    "size": _size,
    "flag": _flag,
    "count": _count,
    "seconds": _seconds,
    "choice": _choice,
}
"""What reads a value, by its kind: the option, the value, and FILE:LINE of its key."""


# Paths


def anchored(values: Mapping[str, Given], base: str) -> dict[str, Given]:
    """The same values with paths that begin with '/'.

    base: the directory that relative paths are taken from; empty: there may be none

    Raises: UsageError
    """
    root = values["root"].value if "root" in values else HOST_ROOT
    return {
        name: given._replace(value=_anchored(name, given, base, on_host=root == HOST_ROOT))
        for name, given in values.items()
    }


def _anchored(name: str, given: Given, base: str, *, on_host: bool) -> Any:
    holds = BY_NAME[name].holds if name in BY_NAME else ""
    if not holds or holds == "guest" or (holds == "init" and not on_host):
        return given.value
    if not isinstance(given.value, tuple):
        return _anchored_text(holds, given.value, base, f"{given.place()}: {name}")
    return tuple(
        _anchored_text(holds, text, base, f"{given.place(index)}: {name}")
        for index, text in enumerate(given.value)
    )


def _anchored_text(holds: str, text: str, base: str, where: str) -> str:
    def path(found: str) -> str:
        if found.startswith("~"):
            raise UsageError(f"{where}: `~` is for shells: write the whole path of {found}")
        if not base and not found.startswith("/"):
            raise UsageError(
                f"{where}: {found} is relative, and the definition is kept in another place: write "
                "the whole path"
            )
        return normpath(join(base, found)) if not found.startswith("/") else found

    if holds == "kernel" and "/" not in text:
        return text  # a name, or a program in PATH
    if holds == "words":
        return _anchored_word(text, base, path)
    if (holds == "disk" and not specs.names_slot(text)) or holds == "root":
        if text == HOST_ROOT and holds == "root":
            return text
        file, *options = text.split(",")
        cow = "cow="
        options = [
            cow + path(each.removeprefix(cow)) if each.startswith(cow) and each != cow else each
            for each in options
        ]
        return ",".join([path(file) if file else file, *options])
    if holds == "disk":
        return _anchored_word(text, base, path)
    if holds == "overlay" and text == IN_MEMORY:
        return text
    end = len(text) if holds != "share" else len(text.partition(",")[0].partition(":")[0])
    return path(text[:end]) + text[end:]


def _anchored_word(word: str, base: str, path: Callable[[str], str]) -> str:
    """A kernel argument with the paths in it that are known to be some."""
    if word.startswith("initrd=") and word != "initrd=":
        return "initrd=" + path(word.removeprefix("initrd="))
    if word.startswith("ubd") and is_device(word):
        try:
            device = parse.parse(word, insist=True)
        except UsageError:
            return word  # it is told with all that is wrong with kernel arguments
        if isinstance(device, ubd.Ubd):
            for file in filter(None, device.files[:2]):
                path(file)
            return str(device.absolute(base or "/"))
    return word


# Writing


def write(values: Mapping[str, Any]) -> str:
    """A definition with these values, in the order of the table.

    Raises: UsageError: a text is not UTF-8
    """
    lines = []
    for option in OPTIONS:
        if option.name in values:
            value = values[option.name]
            if isinstance(value, tuple) and len(value) > 1:
                texts = "".join(f"    {_quoted(each)},\n" for each in value)
                lines.append(f"{option.name} = [\n{texts}]\n")
            elif isinstance(value, tuple):
                lines.append(f"{option.name} = [{_quoted(value[0])}]\n")
            else:
                lines.append(f"{option.name} = {_shown(value)}\n")
    return "".join(lines)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value == int(value) else repr(value)
    return str(value) if isinstance(value, int) else _quoted(value)


def _quoted(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"a definition is UTF-8, and {text!r} is not: it cannot be saved"
        ) from None
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
