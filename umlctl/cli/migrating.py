"""`umlctl help migrating`: for people who come from vkernel, Xen, and the old utilities of UML.

The rows are in `migration_rows`; umlctl-migrating(7) is made of them, too:

    python -c 'from umlctl.cli.migrating import page; print(page(), end="")' \
        >man/man7/umlctl-migrating.7
"""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, Final

from umlctl.cli.migration_rows import SECTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_LINE_BYTES: Final = 78
_TYPED: Final = re.compile(r"`([^`]*)`")
_HEAD: Final = """.Dd November 30, 2026
.Dt UMLCTL-MIGRATING 7
.Os
.Sh NAME
.Nm umlctl-migrating
.Nd what people of other systems use now, row by row
.Sh DESCRIPTION
For people who come from vkernel, Xen, and the old utilities of User Mode Linux:
what they used, and what umlctl(1) has for it.
A guest is called web here.
What begins with
.Ql \\-\\-
is an option of
.Cm start
and
.Cm run ,
and a key of a definition as well, see umlctl.toml(5).
"""
_TAIL: Final = """.Sh EXAMPLES
.Dl $ umlctl import xl /etc/xen/web.cfg \\-\\-define && umlctl start web
.Dl $ umlctl import vkernel \\-\\- -m 64m -r rootimg.01 -I auto:bridge0
.Dl $ umlctl import linux \\-\\-define \\-\\- ./linux mem=256M ubd0=root_fs umid=web
.Sh SEE ALSO
umlctl(1),
umlctl-compat(1),
umlctl-import(1),
umlctl-run(1),
linux(7),
mconsole(7),
xl(7)
"""


def text() -> str:
    """The rows as plain text, for a pipe, and where no page can be shown."""
    return "\n".join(_plain_lines()) + "\n"


def _plain_lines() -> Iterator[str]:
    for index, section in enumerate(SECTIONS):
        yield from [""] * bool(index)
        yield f"{section.title}"
        yield from textwrap.wrap(f"{section.begins}:", MAX_LINE_BYTES)
        for row in section.rows:
            yield ""
            yield f"  {row.theirs}"
            yield from textwrap.wrap(
                row.here,
                MAX_LINE_BYTES,
                initial_indent=" " * 6,
                subsequent_indent=" " * 6,
                break_on_hyphens=False,
            )


def page() -> str:
    """The manual page."""
    return _HEAD + "".join(f"{line}\n" for line in _page_lines()) + _TAIL


def _page_lines() -> Iterator[str]:
    for section in SECTIONS:
        yield f".Sh {section.title.upper()}"
        yield from _marked(f"{section.begins}:")
        yield ".Bl -tag -width Ds"
        for row in section.rows:
            yield f'.It "{_escaped(row.theirs)}"'
            yield from _marked(f"{row.here}.")
        yield ".El"


def _marked(said: str) -> Iterator[str]:
    """A text with what is typed marked as such."""
    parts = _TYPED.split(said)
    for index in range(0, len(parts), 2):
        plain = parts[index]
        if index:  # what follows the typed words without a blank belongs to their line
            end = re.match(r"[,;:.]*", plain)
            assert end is not None
            marks = "".join(f" {mark}" for mark in end[0])
            yield f'.Ql "{_escaped(parts[index - 1])}"{marks}'
            plain = plain[end.end() :]
        yield from map(_escaped, textwrap.wrap(plain.strip(), MAX_LINE_BYTES))


def _escaped(said: str) -> str:
    """A text that no reader of manual pages takes for more."""
    plain = said.replace("\\", "\\e").replace('"', "\\(dq").replace("^", "\\(ha")
    plain = plain.replace("~", "\\(ti").replace("'", "\\(aq").replace("--", "\\-\\-")
    return f"\\&{plain}" if plain.startswith((".", "\\(aq")) else plain
