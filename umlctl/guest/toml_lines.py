"""In which line of a TOML text each key stands, and each element of a list: what `tomllib` does not
say. Pure.

A text that is no TOML is read as far as it makes sense: who reads the values says what is wrong.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_KEY: Final = re.compile(r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')""")
_QUOTES: Final = ('"""', "'''", '"', "'")


class KeyLine(NamedTuple):
    """A key of the first level, or the head of a section.

    Fields:
        name: without quotes; of a section, its whole line
        line: where it stands, from 1 on
        items: the lines of its texts: those of a list, or its own
        section: it is the head of one
    """

    name: str
    line: int
    items: tuple[int, ...] = ()
    section: bool = False


def find(text: str) -> list[KeyLine]:
    """The keys of a text, in its order, those that stand there twice too."""
    found = []
    place = 0
    while place < len(text):
        letter = text[place]
        line = text.count("\n", 0, place) + 1 if letter not in " \t\r\n" else 0
        if letter in " \t\r\n":
            place += 1
        elif letter == "#":
            place = _line_end(text, place)
        elif letter == "[":
            end = _line_end(text, place)
            found.append(KeyLine(text[place:end].strip(), line, section=True))
            place = end
        else:
            key = _KEY.match(text, place)
            items, end = _value(text, key.end() if key else place, line)
            if key:
                found.append(KeyLine(key[0].strip("\"'"), line, tuple(items)))
            place = end
    return found


def _value(text: str, place: int, line: int) -> tuple[list[int], int]:
    """The lines of the texts in what follows a key, and where it ends.

    line: that of the key
    """
    items = []
    depth = 0
    while place < len(text):
        letter = text[place]
        if letter == "\n":
            if not depth:
                break
            line += 1
        elif letter in "[{":
            depth += 1
        elif letter in "]}":
            depth -= 1
        elif letter == "#":
            place = _line_end(text, place)
            continue
        elif letter in "\"'":
            items.append(line)
            end = _text_end(text, place)
            line += text.count("\n", place, end)
            place = end
            continue
        place += 1
    return items, place


def _text_end(text: str, place: int) -> int:
    """Where a text in quotes ends that begins here; one that is not closed ends with its line."""
    quote = next(each for each in _QUOTES if text.startswith(each, place))
    at = place + len(quote)
    while at < len(text):
        if text[at] == "\\" and quote[0] == '"':
            at += 2
        elif text.startswith(quote, at):
            at += len(quote)
            while len(quote) == 3 and text.startswith(quote[0], at):
                at += 1  # up to two quotes more are the text's own
            return at
        elif text[at] == "\n" and len(quote) == 1:
            return at
        else:
            at += 1
    return len(text)


def _line_end(text: str, place: int) -> int:
    end = text.find("\n", place)
    return len(text) if end < 0 else end
