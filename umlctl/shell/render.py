"""Answers for a person: tables, colours, and what has changed since."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from umlctl.output import proc_tables
from umlctl.protocol.status import read_console, read_device, read_devices

if TYPE_CHECKING:
    from socketproto.exchange import Outcome

CLEAR_SEQUENCE: Final = "\x1b[H\x1b[2J\x1b[3J"
"""The sequence that empties a terminal."""
CHANGED, UNCHANGED = "\x1b[7m", "\x1b[27m"


def plain_text(name: str, outcome: Outcome) -> bytes:
    """An answer's text as `umlctl` prints it where no person looks."""
    data = outcome.data
    if name == "proc":
        data = data.removeprefix(b"\n")  # the kernel begins each file with one
    return data if data.endswith(b"\n") or not data else data + b"\n"


def table_of_devices(outcome: Outcome) -> str:
    """The answer of `devices` or `plug` for a person."""
    from umlctl.output.views import aligned

    try:
        if outcome.data.startswith(b"["):
            table = proc_tables.devices(read_devices(outcome.data))
            return "\n".join(aligned([tuple(row) for row in table])) + "\n"
        try:
            return proc_tables.plugged(read_device(outcome.data)) + "\n"
        except msgspec.ValidationError:
            return proc_tables.plugged(read_console(outcome.data)) + "\n"
    except msgspec.DecodeError:
        return outcome.text + "\n"


def rendered(name: str, words: list[str], text: str) -> str:
    """A kernel's answer for a person: a table where it is one, symbols in colour."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    text = proc_tables.harmless(text)
    rows = proc_tables.table(words[1], text) if name == "proc" and len(words) > 1 else None
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=rows is None)
    with console.capture() as capture:
        if rows is not None:
            table = Table(box=None, pad_edge=False, header_style="bold")
            for place, heading in enumerate(rows[0]):
                numbers = all(row[place][:1].isdigit() for row in rows[1:] if row[place])
                table.add_column(heading, justify="right" if numbers else "left", overflow="fold")
            for row in rows[1:]:
                table.add_row(*(Text(cell) for cell in row))
            console.print(table)
        elif name in ("stack", "sysrq"):
            styled = Text(text.rstrip("\n"))
            for begin, end in proc_tables.symbols(text):
                styled.stylize("cyan", begin, end)
            console.print(styled)
        else:
            console.print(Text(text.rstrip("\n")))
    return capture.get()


def marked(before: str, text: str) -> str:
    """A text in which words are inverted that were others before, at the same place."""
    old = before.splitlines()
    lines = []
    for number, line in enumerate(text.splitlines()):
        was = old[number] if number < len(old) else ""
        if was == line or not before:
            lines.append(line)
            continue
        words, known = line.split(" "), was.split(" ")
        same = len(words) == len(known)
        lines.append(
            " ".join(
                word if same and word == known[place] else f"{CHANGED}{word}{UNCHANGED}"
                for place, word in enumerate(words)
            )
        )
    return "\n".join(lines) + "\n"


def status_text(outcome: Outcome) -> str:
    """The answer of `status` in lines."""
    from umlctl.output.views import status_lines
    from umlctl.protocol.status import read_status

    try:
        return "\n".join(status_lines(read_status(outcome.data))) + "\n"
    except msgspec.DecodeError:
        return outcome.text
