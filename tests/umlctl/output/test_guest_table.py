from __future__ import annotations

import csv
import io
import typing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.errors import UsageError
from umlctl.output import guest_table
from umlctl.output.guest_table import COLUMNS, DEFAULT_COLUMNS, as_csv, chosen, ordered, rows
from umlctl.protocol.status import Device, Ending, State, Status

NOW = 10_000.0
DISK = Device(name="ubd1", asked="/d", kernel="ubd1=/d", boot=False, observed=None)
NIC = Device(
    name="vec0", asked="user", kernel="", boot=True, observed=None, mac="52:54:0:1:2:3", addr=""
)
RUNNING = Status(
    umid="demo",
    state="running",
    since=NOW - 60,
    started=NOW - 3600,
    pid=20,
    supervisor_pid=10,
    memory=50 << 20,
    memory_limit=256 << 20,
    cpu=1.23,
    devices=[DISK, NIC],
)
DEAD = Status(
    umid="old",
    state="dead",
    since=NOW - 192,
    started=NOW - 3600,
    memory_limit=64 << 20,
    ending=Ending(cause="exited", code=3),
)


def cells(status: Status, *names: str) -> dict[str, str]:
    heading, row = rows([status], NOW, names or tuple(COLUMNS))
    return dict(zip((each.lower() for each in heading), row, strict=True))


def test_running_guest_is_shown() -> None:
    assert rows([RUNNING], NOW) == [
        ("NAME", "STATE", "UPTIME", "MEMORY", "CPU", "ADDRESSES", "NOTE"),
        ("demo", "running", "1h00m", "50.0M/256.0M", "1.2s", "52:54:0:1:2:3", ""),
    ]


def test_dead_guest_has_how_it_ended_and_no_more() -> None:
    assert rows([DEAD], NOW)[1] == (
        *("old", "dead", "-", "-", "-", "-"),
        "exited with status 3, 3m12s ago",
    )


def test_what_is_asked_for_is_shown_in_that_order() -> None:
    assert rows([RUNNING], NOW, chosen("pid, name,devices")) == [
        ("PID", "NAME", "DEVICES"),
        ("20", "demo", "ubd1 vec0"),
    ]


def status(**known: Any) -> Status:
    usual: dict[str, Any] = {"umid": "demo", "state": "running", "since": NOW, "pid": 1}
    return Status(**usual | known)


@pytest.mark.parametrize(
    ("known", "column", "shown"),
    [
        ({"state": "stopped"}, "state", "paused"),
        ({"memory": 1 << 20}, "memory", "1.0M"),
        ({"memory_limit": 1 << 20}, "memory", "-"),
        ({"memory_limit": 1 << 20}, "limit", "1.0M"),
        ({"since": NOW - 5}, "uptime", "5.0s"),
        ({"since": NOW + 5}, "uptime", "0.0s"),
        ({"since": NOW - 5, "started": NOW - 70}, "since", "5.0s"),
        ({"boots": 0}, "boots", "0"),
        ({"devices": []}, "devices", "-"),
        ({"trouble": "wedged\x1b[2J", "last_panic": "Oops"}, "note", "wedged\\x1b[2J"),
        ({"last_panic": "Oops"}, "note", "last panic: Oops"),
        ({"state": "dead"}, "note", "ended; nobody saw how, 0.0s ago"),
        ({"state": "dead", "trouble": "x"}, "note", "ended; nobody saw how, 0.0s ago; x"),
    ],
)
def test_column_is_shown_for_a_person(known: dict[str, Any], column: str, shown: str) -> None:
    assert cells(status(**known), column) == {column: shown}


def test_addresses_are_those_that_nics_take_or_else_their_mac() -> None:
    given = Device(
        name="vec1", asked="", kernel="", boot=True, observed=None, mac="x", addr="10.0.0.5/24"
    )
    assert cells(status(devices=[DISK, given, NIC]), "addresses") == {
        "addresses": "10.0.0.5 52:54:0:1:2:3"
    }


def test_csv_has_plain_numbers_and_no_headings() -> None:
    names = ("name", "state", "uptime", "memory", "limit", "cpu", "note")
    assert as_csv([RUNNING, DEAD], NOW, names) == (
        "demo,running,3600.0,52428800,268435456,1.23,\n"
        'old,dead,,,67108864,,"exited with status 3, 3m12s ago"\n'
    )


@given(st.text(max_size=20))
def test_any_trouble_is_one_cell_of_one_line(trouble: str) -> None:
    text = as_csv([status(trouble=trouble)], NOW, ("note", "name"))
    assert text.count("\n") == 1
    ((note, name),) = csv.reader(io.StringIO(text))
    assert name == "demo"
    assert note.isprintable()


def test_unknown_column_is_said_with_those_there_are() -> None:
    for ask in (lambda: chosen("name,age"), lambda: ordered([], "-age", NOW)):
        with pytest.raises(UsageError, match=r"no column 'age'; there are name, state, uptime"):
            ask()


@pytest.mark.parametrize(
    ("by", "names"),
    [
        ("name", "abcd"),
        ("-name", "dcba"),
        ("memory", "cabd"),
        ("-memory", "bacd"),
        ("boots", "dcab"),
        ("-boots", "acdb"),
        ("state", "bacd"),
    ],
)
def test_guests_are_ordered_by_a_column_and_then_by_name(by: str, names: str) -> None:
    found = [
        status(umid="d"),
        status(umid="c", memory=9, boots=2),
        status(umid="b", memory=100, state="booting"),
        status(umid="a", memory=20, boots=10),
    ]
    found[0] = status(umid="d", boots=1)
    assert "".join(each.umid for each in ordered(found, by, NOW)) == names


@given(
    st.lists(
        st.builds(
            Status,
            umid=st.text(max_size=3),
            state=st.sampled_from(typing.get_args(State)),
            memory=st.none() | st.integers(0, 9),
            cpu=st.none() | st.floats(0, 9),
            trouble=st.none() | st.text(max_size=3),
            pid=st.none() | st.integers(1, 9),
        ),
        max_size=5,
        unique_by=lambda each: each.umid,
    )
)
def test_any_guests_have_a_cell_of_every_column_and_an_order_by_each(found: list[Status]) -> None:
    table = rows(found, NOW, tuple(COLUMNS))
    assert {len(row) for row in table} == {len(COLUMNS)}
    assert all(cell.isprintable() for row in table for cell in row)
    for name in COLUMNS:
        for by in (name, f"-{name}"):
            assert {each.umid for each in ordered(found, by, NOW)} == {e.umid for e in found}


def test_columns_that_are_shown_are_columns() -> None:
    assert set(DEFAULT_COLUMNS) <= set(COLUMNS)
    assert all(column.meaning for column in COLUMNS.values())
    assert guest_table.chosen(",".join(COLUMNS)) == list(COLUMNS)
