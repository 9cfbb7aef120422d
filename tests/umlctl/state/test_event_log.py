from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.host import paths
from umlctl.state import event_log
from umlctl.state.event_log import Reader, append, decode, encode

if TYPE_CHECKING:
    from umlctl.protocol.events import Event


@pytest.fixture(autouse=True)
def records(house: str) -> str:
    directory = paths.record_dir("demo")
    os.makedirs(directory)
    return directory


def event(number: int) -> Event:
    return {"time": float(number), "umid": "demo", "event": f"e{number}"}


def add(*numbers: int) -> None:
    for number in numbers:
        append("demo", encode(event(number)))


def numbers(reader: Reader | None = None) -> list[int]:
    return [int(each["time"]) for each in (reader or Reader("demo")).read()]


def test_events_are_read_in_order_and_the_reader_goes_on() -> None:
    reader = Reader("demo")
    assert numbers(reader) == []
    add(1, 2)
    assert numbers(reader) == [1, 2]
    assert numbers(reader) == []
    add(3)
    assert numbers(reader) == [3]
    assert os.stat(event_log.path_of("demo")).st_mode & 0o777 == 0o600


def test_full_file_is_put_aside_and_nothing_is_read_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_log, "KEPT_OF_EACH_KIND", 0)
    monkeypatch.setattr(event_log, "MAX_FILE_BYTES", 3 * len(encode(event(1))))
    reader, late = Reader("demo"), Reader("demo")
    add(1, 2)
    assert numbers(reader) == [1, 2]
    add(3, 4, 5)
    assert numbers(reader) == [3, 4, 5]
    assert numbers(late) == [1, 2, 3, 4, 5]
    add(6, 7, 8)
    assert numbers() == [4, 5, 6, 7, 8], "what is older is forgotten"
    assert numbers(reader) == [6, 7, 8]


def test_flood_of_one_kind_does_not_take_the_others_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_log, "MAX_FILE_BYTES", 4096)
    panic = {"time": 2.5, "umid": "demo", "event": "panicked", "text": "Oops"}
    add(1, 2)
    append("demo", encode(panic | {"console": ["line"] * 100}))
    for number in range(3, 1000):
        append("demo", encode(event(number) | {"event": "ready"}))
    found = list(Reader("demo").read())
    assert found[:3] == [event(1), event(2), panic]
    rest = [int(each["time"]) for each in found[3:]]
    assert rest == sorted(rest)
    assert rest[-event_log.KEPT_OF_EACH_KIND :] == list(
        range(1000 - event_log.KEPT_OF_EACH_KIND, 1000)
    )
    directory = os.path.dirname(event_log.path_of("demo"))
    assert (
        sum(entry.stat().st_size for entry in os.scandir(directory)) < 4 * event_log.MAX_FILE_BYTES
    )


def test_full_disk_loses_the_oldest_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **_how: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(event_log, "MAX_FILE_BYTES", 3 * len(encode(event(1))))
    monkeypatch.setattr(event_log, "write_atomically", fail)
    add(*range(1, 9))
    assert numbers() == [4, 5, 6, 7, 8]


def test_line_that_was_cut_off_spoils_no_other() -> None:
    add(1)
    append("demo", encode(event(2))[:-5])
    add(3)
    assert numbers() == [1, 3]


def test_every_cut_takes_only_what_it_cut(records: str) -> None:
    whole = b"".join(encode(event(number)) for number in range(4))
    path = event_log.path_of("demo")
    for cut in range(len(whole)):
        with open(path, "wb") as file:
            file.write(whole[:cut])
        left = whole[:cut].count(b"\n")
        assert numbers() == list(range(left))
        add(9)
        expected = [*range(left), 9]
        if not whole[:cut].endswith(b"\n") and decode(whole[:cut].rpartition(b"\n")[2]):
            expected.insert(left, left)  # but for its end the line is whole
        assert numbers() == expected, cut


@given(st.binary(max_size=200))
def test_rubbish_is_no_event(data: bytes) -> None:
    found = decode(data)
    assert found is None or (isinstance(found["event"], str) and found["time"] is not None)


@pytest.mark.parametrize(
    "line",
    [b"", b"{}", b"[]", b'{"event": 1, "time": 1}', b'{"event": "a"}', b"[" * 5000, b"\0" * 50],
)
def test_what_is_no_event_is_left_out(line: bytes) -> None:
    assert decode(line) is None
    append("demo", line + b"\n")
    add(1)
    assert numbers() == [1]


def test_guests_with_a_history_are_known(house: str) -> None:
    os.makedirs(paths.record_dir("other"))
    assert event_log.guests() == []
    add(1)
    assert event_log.guests() == ["demo"]
