"""`umlctl start NAME` of a guest that has ended: the same guest, unless the user says otherwise."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import msgspec

from umlctl.definitions import saved
from umlctl.errors import Refused
from umlctl.host import naming
from umlctl.recovery import cleanup
from umlctl.state import records

if TYPE_CHECKING:
    from umlctl.guest.definition import Definition


def last(umid: str) -> Definition | None:
    """How a guest that has ended was started last; None if there is none, or it runs."""
    record = _record(umid)
    if record is None or cleanup.judged(record).ending is None:
        return None
    return msgspec.structs.replace(record.definition, named=True)


def latest(umid: str) -> Definition | None:
    """How a guest was started last, whether it runs or not; None if there is none."""
    record = _record(umid)
    return None if record is None else msgspec.structs.replace(record.definition, named=True)


def _record(umid: str) -> records.Record | None:
    """What is known of a guest that was started with options or by a definition."""
    try:
        record = records.load(naming.check_umid(umid))
    except naming.BadUmid:
        return None  # a bad name is told where names are checked
    return None if record is None or record.own_line else record  # `linux` starts that one


def was_process(umid: str) -> bool:
    """Whether the last guest of a name was one that somebody had started as `linux`."""
    record = records.load(umid)
    return record is not None and record.own_line


def refuse_process(umid: str, *, ended: bool) -> None:
    """Say where the words of a guest are that somebody started as `linux`.

    ended: also of one that has ended; else that is the past of a name

    Raises: Refused: it is one
    """
    record = records.load(umid)
    if record is not None and record.own_line and (ended or records.lives(record)):
        raise Refused(
            f"{umid} was started as `linux`, whose words are its own: `umlctl status {umid}` shows "
            "them while it runs; `umlctl import linux -- WORDS` makes a definition of such"
        )


def is_same(one: Definition, other: Definition) -> bool:
    """Whether both guests were started with the same options."""
    return words(one) == words(other)


def words(definition: Definition) -> str:
    """The options of `start` that make a definition."""
    found: list[str] = []
    values = saved.values_of(definition)
    if definition.arguments:
        values["append"] = definition.append
    for name, value in values.items():
        if value is True:
            found.append(f"--{name}")
        for each in value if isinstance(value, tuple) else () if value is True else (value,):
            found += [f"--{name}", f"{each:g}" if isinstance(each, float) else str(each)]
    if definition.arguments:
        found += ["--", *definition.arguments]
    return shlex.join(found)
