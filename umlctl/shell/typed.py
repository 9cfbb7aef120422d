"""What somebody typed at the prompt: a command, and where its answer goes; pure.

    COMMAND [| PROGRAM...]      the answer is the program's input
    COMMAND > FILE, >> FILE     the answer is written to a file, or added to it
    COMMAND; COMMAND            one after the other

Quotes work as in a POSIX shell; inside them `|`, `>` and `;` are letters.
"""

from __future__ import annotations

import re
import shlex
from typing import Final, NamedTuple

from umlctl.errors import UsageError

_QUOTES: Final = "'\""
_LINE_END: Final = re.compile(r"\r\n|\n|\r")
"""Ends a line of a script or a paste; other characters that may break one on paper are text."""


class Typed(NamedTuple):
    """One command.

    Fields:
        words: the command and its arguments; empty for an empty line or a comment
        program: what the answer is piped to; empty: nothing
        file: what the answer is written to; empty: nothing
        append: it is added to the file
    """

    words: list[str]
    program: str = ""
    file: str = ""
    append: bool = False


def split(text: str) -> list[str]:
    """The commands of a text: a line each, or more between `;`."""
    found = []
    for line in _LINE_END.split(text):
        begin = 0
        for place, letter in unquoted(line):
            if letter == ";":
                found.append(line[begin:place])
                begin = place + 1
        found.append(line[begin:])
    return [each for each in found if each.strip()]


def read(text: str) -> Typed:
    """Read one command.

    Raises: UsageError
    """
    text = text.strip()
    if text.startswith("#"):
        return Typed([])
    program = file = ""
    append = False
    if _is_open(text) and set(text) & set("|>;"):
        raise UsageError(f"a quote is not closed, and what follows it would be lost: {text!r}")
    for place, letter in unquoted(text):
        if letter == "|":
            program = text[place + 1 :].strip()
            if not program:
                raise UsageError("`|` needs a program after it")
            text = text[:place]
            break
        if letter == ">":
            rest = text[place + 1 :]
            append = rest.startswith(">")
            names = words(rest.removeprefix(">"))
            if len(names) != 1:
                raise UsageError("`>` needs one file after it")
            file, text = names[0], text[:place]
            break
    return Typed(words(text), program, file, append)


def words(text: str) -> list[str]:
    """The words of a text; one with an open quote is split at blanks, as the guest would."""
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _is_open(text: str) -> bool:
    try:
        shlex.split(text)
    except ValueError:
        return True
    return False


def unquoted(text: str) -> list[tuple[int, str]]:
    """The letters that stand outside quotes and are not escaped, each with its place."""
    found = []
    quote = ""
    skip = False
    for place, letter in enumerate(text):
        if skip:
            skip = False
        elif quote:
            if letter == quote:
                quote = ""
            elif letter == "\\" and quote == '"':
                skip = True
        elif letter == "\\":
            skip = True
        elif letter in _QUOTES:
            quote = letter
        else:
            found.append((place, letter))
    return found
