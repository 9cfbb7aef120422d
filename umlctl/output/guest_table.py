"""Guests as a table: its columns, each with what it shows a person, its value for programs, and its
order.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final, NamedTuple

from umlctl.errors import UsageError
from umlctl.output import views
from umlctl.protocol.status import DEAD

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from umlctl.protocol.status import Device, Status

Value = str | int | float | None
"""What a column has of a guest, for programs and to sort by; None: it is not known."""


class Column(NamedTuple):
    """One column.

    Fields:
        meaning: what it has, in words
        value: of a guest, at a time in seconds since 1970
        shown: a known value, for a person
        absent: what a person sees of an unknown value
    """

    meaning: str
    value: Callable[[Status, float], Value]
    shown: Callable[[Status, Value], str] = lambda _status, value: str(value)
    absent: str = "-"


def _duration(_status: Status, value: Value) -> str:
    return views.duration(float(value or 0))


def _memory(status: Status, _value: Value) -> str:
    used = views.size(status.memory)
    return f"{used}/{views.size(status.memory_limit)}" if status.memory_limit else used


def _uptime(status: Status, now: float) -> float | None:
    if status.pid is None:
        return None
    began = status.since if status.started is None else status.started
    return round(max(0.0, now - began), 3)


def _note(status: Status, now: float) -> str | None:
    if status.state == DEAD:
        ago = views.duration(max(0.0, now - status.since))
        ended = f"{views.ending_text(status.ending)}, {ago} ago"
        return f"{ended}; {status.trouble}" if status.trouble else ended
    if status.trouble:
        return status.trouble
    return f"last panic: {status.last_panic}" if status.last_panic else None


def _addresses(status: Status, _now: float) -> str | None:
    return " ".join(filter(None, map(_address, status.devices))) or None


def _address(device: Device) -> str:
    """The address that a NIC is meant to take, or else its MAC address; empty if it is no NIC."""
    return device.addr.partition("/")[0] or device.mac


COLUMNS: Final = {
    "name": Column("its name", lambda status, _now: status.umid),
    "state": Column(
        "what it does",
        lambda status, _now: status.state,
        lambda _status, value: views.state_text(str(value)),
    ),
    "uptime": Column("since its kernel was started", _uptime, _duration),
    "memory": Column("what it takes, and its limit", lambda status, _now: status.memory, _memory),
    "cpu": Column(
        "the time of processors that it has used",
        lambda status, _now: status.cpu,
        lambda _status, value: f"{value:.1f}s",
    ),
    "addresses": Column("of its NICs: addr=, else the MAC address", _addresses),
    "note": Column("what is wrong with it, or how it ended", _note, absent=""),
    "since": Column(
        "how long it has been in its state",
        lambda status, now: round(max(0.0, now - status.since), 3),
        _duration,
    ),
    "pid": Column("of its kernel", lambda status, _now: status.pid),
    "supervisor": Column("the pid of its supervisor", lambda status, _now: status.supervisor_pid),
    "limit": Column(
        "the memory that it was given",
        lambda status, _now: status.memory_limit,
        lambda status, _value: views.size(status.memory_limit),
    ),
    "boots": Column("how often its kernel came up", lambda status, _now: status.boots),
    "reboots": Column("how often it has rebooted", lambda status, _now: status.reboots),
    "restarts": Column("how often it was started again", lambda status, _now: status.restarts),
    "devices": Column(
        "what is plugged",
        lambda status, _now: " ".join(device.name for device in status.devices) or None,
    ),
    "confine": Column("how its kernel is confined", lambda status, _now: status.confined),
    "root": Column("its root file system", lambda status, _now: status.root),
    "kernel": Column("the file of its kernel", lambda status, _now: status.kernel),
}
DEFAULT_COLUMNS: Final = ("name", "state", "uptime", "memory", "cpu", "addresses", "note")
"""The columns that are shown where the user asks for none."""


def chosen(names: str) -> list[str]:
    """Columns as a user asks for them, with commas between them.

    Raises: UsageError
    """
    found = [name.strip() for name in names.split(",")]
    for name in found:
        check(name)
    return found


def check(name: str) -> None:
    """Raises: UsageError: there is no such column"""
    if name not in COLUMNS:
        raise UsageError(f"there is no column {name!r}; there are {', '.join(COLUMNS)}")


def ordered(found: Sequence[Status], by: str, now: float) -> list[Status]:
    """Guests by a column, and then by name; those without a known value come last.

    by: the column; a `-` before it turns the order round

    Raises: UsageError
    """
    name = by.removeprefix("-")
    check(name)
    values = {status.umid: COLUMNS[name].value(status, now) for status in found}
    known = sorted(status.umid for status in found if values[status.umid] is not None)
    known.sort(key=lambda umid: _key(values[umid]), reverse=by.startswith("-"))
    place = {umid: index for index, umid in enumerate(known)}
    return sorted(found, key=lambda each: (place.get(each.umid, len(place)), each.umid))


def _key(value: Value) -> tuple[float, str]:
    return (0.0, value) if isinstance(value, str) else (float(value or 0), "")


def rows(
    found: Sequence[Status], now: float, names: Sequence[str] = DEFAULT_COLUMNS
) -> list[tuple[str, ...]]:
    """Guests as rows for a person, under their headings."""
    columns = [COLUMNS[name] for name in names]
    shown = [tuple(_cell(column, status, now) for column in columns) for status in found]
    return [tuple(name.upper() for name in names), *shown]


def lines(found: Sequence[Status], now: float) -> list[str]:
    """The usual columns as text."""
    return views.aligned(rows(found, now))


def _cell(column: Column, status: Status, now: float) -> str:
    value = column.value(status, now)
    return column.absent if value is None else views.printable(column.shown(status, value))


def as_csv(found: Sequence[Status], now: float, names: Sequence[str] = DEFAULT_COLUMNS) -> str:
    """Guests as lines for programs, without headings: numbers are bytes and seconds, and unknown
    values are empty."""
    import csv  # few ask for it, and it takes as long to import as the table itself

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for status in found:
        values = [COLUMNS[name].value(status, now) for name in names]
        writer.writerow(
            [views.printable(value) if isinstance(value, str) else value for value in values]
        )
    return text.getvalue()
