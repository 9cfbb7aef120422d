"""A kernel's answers as tables for people; pure. An answer that is no known file stays as it is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from umlctl.output.views import printable, size
from umlctl.protocol.proc_files import unescaped
from umlctl.protocol.status import Console

if TYPE_CHECKING:
    from collections.abc import Callable

    from umlctl.protocol.status import Device

Table = list[list[str]]
"""Rows of cells; the first has the headings. A cell that is a number is set to the right."""

_SECTOR_BYTES: Final = 512
_SYMBOL: Final = re.compile(r"\[<[0-9a-f]+>\]|\b[A-Za-z_][\w.]*\+0x[0-9a-f]+/0x[0-9a-f]+")


def table(path: str, text: str) -> Table | None:
    """The table that a file of /proc is; None if it is none, or not as it should be.

    path: as `proc` takes it
    """
    parts = path.strip().strip("/").split("/")
    name = "/".join(parts[-2:]) if parts[-2:-1] == ["net"] else parts[-1]
    reader = _READERS.get(name)
    lines = text.strip("\n").splitlines()
    if reader is None or not lines:
        return None
    try:
        return reader(lines)
    except (ValueError, IndexError):
        return None


def devices(entries: list[Device]) -> Table:
    """A guest's device table."""
    rows = [[each.name, _in_guest(each), each.asked, each.problem or each.note] for each in entries]
    return [["DEVICE", "GUEST", "ASKED", "NOTE"], *rows]


def plugged(entry: Device | Console) -> str:
    """What `plug` answers, in words."""
    name = entry.name
    if isinstance(entry, Console):
        return f"{name} can be attached to: umlctl console GUEST {name.removeprefix('con')}"
    seen = _in_guest(entry)
    return f"{name} is in the guest{f' as {seen}' if seen not in (name, '-') else ''}"


def _in_guest(entry: Device) -> str:
    """The name of a device in the guest, with its size or its state."""
    seen = entry.observed
    if seen is None:
        return "-"
    name = f"/dev/{seen['block']}" if seen.get("block") else entry.name
    if seen.get("size"):
        name += f", {size(seen['size'])}"
    return name


def harmless(text: str) -> str:
    """An answer without power over the terminal that it is shown on."""
    return "".join(
        letter if letter.isprintable() or letter in "\n\t" else printable(letter) for letter in text
    )


def symbols(text: str) -> list[tuple[int, int]]:
    """Where the symbols of a stack trace are: begin and end of each."""
    return [found.span() for found in _SYMBOL.finditer(text)]


def _meminfo(lines: list[str]) -> Table:
    rows = [["WHAT", "SIZE", "KB"]]
    for line in lines:
        name, _, value = line.partition(":")
        number, *unit = value.split()
        rows.append([name, size(int(number) << 10) if unit else "", number])
    return rows


def _mounts(lines: list[str]) -> Table:
    rows = [["ON", "SOURCE", "TYPE", "OPTIONS"]]
    for line in lines:
        source, on, kind, options, *_ = (unescaped(word) for word in line.split())
        rows.append([on, source, kind, options])
    return rows


def _partitions(lines: list[str]) -> Table:
    rows = [["NAME", "SIZE", "MAJOR", "MINOR"]]
    for line in lines[1:]:
        if line.strip():
            major, minor, blocks, name = line.split()
            rows.append([name, size(int(blocks) << 10), major, minor])
    return rows


def _interrupts(lines: list[str]) -> Table:
    processors = lines[0].split()
    rows = [["IRQ", *processors, "WHAT"]]
    for line in lines[1:]:
        name, _, rest = line.strip().partition(":")
        words = rest.split(None, len(processors))
        counts = words[: len(processors)]
        rows.append([name, *counts, " ".join("".join(words[len(processors) :]).split())])
        rows[-1] += [""] * (len(rows[0]) - len(rows[-1]))
    return rows


def _cpuinfo(lines: list[str]) -> Table:
    rows = [["WHAT", "VALUE"]]
    for line in lines:
        name, colon, value = line.partition(":")
        rows.append([name.strip(), value.strip()] if colon else ["", ""])
    return rows


def _diskstats(lines: list[str]) -> Table:
    rows = [["NAME", "READS", "READ", "WRITES", "WRITTEN", "IN FLIGHT", "BUSY MS"]]
    for line in lines:
        words = line.split()
        read, written = int(words[5]) * _SECTOR_BYTES, int(words[9]) * _SECTOR_BYTES
        rows.append([words[2], words[3], size(read), words[7], size(written), words[11], words[12]])
    return rows


def _net_dev(lines: list[str]) -> Table:
    rows = [["NAME", "RECEIVED", "PACKETS", "ERRORS", "SENT", "PACKETS", "ERRORS"]]
    for line in lines[2:]:
        name, _, rest = line.partition(":")
        words = rest.split()
        received, sent = size(int(words[0])), size(int(words[8]))
        rows.append([name.strip(), received, words[1], words[2], sent, words[9], words[10]])
    return rows


def _pairs(*headings: str) -> Callable[[list[str]], Table]:
    """A reader of files with a name and a value a line."""

    def read(lines: list[str]) -> Table:
        rows = [list(headings)]
        for line in lines:
            name, value = line.split(None, 1)
            rows.append([name, value])
        return rows

    return read


_READERS: Final[dict[str, Callable[[list[str]], Table]]] = {
    "meminfo": _meminfo,
    "mounts": _mounts,
    "partitions": _partitions,
    "interrupts": _interrupts,
    "softirqs": _interrupts,
    "cpuinfo": _cpuinfo,
    "diskstats": _diskstats,
    "net/dev": _net_dev,
    "vmstat": _pairs("WHAT", "COUNT"),
}
