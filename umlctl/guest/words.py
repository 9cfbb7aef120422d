"""One kernel argument: what the kernel reads as one argument, and as no other.

The kernel joins its arguments with blanks and splits the line again. It splits at every byte of
white space of Latin-1 (0xa0 among them, which is half of an `à` in UTF-8), but not between two '"',
wherever they stand (lib/cmdline.c: next_arg). So one '"' in a file's name would swallow all that
follows it, the choice of init included. All words of a kernel's command line go through `check`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from umlctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

FOR_INIT: Final = "--"
"""The words after this one are not for the kernel."""
NO_BREAK_SPACE: Final = 0xA0
"""The byte beyond ASCII that is a blank to the kernel."""
PRINTING_WORDS: Final = ("--version", "--help", "--showconfig")
"""Words that a UML kernel reads anywhere, also behind FOR_INIT: it prints something, and ends."""
_QUOTED: Final = re.compile(r'([A-Za-z0-9_.-]+)="([^"]*)"')


def check(word: str, what: str = "a kernel argument") -> str:
    """Return the word if the kernel reads it as it stands: as one argument, and this one.

    what: what a user calls the word

    Raises: UsageError
    """
    if not word:
        raise UsageError(f"{what} is empty; leave it out")
    if any("\ud800" <= c <= "\udfff" for c in word):
        raise UsageError(f"names and arguments are UTF-8, not {word!r}")
    bad = next((c for c in word if not _is_plain(c)), "")
    if bad:
        raise UsageError(f"{what} cannot have {_named(bad)}: {word!r}")
    return word


def check_given(word: str) -> str:
    """Check a word of the user's own. Its value may stand in quotes, blanks and all: KEY="VALUE".

    Raises: UsageError
    """
    quoted = _QUOTED.fullmatch(word)
    if quoted is None:
        if any(c in ' "' for c in word):
            raise UsageError(
                f'a kernel argument is one word, or KEY="VALUE" with its quotes: not {word!r}; '
                "give each as a word of its own"
            )
        check(word)
    elif quoted[2]:
        check(quoted[2].replace(" ", "_"), "the value of a kernel argument")
    if word.startswith(PRINTING_WORDS):
        raise UsageError(f"{word}: the kernel would print it and end; ask it without umlctl")
    return word


def can_be_given(word: str) -> bool:
    """Whether a user may give a word; kernels of an older umlctl may have other ones."""
    try:
        check_given(word)
    except UsageError:
        return False
    return True


def unquoted(word: str) -> str:
    """A word that was checked, as the kernel hands it on."""
    quoted = _QUOTED.fullmatch(word)
    return f"{quoted[1]}={quoted[2]}" if quoted else word


def key(word: str) -> str:
    """The device that an argument is about: `ubd0` of `ubd0r=file` and `ubda=file`, `vec0` of
    `vec0:...`."""
    name = word.partition("=")[0].partition(":")[0]
    slot = name[3:4]
    if not name.startswith("ubd") or not slot:
        return name
    if "a" <= slot <= "p":
        return f"ubd{ord(slot) - ord('a')}"
    return name.rstrip("rsdct")


def split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments for the kernel, and those for init alone."""
    where = words.index(FOR_INIT) if FOR_INIT in words else len(words)
    return list(words[:where]), list(words[where + 1 :])


def _is_plain(c: str) -> bool:
    if c.isascii():
        return "!" <= c <= "~" and c != '"'
    # Beyond ASCII: no control character, and no blank of any kind.
    return c > "\xa0" and not c.isspace() and NO_BREAK_SPACE not in c.encode()


def _named(c: str) -> str:
    if c == '"':
        return "a quote: the kernel would take all that follows for a part of it"
    if c.isspace():
        return f"a blank ({c!r}): the kernel would split it there"
    if c > "\xa0":
        return f"{c!r}: the kernel takes a byte of it for a blank, and would split it there"
    return f"{c!r}, which is no letter"
