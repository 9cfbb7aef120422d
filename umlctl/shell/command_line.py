"""What a user typed at the prompt: a command, and where its answer goes; pure.

    COMMAND [| PROGRAM...]      the answer is the program's input
    COMMAND > FILE, >> FILE     the answer is written to a file, or added to it COMMAND; COMMAND
    one after the other @GUEST COMMAND              of another guest

Quotes work as in a POSIX shell; inside them `|`, `>` and `;` are letters.
"""

from __future__ import annotations

import re
import shlex
from typing import Final, NamedTuple

from umlctl.errors import UsageError

_QUOTES: Final = "'\""
_LINE_END: Final = re.compile(r"\r\n|\n|\r")
"""The end of a line of a script or a paste. Other characters that may break a line on paper are
text."""

_MEANS_SOMETHING: Final = re.compile(r"[\s'\"\\|>;]|^[#!@]")


class Typed(NamedTuple):
    """One command.

    Fields:
        words: the command and its arguments; empty for an empty line or a comment
        program: the program that the answer is piped to; empty: none
        file: the file that the answer is written to; empty: none
        append: the answer is added to the file
    """

    words: list[str]
    program: str = ""
    file: str = ""
    append: bool = False


def split(text: str) -> list[str]:
    """The commands of a text: one a line, or several with `;` between them."""
    found = []
    for line in _LINE_END.split(text):
        begin = 0
        for place, letter in unquoted(line):
            if letter == ";":
                found.append(line[begin:place])
                begin = place + 1
        found.append(line[begin:])
    return [each for each in found if each.strip()]


def last(text: str) -> str | None:
    """The command that a text ends in; None if it ends behind a `|` or a `>`."""
    begin = 0
    for place, letter in unquoted(text):
        if letter == ";":
            begin = place + 1
        elif letter in "|>":
            return None
    return text[begin:].lstrip()


def read(text: str) -> Typed:
    """Read one command.

    Raises: UsageError
    """
    text = text.lstrip()
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


def addressed(text: str) -> tuple[str, str]:
    """The guest that `@GUEST` in front of a command names, and the command; empty: no guest.

    Raises: UsageError
    """
    text = text.lstrip()
    if not text.startswith("@"):
        return "", text
    end = next((place for place, letter in unquoted(text) if letter.isspace()), len(text))
    name, command = "".join(words(text[1:end])), text[end:].lstrip()
    if not name:
        raise UsageError("`@` needs a guest right after it: @GUEST COMMAND")
    if not command:
        raise UsageError(f"`@{name}` needs a command after it; `switch {name}` stays there")
    return name, command


def begun(text: str) -> tuple[list[str], str, int]:
    """The words of a command that is being typed, the last of them, and how long that is as typed.

    The last may have been begun with a quote.
    """
    blanks = [place for place, letter in unquoted(text) if letter.isspace()]
    begin = blanks[-1] + 1 if blanks else 0
    last = text[begin:]
    for whole in (last, last.removesuffix("\\"), *(last + quote for quote in _QUOTES)):
        try:
            found = shlex.split(whole)
        except ValueError:
            continue
        return words(text[:begin]), "".join(found), len(last)
    return words(text[:begin]), last, len(last)


def quoted(word: str) -> str:
    """A word as a user can type it: letters that mean something to the prompt have a backslash in
    front."""
    return _MEANS_SOMETHING.sub(r"\\\g<0>", word)


def words(text: str) -> list[str]:
    """The words of a text; a text with an open quote is split at blanks, as the guest would."""
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
